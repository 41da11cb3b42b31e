// SPDX-License-Identifier: Apache-2.0
// The softmax between the two products, in place on a block of score rows that lies in L1.
//
// p = 2^(c s + b - m), m the largest of the row (c = scale * log2 e, b = key_bias * log2 e); rows stay
// unnormalised and 1 / sum is applied to the output. Key j is always added in lane j % kLanes and the lanes
// in one fixed tree, so a row's sum depends on its own scores only. Lanes past the last key become exact
// zeros.
#pragma once

#include "hedgerow/kernels/cpu/attention/tiles.h"
#include "hedgerow/kernels/cpu/exp2.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {

struct Largest {
  static HEDGEROW_INLINE Vec of(Vec a, Vec b) { return max(a, b); }
  static HEDGEROW_INLINE float of_one(float a, float b) { return a > b ? a : b; }
};
struct Sum {
  static HEDGEROW_INLINE Vec of(Vec a, Vec b) { return add(a, b); }
  static HEDGEROW_INLINE float of_one(float a, float b) { return a + b; }
};

// out[r] = all lanes of a[r] combined, lane i with lane i + kLanes / 2 first; the same tree for every row.
// Room for 16.
template <class Op>
HEDGEROW_INLINE void combine_lanes(const Vec* a, int rows, float* out) {
#if defined(__AVX512F__)
  Vec x[8], y[4], z[2];
  (void)rows;
  for (int i = 0; i < 8; ++i)
    x[i] = Op::of(_mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0x44),
                  _mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0xee));
  for (int i = 0; i < 4; ++i)
    y[i] = Op::of(_mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0x88),
                  _mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0xdd));
  for (int i = 0; i < 2; ++i)
    z[i] = Op::of(_mm512_shuffle_ps(y[2 * i], y[2 * i + 1], 0x44),
                  _mm512_shuffle_ps(y[2 * i], y[2 * i + 1], 0xee));
  const Vec t = Op::of(_mm512_shuffle_ps(z[0], z[1], 0x88), _mm512_shuffle_ps(z[0], z[1], 0xdd));
  // Lane 4 l + e holds row 4 e + l.
  store(out,
        _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), t));
#else
  for (int r = 0; r < rows; ++r) {
    alignas(64) float t[kLanes];
    store(t, a[r]);
    for (int w = kLanes / 2; w > 0; w /= 2)
      for (int i = 0; i < w; ++i) t[i] = Op::of_one(t[i], t[i + w]);
    out[r] = t[0];
  }
#endif
}

// s [rows][stride] holds scores of `keys` > 0 keys and becomes p: f32, or bf16 pairs at the front of each
// row. inverse[r] = 1 / sum of the row as it is used.
template <class Dot, bool biased>
void softmax_rows(float* s, int64_t stride, int rows, int keys, const float* bias, float c, float* inverse) {
  constexpr bool coarse = Dot::kPairs;
  alignas(64) float m[16] = {};
  Vec lanes[16];
  for (int r = rows; r < 16; ++r) lanes[r] = zero();
  const int whole = (keys - 1) / kLanes * kLanes, last = keys - whole;
  const Vec scale = set1(c), minus_inf = set1(-__builtin_inff());
  for (int r = 0; r < rows; ++r) {
    const float* row = s + r * stride;
    const auto logits = [&](int j) {
      return biased ? fma(load(row + j), scale, load(bias + j)) : load(row + j);
    };
    Vec top = keep_first(logits(whole), last, minus_inf);
    for (int j = 0; j < whole; j += kLanes) top = max(top, logits(j));
    lanes[r] = top;
  }
  combine_lanes<Largest>(lanes, rows, m);
  for (int r = 0; r < rows; ++r) {
    float* row = s + r * stride;
    const Vec top = set1(biased ? m[r] : m[r] * c), minus_top = sub(zero(), top);
    const auto power = [&](int j) {
      const Vec offset = biased ? sub(load(bias + j), top) : minus_top;
      return exp2_below_zero<coarse>(fma(load(row + j), scale, offset));
    };
    Vec sum = zero();
#if defined(__AVX512BF16__)
    if constexpr (Dot::kPairs) {
      const Vec ones = (Vec)_mm512_set1_epi32(0x3f803f80);
      const auto put = [&](int j, Vec low, Vec high) {
        const Vec pairs = (Vec)_mm512_cvtne2ps_pbh(high, low);
        store(row + j / 2, pairs);
        sum = Dot::dot(pairs, ones, sum);
      };
      int j = 0;
      for (; j + kLanes < whole; j += 2 * kLanes) put(j, power(j), power(j + kLanes));
      const Vec end = keep_first(power(whole), last, zero());
      if (j < whole)
        put(j, power(j), end);
      else
        put(j, end, zero());
      lanes[r] = sum;
      continue;
    }
#endif
    for (int j = 0; j < whole; j += kLanes) {
      const Vec p = power(j);
      store(row + j, p);
      sum = add(sum, p);
    }
    const Vec p = keep_first(power(whole), last, zero());
    store(row + whole, p);
    lanes[r] = add(sum, p);
  }
  combine_lanes<Sum>(lanes, rows, m);
  for (int r = 0; r < rows; r += kLanes) store(inverse + r, div(set1(1.0f), load(m + r)));
}

}  // namespace hedgerow::cpu::HEDGEROW_LEVEL
