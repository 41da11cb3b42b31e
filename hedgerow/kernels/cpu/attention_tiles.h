// SPDX-License-Identifier: Apache-2.0
// The two register tiles of attention: scores (queries x keys) and the weighted sum of values (queries x
// head_dim).
//
// Both walk "units", 32-bit steps of the reduction: one f32, or a pair of bf16 where the machine multiplies
// pairs. Every result is one chain of products over ascending units, whatever the tile: that is why a row
// does not feel its neighbours.
//
// Layouts: queries (pack_queries)  AVX-512: groups of 4 rows, [unit / 16][unit % 4][unit / 4 % 4][row]; else
// [row][unit]
//          keys (pack_keys)        blocks of kLanes keys, [unit][key]
//          values                  rows of head_dim units, any stride
#pragma once

#include "hedgerow/kernels/cpu/simd.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {

struct F32Dot {  // a unit is an f32
  static constexpr bool kPairs = false;
  static HEDGEROW_INLINE Vec dot(Vec a, Vec b, Vec c) { return fma(a, b, c); }
};
#if defined(__AVX512BF16__)
struct PairDot {  // a unit is two bf16
  static constexpr bool kPairs = true;
  static HEDGEROW_INLINE Vec dot(Vec a, Vec b, Vec c) {
    return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
  }
};
#endif

// Tile shapes: as many accumulators as leave room for one vector per column and a broadcast. 12 x 2 and 6 x 4
// of 32 registers, 6 x 2 of 16. Few rows take more columns, so that enough chains run side by side.
#if defined(__AVX512F__)
constexpr int kScoreRows = 12, kValueRows = 6, kValueColumns = 4, kQueryGroup = 4;
#elif defined(__AVX2__)
constexpr int kScoreRows = 6, kValueRows = 6, kValueColumns = 2, kQueryGroup = 1;
#else
constexpr int kScoreRows = 4, kValueRows = 4, kValueColumns = 4, kQueryGroup = 1;
#endif
constexpr int score_columns(int rows) { return rows * 5 <= kScoreRows ? 8 : rows * 2 <= kScoreRows ? 4 : 2; }

// Where unit u of row r lies in packed queries; u a multiple of 4 moves by query_step(u), the rest by these
// constants.
HEDGEROW_INLINE int query_step(int u) { return kQueryGroup == 1 ? u : (u / 16) * 64 + (u / 4 % 4) * 4; }
HEDGEROW_INLINE constexpr int query_at(int r, int e, int units) {
  return kQueryGroup == 1 ? r * units + e : (r / 4) * units * 4 + e * 16 + r % 4;
}

// s[r][c * kLanes + lane] = q_r . k for `columns` key blocks.
template <class Dot, int rows, int columns>
void score_tile(const float* q, const float* keys, int units, float* s, int64_t s_stride) {
  Vec acc[rows][columns];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < columns; ++c) acc[r][c] = zero();
  const int64_t block = static_cast<int64_t>(units) * kLanes;
  for (int u = 0; u < units; u += 4) {
    const float* at = q + query_step(u);
#pragma GCC unroll 4
    for (int e = 0; e < 4; ++e) {
      Vec k[columns];
#pragma GCC unroll 16
      for (int c = 0; c < columns; ++c) k[c] = load(keys + c * block + e * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) {
        const Vec b = set1(at[query_at(r, e, units)]);
#pragma GCC unroll 16
        for (int c = 0; c < columns; ++c) acc[r][c] = Dot::dot(b, k[c], acc[r][c]);
      }
    }
    keys += 4 * kLanes;
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < columns; ++c) store(s + r * s_stride + c * kLanes, acc[r][c]);
}

// All whole key blocks, `blocks` of them, in tiles of at most `columns`.
template <class Dot, int rows, int columns = score_columns(rows)>
void score_blocks(const float* q, const float* keys, int units, int blocks, float* s, int64_t s_stride) {
  while (blocks >= columns) {
    score_tile<Dot, rows, columns>(q, keys, units, s, s_stride);
    keys += static_cast<int64_t>(columns) * units * kLanes;
    s += columns * kLanes;
    blocks -= columns;
  }
  if constexpr (columns > 1)
    if (blocks > 0) score_blocks<Dot, rows, columns / 2>(q, keys, units, blocks, s, s_stride);
}

