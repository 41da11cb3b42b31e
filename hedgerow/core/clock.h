// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

namespace hedgerow {

// Monotonic seconds.
inline double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace hedgerow
