// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/tokenizer/byte_letters.h"

#include <array>

#include "hedgerow/language/tokenizer/utf8.h"

namespace hedgerow {
namespace {

struct Letters {
  std::array<int, 512> byte;  // by code point; -1: none
  Letters() {
    byte.fill(-1);
    int next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool itself = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
      byte[static_cast<size_t>(itself ? b : next++)] = b;
    }
  }
};

}  // namespace

std::string from_byte_letters(std::string_view text) {
  static const Letters letters;
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point(text, at);
    const int b = c.value >= 0 && c.value < 512 ? letters.byte[static_cast<size_t>(c.value)] : -1;
    if (b >= 0)
      out += static_cast<char>(b);
    else
      out += text.substr(at, static_cast<size_t>(c.bytes));
    at += static_cast<size_t>(c.bytes);
  }
  return out;
}

}  // namespace hedgerow
