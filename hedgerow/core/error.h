// SPDX-License-Identifier: Apache-2.0
// One exception type for everything the caller's world can get wrong, and one assertion for what only we can.
//
// A message says what was wanted, what was found, and where. It is one line: the program prints it as it is.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace hedgerow {

// A file, flag, shape or device that is not what was asked for. The library throws it; it never prints or
// exits.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws Error(message) unless `ok`. For conditions that depend on the caller's input.
inline void require(bool ok, const char* message) {
  if (!ok) throw Error(message);
}
inline void require(bool ok, const std::string& message) {
  if (!ok) throw Error(message);
}

}  // namespace hedgerow

// For our own invariants only, never for input. On in debug and sanitizer builds.
#ifdef NDEBUG
#define HEDGEROW_ASSERT(condition) ((void)0)
#else
#define HEDGEROW_ASSERT(condition)                                                                       \
  ((condition) ? (void)0                                                                                 \
               : (std::fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, __LINE__, #condition), \
                  std::abort()))
#endif
