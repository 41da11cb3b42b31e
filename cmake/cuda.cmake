# The CUDA table. HEDGEROW_CUDA_ARCHITECTURES: what to build for; by default all that the toolkit knows of 8.0, 9.0a, 12.0.
enable_language(CUDA)
find_package(CUDAToolkit 12.8 REQUIRED)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc 12 and later take it
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()

if(NOT HEDGEROW_CUDA_ARCHITECTURES)
  # 8.0 also as PTX, for chips that came later; 9.0a for Hopper's own instructions.
  set(HEDGEROW_CUDA_ARCHITECTURES 80)
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-code OUTPUT_VARIABLE known)
  foreach(code 90a 120)
    string(REGEX MATCH "[0-9]+" number ${code})
    if(known MATCHES "sm_${number}")
      list(APPEND HEDGEROW_CUDA_ARCHITECTURES ${code}-real)
    endif()
  endforeach()
endif()

file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/hedgerow/kernels/cuda/*.cu
  ${CMAKE_CURRENT_SOURCE_DIR}/hedgerow/kernels/cuda/*/*.cu)
add_library(hedgerow_cuda OBJECT ${cuda_sources})
set_target_properties(hedgerow_cuda PROPERTIES CUDA_STANDARD 20 CUDA_ARCHITECTURES "${HEDGEROW_CUDA_ARCHITECTURES}"
  POSITION_INDEPENDENT_CODE ON)
target_include_directories(hedgerow_cuda PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_compile_options(hedgerow_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-O3>)
target_sources(hedgerow PRIVATE $<TARGET_OBJECTS:hedgerow_cuda>)
target_compile_definitions(hedgerow PRIVATE HEDGEROW_CUDA)
# Static, so that the program starts where no CUDA is installed; the driver is asked for at run time.
target_link_libraries(hedgerow PRIVATE CUDA::cudart_static)

# All programs that only a CUDA build has.
add_custom_target(cuda_all)
if(HEDGEROW_TESTS)
  enable_testing()
  include(GoogleTest)
  find_package(GTest REQUIRED)
  file(GLOB cuda_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tests/cuda/*.cpp)
  add_executable(cuda_test ${cuda_tests})
  target_link_libraries(cuda_test PRIVATE hedgerow CUDA::cudart_static GTest::gtest_main)
  target_compile_options(cuda_test PRIVATE -Wall -Wextra -ffp-contract=off)
  add_dependencies(cuda_all cuda_test)
  gtest_discover_tests(cuda_test TEST_PREFIX cuda. NO_PRETTY_VALUES DISCOVERY_MODE PRE_TEST PROPERTIES LABELS cuda)
endif()
if(HEDGEROW_BENCH)
  foreach(name attention_sweep linear_sweep mlp_sweep select_sweep small_sweep vit_chain agreement)
    add_executable(cuda_${name} ${CMAKE_CURRENT_SOURCE_DIR}/bench/cuda/${name}.cpp)
    target_link_libraries(cuda_${name} PRIVATE hedgerow CUDA::cudart_static)
    add_dependencies(cuda_all cuda_${name})
  endforeach()
endif()
