// SPDX-License-Identifier: Apache-2.0
// A block of 256 columns of one panel of codes times rows, and the tile of rows inside: all that a product's
// time is spent in. Included only by quant.cpp, built once per level.
#pragma once

#include "hedgerow/kernels/cpu/quant/expand.h"
#include "hedgerow/kernels/cpu/quant/rows.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {
namespace {

#if defined(__AVX512F__)
constexpr int kTileRows = 8;
#elif defined(__AVX2__)
constexpr int kTileRows = 2;
#else
constexpr int kTileRows = 1;
#endif
// How far ahead in its stream a panel is asked for.
constexpr int64_t kAhead = 2048;

// ----------------------------------------------------------------------------------------------------------
// one chunk of one panel, kRows rows

// f<q>(vector v of the codes of columns 4 q .. 4 q + 3), for v in all of a panel.
template <int kBits, class F>
HEDGEROW_INLINE void each_quad(const uint8_t* chunk, F&& f) {
  const Bytes low = byte_mask(15), fifth = byte_mask(0x10), upper = byte_mask(0x30);
  constexpr int kPer = 64 / kVecBytes;  // vectors a line
  if constexpr (kBits == 8) {
    each<8>([&]<int q>() {
      Bytes w[kQuantVecs];
      each<kQuantVecs>(
          [&]<int v>() { w[v] = load_bytes(chunk + (q * 2 + v / kPer) * 64 + v % kPer * kVecBytes); });
      f(q, w);
    });
  } else {
    each<4>([&]<int l>() {
      Bytes w0[kQuantVecs], w1[kQuantVecs];
      each<kQuantVecs>([&]<int v>() {
        const int64_t at = v / kPer * 64 + v % kPer * kVecBytes;
        const Bytes line = load_bytes(chunk + l * 128 + at);
        w0[v] = both(line, low), w1[v] = both(shifted<-4>(line), low);
        if constexpr (kBits == 5) {
          const Bytes plane = load_bytes(chunk + 512 + at);
          w0[v] = masked_or(shifted<4 - 2 * l>(plane), fifth, w0[v]);
          w1[v] = masked_or(shifted<3 - 2 * l>(plane), fifth, w1[v]);
        }
        if constexpr (kBits == 6) {
          const Bytes plane = load_bytes(chunk + 512 + l / 2 * 128 + at);
          w0[v] = masked_or(shifted<4 - l % 2 * 4>(plane), upper, w0[v]);
          w1[v] = masked_or(shifted<2 - l % 2 * 4>(plane), upper, w1[v]);
        }
      });
      f(2 * l, w0);
      f(2 * l + 1, w1);
    });
  }
}

template <int kRows>
struct RowsOfX {
  const int8_t* codes[kRows];
  const float* scales[kRows];
  const float* scaled_sums[kRows];
  const int32_t* sums[kRows];
};

// sums [kRows][32] += the chunk's part. `halves`: its two halves of 16 columns have scales of their own.
template <int kBits, bool kMinimum, bool kHalves, int kRows>
HEDGEROW_INLINE void chunk_times_rows(const uint8_t* chunk, const float* scale, const float* minimum,
                                      int zero, const RowsOfX<kRows>& x, int c, float* sums) {
  VecI acc[kRows][kQuantVecs];
  const auto finish = [&](const float* s, bool last) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vec dx = set1(x.scales[r][c]);
#pragma GCC unroll 32
      for (int v = 0; v < kQuantVecs; ++v) {
        float* at = sums + r * kQuantPanel + v * kLanes;
        Vec y = fused(to_float(acc[r][v]), mul(load(s + v * kLanes), dx), load(at));
        if (kMinimum && last) y = fused(load(minimum + v * kLanes), set1(x.scaled_sums[r][c]), y);
        store(at, y);
      }
    }
  };
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const int32_t* of = x.sums[r] + 2 * c;
    const VecI start = whole(kMinimum ? 0 : -zero * (kHalves ? of[0] : of[0] + of[1]));
#pragma GCC unroll 32
    for (int v = 0; v < kQuantVecs; ++v) acc[r][v] = start;
  }
  each_quad<kBits>(chunk, [&](int q, const Bytes* w) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const VecI four = columns4(x.codes[r] + c * kQuantChunk + 4 * q);
#pragma GCC unroll 32
      for (int v = 0; v < kQuantVecs; ++v) acc[r][v] = dot4<kBits == 8>(acc[r][v], w[v], four);
    }
    if (kHalves && q == 3) {
      finish(scale, false);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 32
        for (int v = 0; v < kQuantVecs; ++v) acc[r][v] = whole(-zero * x.sums[r][2 * c + 1]);
    }
  });
  finish(kHalves ? scale + kQuantPanel : scale, true);
}

// ----------------------------------------------------------------------------------------------------------
// a block of one panel times rows

struct Block {
  const QuantBand* band;
  const uint8_t* at;  // its header
  int first, chunks;  // chunks of the row
  int k;
  const float *scales, *minimums;  // expanded
};

