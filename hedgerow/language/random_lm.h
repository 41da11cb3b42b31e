// SPDX-License-Identifier: Apache-2.0
// Random weights of a named shape, for speed on models that are not at hand.
#pragma once

#include "hedgerow/language/lm_file.h"

namespace hedgerow {

// NAME-TYPE: llama-2-7b, tinyllama-1.1b, llama-3.2-1b, qwen2.5-0.5b, qwen2.5-1.5b, smollm2-135m, small; and
// q4_0, q8_0, bf16, f16 or f32. Error listing them.
std::unique_ptr<LmFile> open_random_lm(const std::string& name);

}  // namespace hedgerow
