// SPDX-License-Identifier: Apache-2.0
// How a CPU stores a matrix of codes or short floats (ops/quant.h): panels of 32 outputs, each one stream.
//
// A panel is blocks of 256 columns of w (the last may be shorter, in chunks of 32). A block opens with its
// scales, then chunk after chunk:
//   codes of 4 bits: 4 x 2 lines of 64 bytes; byte 4 c + i of line (l, half): output 16 half + c, low nibble
//     column 8 l + i, high nibble column 8 l + 4 + i: what one instruction multiplies with four columns of x
//   5 bits: behind those 2 lines, one a half: bit q of byte 4 c + i is the fifth bit of column 4 q + i
//   6 bits: 2 x 2 lines, (t, half): bits 2 (q - 4 t) of byte 4 c + i are the upper two of column 4 q + i
//   8 bits: 8 x 2 lines, (q, half): byte 4 c + i is column 4 q + i
//   values: [32 columns][32 outputs]
// Scales of a block: [groups][32] f16 (f16); then as many minimums (f16_min), or zeros, as nibbles of two
// outputs 16 apart, or bytes (f16_zero). k4: [32] f16 twice, then a group of 32 columns 32 bytes (low nibble
// of scale, of minimum) and, two groups at a time, 32 bytes (upper two bits of scale, minimum; next group).
// k6: [32] f16, then [16][32] int8. All of it in whole lines of 64 bytes.
//
// The layout is the same on all levels; it is also that of the matrix units' int8 operands (a chunk's quad
// lines are rows of 16 outputs x 4 columns).
#pragma once

#include "hedgerow/kernels/ops/quant.h"

namespace hedgerow::cpu {

HEDGEROW_INLINE constexpr int64_t lines(int64_t bytes) { return (bytes + 63) / 64 * 64; }
// Columns of w, padded to whole chunks.
HEDGEROW_INLINE constexpr int chunks_of(int k) { return (k + kQuantChunk - 1) / kQuantChunk; }
// Groups that a block of so many chunks has scales for.
HEDGEROW_INLINE constexpr int groups_in(const Quant& q, int chunks) {
  const int columns = chunks * kQuantChunk;
  return q.group >= kQuantBlock ? 1 : (columns + q.group - 1) / q.group;
}
HEDGEROW_INLINE constexpr int64_t header_bytes(const Quant& q, int chunks) {
  const int64_t groups = q.bits ? groups_in(q, chunks) : 0;
  switch (q.scales) {
    case Scales::none:
      return 0;
    case Scales::f16:
      return groups * 64;
    case Scales::f16_min:
      return groups * 128;
    case Scales::f16_zero:
      return groups * 64 + lines(groups * (q.bits == 4 ? 16 : 32));
    case Scales::k4:
      return 512;
    case Scales::k6:
      return 576;
  }
  return 0;
}
HEDGEROW_INLINE constexpr int64_t chunk_bytes(const Quant& q) {
  return q.bits ? int64_t{q.bits} * 128 : int64_t{1024} * bytes_of(q.values);
}
HEDGEROW_INLINE constexpr int64_t block_bytes(const Quant& q, int chunks) {
  return header_bytes(q, chunks) + chunks * chunk_bytes(q);
}
HEDGEROW_INLINE constexpr int64_t panel_bytes(const Quant& q, int k) {
  constexpr int kChunks = kQuantBlock / kQuantChunk;
  const int chunks = chunks_of(k), whole = chunks / kChunks, rest = chunks % kChunks;
  return whole * block_bytes(q, kChunks) + (rest ? block_bytes(q, rest) : 0);
}

// x as codes meet it: a row of int8 [chunks x 32], then f32 scales [chunks], scale x sum of codes [chunks],
// then int32 sums of codes of each half chunk [2 chunks]. Bytes of a row, whole lines.
HEDGEROW_INLINE constexpr int64_t int8_row_bytes(int k) {
  const int64_t c = chunks_of(k);
  return lines(c * kQuantChunk) + lines(4 * c) * 2 + lines(8 * c);
}

}  // namespace hedgerow::cpu
