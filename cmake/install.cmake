# What `cmake --install` puts where: headers as they are included, the library, a CMake package, the models.
include(CMakePackageConfigHelpers)
target_compile_features(hedgerow PUBLIC cxx_std_20)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/hedgerow)

install(TARGETS hedgerow EXPORT hedgerowTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(EXPORT hedgerowTargets NAMESPACE hedgerow:: DESTINATION ${package_dir})
# Not for users: the JSON library's types, how ops are checked, one backend's insides, the program.
install(DIRECTORY hedgerow/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hedgerow FILES_MATCHING PATTERN "*.h" PATTERN "ops.def"
  PATTERN "json.h" EXCLUDE PATTERN "image_formats.h" EXCLUDE PATTERN "check" EXCLUDE
  PATTERN "kernels/cpu" EXCLUDE PATTERN "kernels/cuda" EXCLUDE PATTERN "cli" EXCLUDE
  REGEX "language/template/(interpreter|parser|syntax|text|value)\\.h$" EXCLUDE)
if(EXISTS ${PROJECT_SOURCE_DIR}/models)
  install(DIRECTORY models/ DESTINATION ${CMAKE_INSTALL_DATADIR}/hedgerow/models)
endif()

configure_package_config_file(cmake/hedgerowConfig.cmake.in ${PROJECT_BINARY_DIR}/hedgerowConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/hedgerowConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/hedgerowConfig.cmake ${PROJECT_BINARY_DIR}/hedgerowConfigVersion.cmake
  DESTINATION ${package_dir})
