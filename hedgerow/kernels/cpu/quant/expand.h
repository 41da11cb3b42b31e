// SPDX-License-Identifier: Apache-2.0
// What the codes and scales of a block stand for, in f32: exact in every format (a scale has at most 17
// significant bits, times a code 25 at most in 8 bits; where a minimum is added, that rounds once).
#pragma once

#include "hedgerow/kernels/cpu/quant/bytes.h"
#include "hedgerow/kernels/cpu/quant/layout.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {

HEDGEROW_INLINE bool has_minimum(const Quant& q) {
  return q.scales == Scales::f16_min || q.scales == Scales::f16_zero || q.scales == Scales::k4;
}
// Which of a block's expanded scales are those of its chunk c; of k6, the first of two.
HEDGEROW_INLINE int scales_at(const Quant& q, int c) { return c * kQuantChunk / q.group; }

// scales, minimums [groups][32].
inline void expand_scales(const Quant& q, const uint8_t* header, int chunks, float* scales, float* minimums) {
  const auto half = [](const uint8_t* p) { return reinterpret_cast<const uint16_t*>(p); };
  const int groups = q.bits ? groups_in(q, chunks) : 0;
  switch (q.scales) {
    case Scales::none:
      return;
    case Scales::f16:
    case Scales::f16_min:
      for (int i = 0; i < groups * kQuantPanel; i += kLanes) {
        store(scales + i, load_f16(half(header) + i));
        if (q.scales == Scales::f16_min)
          store(minimums + i, load_f16(half(header) + groups * kQuantPanel + i));
      }
      return;
    case Scales::f16_zero: {
      const uint8_t* zeros = header + 64 * groups;
      for (int g = 0; g < groups; ++g)
        for (int i = 0; i < kQuantPanel; ++i) {
          const float s = f16_to_f32(half(header)[g * kQuantPanel + i]);
          const int z = q.bits == 4 ? zeros[16 * g + i % 16] >> (i < 16 ? 0 : 4) & 15 : zeros[32 * g + i];
          scales[g * kQuantPanel + i] = s;
          minimums[g * kQuantPanel + i] = -s * static_cast<float>(z + q.zero);
        }
      return;
    }
    case Scales::k4:
      for (int g = 0; g < 8; ++g) {  // bytes first, which the compiler puts side by side
        alignas(64) uint8_t small[2 * kQuantPanel];
        const uint8_t *low = header + 128 + 32 * g, *high = header + 384 + g / 2 * 32;
        const int shift = g % 2 * 4;
        for (int i = 0; i < kQuantPanel; ++i) {
          const uint8_t h = static_cast<uint8_t>(high[i] >> shift);
          small[i] = static_cast<uint8_t>((low[i] & 15) | (h & 3) << 4);
          small[kQuantPanel + i] = static_cast<uint8_t>(low[i] >> 4 | (h & 12) << 2);
        }
        for (int v = 0; v < kQuantPanel; v += kLanes) {
          store(scales + g * kQuantPanel + v, mul(load_f16(half(header) + v), to_float(load_u8(small + v))));
          store(minimums + g * kQuantPanel + v, negative(mul(load_f16(half(header) + kQuantPanel + v),
                                                             to_float(load_u8(small + kQuantPanel + v)))));
        }
      }
      return;
    case Scales::k6:
      for (int v = 0; v < kQuantPanel; v += kLanes) {
        const Vec d = load_f16(half(header) + v);
        for (int g = 0; g < 16; ++g)
          store(scales + g * kQuantPanel + v, mul(d, to_float(load_i8(header + 64 + 32 * g + v))));
      }
      return;
  }
}

// The 32 codes of output `column` of a chunk.
HEDGEROW_INLINE int code_at(int bits, const uint8_t* chunk, int k, int column) {
  const int q = k / 4, half = column / 16, byte = 4 * (column % 16) + k % 4;
  if (bits == 8) return chunk[(q * 2 + half) * 64 + byte];
  int code = chunk[(q / 2 * 2 + half) * 64 + byte] >> (q % 2 * 4) & 15;
  if (bits == 5) code |= (chunk[512 + half * 64 + byte] >> q & 1) << 4;
  if (bits == 6) code |= (chunk[512 + (q / 4 * 2 + half) * 64 + byte] >> (q % 4 * 2) & 3) << 4;
  return code;
}

// Values [32 columns of w][32 outputs] of chunk c of a block: in `room`, or where they lie.
inline const float* chunk_values(const Quant& q, const uint8_t* chunk, const float* scales,
                                 const float* minimums, int c, float* room) {
  if (q.bits == 0) {
    if (q.values == Dtype::f32) return reinterpret_cast<const float*>(chunk);
    const auto* from = reinterpret_cast<const uint16_t*>(chunk);
    for (int i = 0; i < kQuantChunk * kQuantPanel; i += kLanes)
      store(room + i, q.values == Dtype::bf16 ? load(from + i) : load_f16(from + i));
    return room;
  }
  const bool minimum = has_minimum(q);
  for (int k = 0; k < kQuantChunk; ++k) {
    const int64_t group = (static_cast<int64_t>(c) * kQuantChunk + k) / q.group * kQuantPanel;
    const int zero = minimum ? 0 : q.zero;
    for (int i = 0; i < kQuantPanel; ++i) {
      const float y = scales[group + i] * static_cast<float>(code_at(q.bits, chunk, k, i) - zero);
      room[k * kQuantPanel + i] = minimum ? y + minimums[group + i] : y;
    }
  }
  return room;
}

}  // namespace hedgerow::cpu::HEDGEROW_LEVEL
