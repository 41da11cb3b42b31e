// SPDX-License-Identifier: Apache-2.0
// libFuzzer's entry for config.json, preprocessor_config.json and shard indices.
#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  hedgerow::fuzz::try_config(data, bytes);
  return 0;
}
