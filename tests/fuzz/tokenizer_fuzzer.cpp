// SPDX-License-Identifier: Apache-2.0
// libFuzzer's entry for tokenizer.json and the configs beside it.
#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  hedgerow::fuzz::try_tokenizer(data, bytes);
  return 0;
}
