// SPDX-License-Identifier: Apache-2.0
// Rows of x as codes meet them: int8 in chunks of 32 columns, each with its scale and sums (layout.h).
// Included only by files that are built once per level.
#pragma once

#include "hedgerow/kernels/cpu/quant/bytes.h"
#include "hedgerow/kernels/cpu/quant/layout.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {

struct Int8Row {
  int8_t* codes;
  float* scales;       // [chunks]
  float* scaled_sums;  // scale x sum of codes
  int32_t* sums;       // of codes, [2 chunks]: of each half
};
HEDGEROW_INLINE Int8Row int8_row(void* base, int k, int64_t row) {
  const int64_t chunks = chunks_of(k);
  char* at = static_cast<char*>(base) + row * int8_row_bytes(k);
  char* const behind = at + lines(chunks * kQuantChunk);
  return {reinterpret_cast<int8_t*>(at), reinterpret_cast<float*>(behind),
          reinterpret_cast<float*>(behind + lines(4 * chunks)),
          reinterpret_cast<int32_t*>(behind + 2 * lines(4 * chunks))};
}

// Codes are to nearest even; a chunk that holds no number gets no number as its scale. Codes of a chunk so
// small that 127 / most has no room in f32 are 0.
inline void to_int8(const float* x, int k, const int32_t* order, void* rows, int64_t row) {
  const Int8Row to = int8_row(rows, k, row);
  for (int c = 0; c < chunks_of(k); ++c) {
    alignas(64) float v[kQuantChunk] = {};
    const int first = c * kQuantChunk, count = k - first < kQuantChunk ? k - first : kQuantChunk;
    if (order)
      for (int i = 0; i < count; ++i) v[i] = x[order[first + i]];
    else
      __builtin_memcpy(v, x + first, static_cast<size_t>(count) * 4);
    Vec largest = zero(), nothing = zero();
    for (int i = 0; i < kQuantChunk; i += kLanes)
      largest = max(abs(load(v + i)), largest), nothing = fused(load(v + i), zero(), nothing);
    const float most = reduce_max(largest);
    const bool bad = reduce_add(nothing) != 0;
    const float scale = most / 127.0f, per = most > 0x1p-120f && !bad ? 127.0f / most : 0.0f;
    for (int i = 0; i < kQuantChunk; i += kLanes)
      store(v + i, bad ? zero() : round(min(mul(load(v + i), set1(per)), set1(127.0f))));
    int32_t sums[2] = {};
    for (int i = 0; i < kQuantChunk; ++i) {
      const int32_t code = static_cast<int32_t>(v[i]);
      to.codes[first + i] = static_cast<int8_t>(code), sums[i / 16] += code;
    }
    to.scales[c] = bad ? __builtin_nanf("") : scale;
    to.scaled_sums[c] = to.scales[c] * static_cast<float>(sums[0] + sums[1]);
    to.sums[2 * c] = sums[0], to.sums[2 * c + 1] = sums[1];
  }
}

}  // namespace hedgerow::cpu::HEDGEROW_LEVEL
