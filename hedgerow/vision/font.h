// SPDX-License-Identifier: Apache-2.0
// A 5 x 7 bitmap font for captions: one glyph is 35 bits, rows from the top, the leftmost pixel of a row
// first. Letters are capitals; a character without a glyph shows as a space.
#pragma once

#include <cstdint>

namespace hedgerow {

constexpr int kGlyphWidth = 5, kGlyphHeight = 7;

inline uint64_t glyph_of(char c) {
  struct Glyph {
    char c;
    uint64_t bits;
  };
  // clang-format off
  static constexpr Glyph kGlyphs[] = {
    {'%', 0x672222273}, {'\'', 0x108800000}, {'(', 0x088842082}, {')', 0x208210888}, {'+', 0x0084f9080},
    {',', 0x000003088}, {'-', 0x0000f8000}, {'.', 0x00000018c}, {'/', 0x042222210}, {'0', 0x3a33ae62e},
    {'1', 0x11842108e}, {'2', 0x3a211111f}, {'3', 0x3a213062e}, {'4', 0x08ca97c42}, {'5', 0x7e1e0862e},
    {'6', 0x3a10f462e}, {'7', 0x7c2221108}, {'8', 0x3a317462e}, {'9', 0x3a317842e}, {':', 0x018c03180},
    {'A', 0x3a31fc631}, {'B', 0x7a31f463e}, {'C', 0x3a308422e}, {'D', 0x7a318c63e}, {'E', 0x7e10f421f},
    {'F', 0x7e10f4210}, {'G', 0x3a30bc62f}, {'H', 0x4631fc631}, {'I', 0x38842108e}, {'J', 0x1c4210a4c},
    {'K', 0x4654c5251}, {'L', 0x42108421f}, {'M', 0x4775ac631}, {'N', 0x4739ace71}, {'O', 0x3a318c62e},
    {'P', 0x7a31f4210}, {'Q', 0x3a318d64d}, {'R', 0x7a31f5251}, {'S', 0x3e107043e}, {'T', 0x7c8421084},
    {'U', 0x46318c62e}, {'V', 0x46318a944}, {'W', 0x4631ad771}, {'X', 0x462a22a31}, {'Y', 0x462a21084},
    {'Z', 0x7c222221f}, {'_', 0x00000001f},
  };
  // clang-format on
  if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  for (const Glyph& g : kGlyphs)
    if (g.c == c) return g.bits;
  return 0;
}

}  // namespace hedgerow
