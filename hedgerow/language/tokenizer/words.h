// SPDX-License-Identifier: Apache-2.0
// Pre-tokenizers of byte-level BPE, written out: what the regular expressions of GPT-2, Llama 3, Qwen2 and
// SmolLM match. Letters, numbers and white space are Unicode's (categories L, N; White_Space).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hedgerow/language/tokenizer/tokenizer.h"

namespace hedgerow {

// Words in order; together they are the text.
std::vector<std::string_view> words_of(std::string_view text, PreTokenizer pre);
// Canonical composition; what is no UTF-8 stays.
std::string composed(std::string_view text);

}  // namespace hedgerow
