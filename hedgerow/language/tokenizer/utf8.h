// SPDX-License-Identifier: Apache-2.0
// UTF-8 from strangers: code points, and bytes that are none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hedgerow {

struct CodePoint {
  int32_t value;  // -1: this byte begins no valid character
  int bytes;      // 1 to 4
};

// Of text[at], at < text.size(). Overlong forms, surrogates and what lies above U+10FFFF are no characters.
inline CodePoint code_point(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t b = byte(at);
  if (b < 0x80) return {b, 1};
  const int n = b >= 0xc2 && b <= 0xdf ? 2 : (b & 0xf0) == 0xe0 ? 3 : b >= 0xf0 && b <= 0xf4 ? 4 : 0;
  if (n == 0 || at + static_cast<size_t>(n) > text.size()) return {-1, 1};
  int32_t v = n == 2 ? b & 0x1f : n == 3 ? b & 0x0f : b & 0x07;
  for (int i = 1; i < n; ++i) {
    const uint8_t next = byte(at + static_cast<size_t>(i));
    if ((next & 0xc0) != 0x80) return {-1, 1};
    v = v << 6 | (next & 0x3f);
  }
  if ((n == 3 && (v < 0x800 || (v >= 0xd800 && v <= 0xdfff))) || (n == 4 && (v < 0x10000 || v > 0x10ffff)))
    return {-1, 1};
  return {v, n};
}

// Bytes at the end that may be the beginning of a character: what a printer holds back.
inline size_t unfinished_bytes(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto b = static_cast<uint8_t>(text[text.size() - back]);
    if ((b & 0xc0) == 0x80) continue;
    const size_t n = b >= 0xc2 && b <= 0xdf ? 2 : (b & 0xf0) == 0xe0 ? 3 : b >= 0xf0 && b <= 0xf4 ? 4 : 1;
    return n > back ? back : 0;
  }
  return 0;
}

}  // namespace hedgerow
