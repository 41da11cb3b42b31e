// SPDX-License-Identifier: Apache-2.0
// Ctrl-C as something to ask about, while one of these lives: what was made so far is kept.
#pragma once

#include <atomic>

namespace hedgerow::cli {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  // True from the first Ctrl-C on.
  const std::atomic<bool>* flag() const;
};

}  // namespace hedgerow::cli
