// SPDX-License-Identifier: Apache-2.0
// libFuzzer's entry for SentencePiece's model files.
#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  hedgerow::fuzz::try_sentencepiece(data, bytes);
  return 0;
}
