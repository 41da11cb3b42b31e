// SPDX-License-Identifier: Apache-2.0
// Brings one head's q, k and v from the rows of a fused projection into the layouts of attention/tiles.h.
//
// K is packed once per (sequence, head) and read by every block of queries. Rows that do not exist repeat the
// last one that does: their scores are never looked at, and no other sequence's memory is.
#pragma once

#include "hedgerow/kernels/cpu/attention/tiles.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {

// Rows of one head: row j is at data + (index ? index[j] : j) * stride.
struct HeadRows {
  const char* data;
  int64_t stride;        // bytes
  const int32_t* index;  // optional
  bool bf16;

  HEDGEROW_INLINE const char* row(int j) const {
    return data + static_cast<int64_t>(index ? index[j] : j) * stride;
  }
};

// Element by element, for levels and dtypes without a fast way.
HEDGEROW_INLINE float element(const char* row, int u, bool bf16) {
  return bf16 ? bf16_to_f32(reinterpret_cast<const uint16_t*>(row)[u])
              : reinterpret_cast<const float*>(row)[u];
}

#if defined(__AVX512F__)
// Steps u..u+3 of rows row[a], row[a + 4], row[a + 8], row[a + 12], one per 128-bit lane.
HEDGEROW_INLINE Vec quarter_rows(const char* const* row, int a, int u) {
  const auto piece = [&](int j) { return _mm_loadu_ps(reinterpret_cast<const float*>(row[j]) + u); };
  Vec z = _mm512_castps128_ps512(piece(a));
  z = _mm512_mask_broadcast_f32x4(z, 0x00f0, piece(a + 4));
  z = _mm512_mask_broadcast_f32x4(z, 0x0f00, piece(a + 8));
  return _mm512_mask_broadcast_f32x4(z, 0xf000, piece(a + 12));
}

// Transposes the 4 x 4 block in each 128-bit lane.
HEDGEROW_INLINE void transpose_lanes(Vec (&z)[4]) {
  const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(z[0], z[1])),
                b = _mm512_castps_pd(_mm512_unpackhi_ps(z[0], z[1]));
  const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(z[2], z[3])),
                d = _mm512_castps_pd(_mm512_unpackhi_ps(z[2], z[3]));
  z[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
  z[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
  z[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
  z[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
}

// 16 keys; `twice`: the first 8, each in two lanes.
HEDGEROW_INLINE void pack_key_block(const char* const* row, int steps, bool twice, float* out) {
  const __m512i spread = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  for (int u = 0; u < steps; u += 4, out += 4 * kLanes) {
    Vec z[4];
#pragma GCC unroll 4
    for (int a = 0; a < 4; ++a) z[a] = quarter_rows(row, a, u);
    transpose_lanes(z);
#pragma GCC unroll 4
    for (int a = 0; a < 4; ++a) store(out + a * kLanes, twice ? _mm512_permutexvar_ps(spread, z[a]) : z[a]);
  }
}

// The first 4 keys, each in the four lanes of a quarter.
HEDGEROW_INLINE void pack_four_keys(const char* const* row, int steps, float* out) {
  const char* apart[13] = {row[0], 0, 0, 0, row[1], 0, 0, 0, row[2], 0, 0, 0, row[3]};
  for (int u = 0; u < steps; u += 4, out += 4 * kLanes) {
    const Vec z = quarter_rows(apart, 0, u);
    store(out, _mm512_permute_ps(z, 0x00));
    store(out + kLanes, _mm512_permute_ps(z, 0x55));
    store(out + 2 * kLanes, _mm512_permute_ps(z, 0xaa));
    store(out + 3 * kLanes, _mm512_permute_ps(z, 0xff));
  }
}
#endif

// Keys [0, count) of `rows` in blocks of kLanes. With span > 1 (one block only), key j fills lanes j * span
// ...
template <class Dot>
HEDGEROW_INLINE void pack_keys(const HeadRows& rows, int first_key, int count, int steps, int span,
                               float* out) {
  for (int j0 = 0; j0 < count; j0 += kLanes) {
    const char* row[kLanes];
    for (int j = 0; j < kLanes; ++j) row[j] = rows.row(first_key + (j0 + j < count ? j0 + j : count - 1));
#if defined(__AVX512F__)
    if (Dot::kPairs || !rows.bf16) {
      if (span == 4)
        pack_four_keys(row, steps, out);
      else
        pack_key_block(row, steps, span == 2, out);
      out += kLanes * steps;
      continue;
    }
#endif
    for (int u = 0; u < steps; ++u, out += kLanes)
      for (int j = 0; j < kLanes; ++j) out[j] = element(row[j / span], u, rows.bf16);
  }
}

// Queries [first, first + count) in groups of kQueryGroup.
template <class Dot>
HEDGEROW_INLINE void pack_queries(const HeadRows& rows, int first, int count, int steps, float* out) {
  for (int r0 = 0; r0 < count; r0 += kQueryGroup, out += kQueryGroup * steps) {
    const char* row[kQueryGroup];
    for (int r = 0; r < kQueryGroup; ++r) row[r] = rows.row(first + (r0 + r < count ? r0 + r : count - 1));
#if defined(__AVX512F__)
    if (Dot::kPairs || !rows.bf16) {
      for (int u = 0; u < steps; u += 16) {
        Vec z[4];
        for (int r = 0; r < 4; ++r) z[r] = load(reinterpret_cast<const float*>(row[r]) + u);
        transpose_lanes(z);
        for (int e = 0; e < 4; ++e) store(out + (u * 4 + e * 16), z[e]);
      }
      continue;
    }
#endif
    float* to = out;
    for (int u = 0; u < steps; to += query_step(u), u += 4)
      for (int e = 0; e < 4; ++e)
        for (int r = 0; r < kQueryGroup; ++r) to[query_at(r, e)] = element(row[r], u + e, rows.bf16);
  }
}

// Values as rows of head_dim steps: f32 copied (or widened), bf16 pairs interleaved; the odd last row pairs
// with zeros.
template <class Dot>
HEDGEROW_INLINE void pack_values(const HeadRows& rows, int count, int head_dim, float* out) {
#if defined(__AVX512BF16__)
  if constexpr (Dot::kPairs) {
    // Words 0..15 of two rows, interleaved: two vectors of pairs from one vector of each.
    __m512i low, high;
    uint16_t order[32];
    for (int i = 0; i < 32; ++i) order[i] = static_cast<uint16_t>(i / 2 + (i % 2) * 32);
    low = _mm512_loadu_si512(order);
    high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    for (int j = 0; j < count; j += 2) {
      const char* a = rows.row(j);
      const char* b = j + 1 < count ? rows.row(j + 1) : nullptr;
      for (int d = 0; d < head_dim; d += 32, out += 32) {
        const __m512i x = _mm512_loadu_si512(a + 2 * d);
        const __m512i y = b ? _mm512_loadu_si512(b + 2 * d) : _mm512_setzero_si512();
        _mm512_storeu_si512(out, _mm512_permutex2var_epi16(x, low, y));
        _mm512_storeu_si512(out + 16, _mm512_permutex2var_epi16(x, high, y));
      }
    }
    return;
  }
#endif
  for (int j = 0; j < count; ++j, out += head_dim) {
    const char* row = rows.row(j);
    for (int d = 0; d < head_dim; d += kLanes)
      store(out + d, rows.bf16 ? load(reinterpret_cast<const uint16_t*>(row) + d)
                               : load(reinterpret_cast<const float*>(row) + d));
  }
}

}  // namespace hedgerow::cpu::HEDGEROW_LEVEL
