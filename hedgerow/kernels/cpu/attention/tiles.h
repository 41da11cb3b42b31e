// SPDX-License-Identifier: Apache-2.0
// The two register tiles of attention: scores (queries x keys) and the weighted sum of values (queries x
// head_dim).
//
// Both walk "steps", 32-bit steps of the reduction: one f32, or a pair of bf16 where the machine multiplies
// pairs. Every result is one chain of products over ascending steps, whatever the tile: that is why a row
// does not feel its neighbours.
//
// Layouts: queries (pack_queries)  AVX-512: groups of 4 rows, [step / 16][step % 4][step / 4 % 4][row]; else
// [row][step]
//          keys (pack_keys)        blocks of kLanes keys, [step][key]
//          values                  rows of head_dim steps, any stride
#pragma once

#include "hedgerow/kernels/cpu/simd.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {

struct F32Dot {  // a step is an f32
  static constexpr bool kPairs = false;
  static HEDGEROW_INLINE Vec dot(Vec a, Vec b, Vec c) { return accumulate(a, b, c); }
  static HEDGEROW_INLINE Vec dot_from(const float* a, Vec b, Vec c) { return accumulate_from(a, b, c); }
};
#if defined(__AVX512BF16__)
struct PairDot {  // a step is two bf16
  static constexpr bool kPairs = true;
  static HEDGEROW_INLINE Vec dot(Vec a, Vec b, Vec c) {
    return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
  }
  static HEDGEROW_INLINE Vec dot_from(const float* a, Vec b, Vec c) { return dot(set1(*a), b, c); }
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

// Where step u + e of row r lies in packed queries, u a multiple of 4: query_at(r, e) behind its group's
// place, which moves by query_step(u) from u to u + 4.
constexpr int query_groups(int rows) { return (rows + kQueryGroup - 1) / kQueryGroup; }
HEDGEROW_INLINE constexpr int query_at(int r, int e) { return kQueryGroup == 1 ? e : e * 16 + r % 4; }
HEDGEROW_INLINE int64_t query_step(int u) { return kQueryGroup == 1 || u % 16 != 12 ? 4 : 52; }

// Places in n streams, `apart` floats from one another, that move together. GCC is kept from deriving them
// from one another: left to itself it computes an address for nearly every load, or keeps offsets in memory.
template <int n>
struct Streams {
  const float* at[n];
  HEDGEROW_INLINE Streams(const float* first, int64_t apart) {
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) at[i] = first + i * apart;
  }
  HEDGEROW_INLINE void move(int64_t step) {
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) {
      at[i] += step;
      asm("" : "+r"(at[i]));
    }
  }
};

// s[r][c * kLanes + lane] = q_r . k for `columns` key blocks.
template <class Dot, int rows, int columns>
void score_tile(const float* q, const float* keys, int steps, float* s, int64_t s_stride) {
  Vec acc[rows][columns];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < columns; ++c) acc[r][c] = zero();
  Streams<query_groups(rows)> query(q, int64_t{kQueryGroup} * steps);
  Streams<columns> key(keys, int64_t{kLanes} * steps);
  for (int u = 0; u < steps; u += 4) {
#pragma GCC unroll 4
    for (int e = 0; e < 4; ++e) {
      Vec k[columns];
#pragma GCC unroll 16
      for (int c = 0; c < columns; ++c) k[c] = load(key.at[c] + e * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) {
        const float* p = query.at[r / kQueryGroup] + query_at(r, e);
        if (columns == 1 || (columns == 2 && r % 3 == 1)) {
#pragma GCC unroll 16
          for (int c = 0; c < columns; ++c) acc[r][c] = Dot::dot_from(p, k[c], acc[r][c]);
          continue;
        }
        const Vec b = set1(*p);
#pragma GCC unroll 16
        for (int c = 0; c < columns; ++c) acc[r][c] = Dot::dot(b, k[c], acc[r][c]);
      }
    }
    key.move(4 * kLanes);
    query.move(query_step(u));
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < columns; ++c) store(s + r * s_stride + c * kLanes, acc[r][c]);
}

// All whole key blocks, `blocks` of them, in tiles of at most `columns`.
template <class Dot, int rows, int columns = score_columns(rows)>
void score_blocks(const float* q, const float* keys, int steps, int blocks, float* s, int64_t s_stride) {
  while (blocks >= columns) {
    score_tile<Dot, rows, columns>(q, keys, steps, s, s_stride);
    keys += static_cast<int64_t>(columns) * steps * kLanes;
    s += columns * kLanes;
    blocks -= columns;
  }
  if constexpr (columns > 1)
    if (blocks > 0) score_blocks<Dot, rows, columns / 2>(q, keys, steps, blocks, s, s_stride);
}

#if defined(__AVX512F__)
// The last few keys: `span` queries share a vector, each with 16 / span keys. Lane = key * span + query. They
// run beside the last whole block (`block` = 1), because their few chains alone would wait for one another.
template <class Dot, int rows, int span, int block>
void score_tail(const float* q, const float* keys, int steps, float* s, int64_t s_stride) {
  constexpr int groups = (rows + span - 1) / span;
  const float* tail = keys + block * steps * kLanes;
  Vec acc[groups], main[rows];
#pragma GCC unroll 8
  for (int g = 0; g < groups; ++g) acc[g] = zero();
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) main[r] = zero();
  Streams<query_groups(rows)> query(q, int64_t{kQueryGroup} * steps);
  for (int u = 0; u < steps; u += 4) {
#pragma GCC unroll 4
    for (int e = 0; e < 4; ++e) {
      const Vec k = load(tail + (u + e) * kLanes);
#pragma GCC unroll 8
      for (int g = 0; g < groups; ++g) {
        const float* p = query.at[g * span / 4] + query_at(g * span, e);
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
        for (int r = 0; r < rows; ++r) main[r] = Dot::dot_from(query.at[r / 4] + query_at(r, e), b, main[r]);
      }
    }
    query.move(query_step(u));
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
