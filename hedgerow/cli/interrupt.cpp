// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/cli/interrupt.h"

#include <csignal>

namespace hedgerow::cli {
namespace {

std::atomic<bool> interrupted{false};
extern "C" void on_interrupt(int) { interrupted = true; }

}  // namespace

Interrupt::Interrupt() {
  interrupted = false;
  std::signal(SIGINT, on_interrupt);
}
Interrupt::~Interrupt() { std::signal(SIGINT, SIG_DFL); }
const std::atomic<bool>* Interrupt::flag() const { return &interrupted; }

}  // namespace hedgerow::cli
