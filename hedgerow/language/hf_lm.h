// SPDX-License-Identifier: Apache-2.0
// A language model in a Hugging Face folder: safetensors of floats, or of GPTQ's codes.
#pragma once

#include "hedgerow/language/lm_file.h"

namespace hedgerow {

// `gptq_zeros`: "v1" or "v2" overrides what the files say of their zeros; "" asks them.
std::unique_ptr<LmFile> open_hf_lm(const std::string& folder, const std::string& gptq_zeros);

}  // namespace hedgerow