#if defined(__AVX512F__)
// The last few keys: `span` queries share a vector, each with 16 / span keys. Lane = key * span + query. They
// run beside the last whole block (`block` = 1), because their few chains alone would wait for one another.
template <class Dot, int rows, int span, int block>
void score_tail(const float* q, const float* keys, int units, float* s, int64_t s_stride) {
  constexpr int groups = (rows + span - 1) / span;
  const float* tail = keys + block * units * kLanes;
  Vec acc[groups], main[rows];
#pragma GCC unroll 8
  for (int g = 0; g < groups; ++g) acc[g] = zero();
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) main[r] = zero();
  for (int u = 0; u < units; u += 4) {
    const float* at = q + query_step(u);
#pragma GCC unroll 4
    for (int e = 0; e < 4; ++e) {
      const Vec k = load(tail + (u + e) * kLanes);
#pragma GCC unroll 8
      for (int g = 0; g < groups; ++g) {
        const float* p = at + query_at(g * span, e, units);
        Vec b;
        if constexpr (span == 4)
          b = _mm512_broadcast_f32x4(_mm_loadu_ps(p));
        else
          b = _mm512_castpd_ps(_mm512_broadcastsd_pd(_mm_castsi128_pd(_mm_loadl_epi64((const __m128i*)p))));
        acc[g] = Dot::dot(b, k, acc[g]);
      }
      if constexpr (block) {
        const Vec b = load(keys + (u + e) * kLanes);
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r) main[r] = Dot::dot(set1(at[query_at(r, e, units)]), b, main[r]);
      }
    }
  }
  if constexpr (block) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) store(s + r * s_stride, main[r]);
    s += kLanes;
  }
  const __m512i by_key = _mm512_mullo_epi32(
      _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(span));
#pragma GCC unroll 8
  for (int g = 0; g < groups; ++g)
#pragma GCC unroll 4
    for (int i = 0; i < span; ++i)
      if (g * span + i < rows)
        store(s + (g * span + i) * s_stride,
              _mm512_permutexvar_ps(_mm512_add_epi32(by_key, _mm512_set1_epi32(i)), acc[g]));
}
#endif

// Where a weighted sum goes: f32 or bf16 rows.
struct OutRows {
  char* data;
  int64_t stride;  // bytes
  bool bf16;
};

// out[r][c * kLanes + lane] = scale[r] * sum over j of p[r][j] v[j][c * kLanes + lane], one chain over j per
// element.
template <class Dot, int rows, int columns>
void value_tile(const float* p, int64_t p_stride, const float* v, int64_t v_stride, int steps,
                const float* scale, OutRows out) {
  Vec acc[rows][columns];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < columns; ++c) acc[r][c] = zero();
#pragma GCC unroll 2
  for (int j = 0; j < steps; ++j) {
    Vec b[columns];
#pragma GCC unroll 16
    for (int c = 0; c < columns; ++c) b[c] = load(v + c * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const Vec a = set1(p[r * p_stride + j]);
#pragma GCC unroll 16
      for (int c = 0; c < columns; ++c) acc[r][c] = Dot::dot(a, b[c], acc[r][c]);
    }
    v += v_stride;
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
    const Vec a = set1(scale[r]);
#pragma GCC unroll 16
    for (int c = 0; c < columns; ++c) {
      char* at = out.data + r * out.stride;
      if (out.bf16)
        store(reinterpret_cast<uint16_t*>(at) + c * kLanes, mul(acc[r][c], a));
      else
        store(reinterpret_cast<float*>(at) + c * kLanes, mul(acc[r][c], a));
    }
  }
}

}  // namespace hedgerow::cpu::HEDGEROW_LEVEL