template <int kBits, bool kMinimum, bool kHalves, int kRows>
void block_times_rows(const Block& b, void* x, int64_t row, float* sums) {
  RowsOfX<kRows> rows;
  for (int r = 0; r < kRows; ++r) {
    const Int8Row one = int8_row(x, b.k, row + r);
    rows.codes[r] = one.codes, rows.scales[r] = one.scales, rows.scaled_sums[r] = one.scaled_sums,
    rows.sums[r] = one.sums;
  }
  const Quant& q = b.band->quant;
  const int64_t bytes = chunk_bytes(q);
  const uint8_t* chunk = b.at + header_bytes(q, b.chunks);
  for (int c = 0; c < b.chunks; ++c, chunk += bytes) {
    if (kRows < kTileRows || kTileRows < 8)
      for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(chunk + kAhead + i);
    const int group = scales_at(q, c);
    chunk_times_rows<kBits, kMinimum, kHalves, kRows>(chunk, b.scales + group * kQuantPanel,
                                                      b.minimums + group * kQuantPanel, q.zero, rows,
                                                      b.first + c, sums);
  }
}

template <int kBits, bool kMinimum, bool kHalves>
void block_times_all(const Block& b, void* x, int64_t row, int count, float* sums) {
  while (count > 0) {
    const int now = count < kTileRows ? count : kTileRows;
    switch (now) {
#define HEDGEROW_ROWS(n)                                                                          \
  case n:                                                                                         \
    if constexpr (n <= kTileRows) block_times_rows<kBits, kMinimum, kHalves, n>(b, x, row, sums); \
    break;
      HEDGEROW_ROWS(1)
      HEDGEROW_ROWS(2)
      HEDGEROW_ROWS(3)
      HEDGEROW_ROWS(4)
      HEDGEROW_ROWS(5)
      HEDGEROW_ROWS(6)
      HEDGEROW_ROWS(7)
      HEDGEROW_ROWS(8)
#undef HEDGEROW_ROWS
    }
    row += now, count -= now, sums += now * kQuantPanel;
  }
}

void block_in_int8(const Block& b, void* x, int64_t row, int count, float* sums) {
  const Quant& q = b.band->quant;
  const bool minimum = has_minimum(q);
  switch (q.bits) {
    case 4:
      return minimum ? block_times_all<4, true, false>(b, x, row, count, sums)
                     : block_times_all<4, false, false>(b, x, row, count, sums);
    case 5:
      return minimum ? block_times_all<5, true, false>(b, x, row, count, sums)
                     : block_times_all<5, false, false>(b, x, row, count, sums);
    case 6:
      return block_times_all<6, false, true>(b, x, row, count, sums);
    default:
      return minimum ? block_times_all<8, true, false>(b, x, row, count, sums)
                     : block_times_all<8, false, false>(b, x, row, count, sums);
  }
}

// The same with x in f32: kRows rows times the f32 values [32][32] of one chunk.
template <int kRows>
HEDGEROW_INLINE void values_times_rows(const float* w, const float* const* x, int count, float* sums) {
  Vec acc[kRows][kQuantVecs];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 32
    for (int v = 0; v < kQuantVecs; ++v) acc[r][v] = load(sums + r * kQuantPanel + v * kLanes);
  for (int k = 0; k < count; ++k, w += kQuantPanel)
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vec one = set1(x[r][k]);
#pragma GCC unroll 32
      for (int v = 0; v < kQuantVecs; ++v) acc[r][v] = fma(one, load(w + v * kLanes), acc[r][v]);
    }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 32
    for (int v = 0; v < kQuantVecs; ++v) store(sums + r * kQuantPanel + v * kLanes, acc[r][v]);
}

void block_in_f32(const Block& b, const float* x, int64_t stride, int count, float* sums) {
  const Quant& q = b.band->quant;
  const int64_t bytes = chunk_bytes(q);
  const uint8_t* chunk = b.at + header_bytes(q, b.chunks);
  alignas(64) float values[kQuantChunk * kQuantPanel];
  constexpr int kMost = kTileRows < 4 ? kTileRows : 4;
  for (int c = 0; c < b.chunks; ++c, chunk += bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(chunk + kAhead + i);
    const int first = (b.first + c) * kQuantChunk,
              columns = b.k - first < kQuantChunk ? b.k - first : kQuantChunk;
    const float* w = chunk_values(q, chunk, b.scales, b.minimums, c, values);
    for (int row = 0; row < count;) {
      const float* rows[kMost];
      const int now = count - row < kMost ? count - row : kMost;
      for (int r = 0; r < now; ++r) rows[r] = x + (row + r) * stride + first;
      float* to = sums + row * kQuantPanel;
      if (now == 4) {
        if constexpr (kMost >= 4) values_times_rows<4>(w, rows, columns, to);
      } else if (now == 3) {
        if constexpr (kMost >= 4) values_times_rows<3>(w, rows, columns, to);
      } else if (now == 2) {
        if constexpr (kMost >= 2) values_times_rows<2>(w, rows, columns, to);
      } else {
        values_times_rows<1>(w, rows, columns, to);
      }
      row += now;
    }
  }
}

}  // namespace
}  // namespace hedgerow::cpu::HEDGEROW_LEVEL
