// SPDX-License-Identifier: Apache-2.0
// What readers of vocabularies share.
#pragma once

#include <string_view>

#include "hedgerow/language/tokenizer/tokenizer.h"

namespace hedgerow {

// Control tokens that end a text by their well-known names.
void add_known_ends(Vocabulary* v);
// tokenizer_config.json and generation_config.json, each empty where there is none: beginning and ends of
// text.
void read_beside(Vocabulary* v, std::string_view config, std::string_view generation);

}  // namespace hedgerow
