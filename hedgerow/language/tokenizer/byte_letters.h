// SPDX-License-Identifier: Apache-2.0
// Byte-level BPE spells bytes as printable letters (GPT-2): itself where a byte is one, else U+0100 and on.
#pragma once

#include <string>
#include <string_view>

namespace hedgerow {

// The bytes that letters stand for; letters that stand for none are kept as they are.
std::string from_byte_letters(std::string_view text);

}  // namespace hedgerow
