// SPDX-License-Identifier: Apache-2.0
// libFuzzer's entry for GGUF headers and blocks.
#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  hedgerow::fuzz::try_gguf(data, bytes);
  return 0;
}
