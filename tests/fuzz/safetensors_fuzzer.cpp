// SPDX-License-Identifier: Apache-2.0
// libFuzzer's entry for safetensors headers and values.
#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  hedgerow::fuzz::try_safetensors(data, bytes);
  return 0;
}
