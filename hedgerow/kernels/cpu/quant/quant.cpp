// SPDX-License-Identifier: Apache-2.0
// Products with weights of codes or short floats: one task of them, and rows of x on their way into it. Built
// once per level; the layout is that of layout.h.
//
// int8 rows: per chunk of 32 columns codes times codes are summed exactly (of Scales::k6 in two halves); that
// sum times scale of w times scale of x goes into one f32 chain a chunk after the other, fused, on every
// level; minimums go in behind each, as minimum x (scale of x x sum of codes of x). So all levels give the
// same bits. f32 rows: weights become f32, exactly, and enter one chain over k.
#include "hedgerow/kernels/cpu/exp2.h"
#include "hedgerow/kernels/cpu/level.h"
#include "hedgerow/kernels/cpu/quant/bytes.h"
#include "hedgerow/kernels/cpu/quant/expand.h"
#include "hedgerow/kernels/cpu/quant/layout.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {
namespace {

#if defined(__AVX512F__)
constexpr int kTileRows = 8;
#elif defined(__AVX2__)
constexpr int kTileRows = 2;
#else
constexpr int kTileRows = 1;
#endif
// Rows whose sums wait beside a block of weights in the L1.
constexpr int kRowsAtOnce = 64;
// How far ahead in its stream a panel is asked for.
constexpr int64_t kAhead = 4096;

// ----------------------------------------------------------------------------------------------------------
// x in int8

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
void to_int8(const float* x, int k, const int32_t* order, void* rows, int64_t row) {
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
    alignas(64) float lanes[kLanes];
    store(lanes, largest);
    float most = 0;
    for (float one : lanes) most = one > most ? one : most;
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

// ----------------------------------------------------------------------------------------------------------
// one task

// sums [count][32] of one panel. `ordered`: x of the band, in f32 [count, k] (rows in int8 lie in `x8`).
void panel_times_rows(const PackedLinear& w, const QuantBand& band, int panel, const float* x, int64_t stride,
                      void* x8, int64_t row, int count, float* sums) {
  __builtin_memset(sums, 0, sizeof(float) * static_cast<size_t>(count) * kQuantPanel);
  alignas(64) float scales[16 * kQuantPanel], minimums[16 * kQuantPanel];
  const uint8_t* at = w.data.as<uint8_t>() + band.offset + panel * band.panel_bytes;
  constexpr int kChunks = kQuantBlock / kQuantChunk;
  for (int first = 0; first < chunks_of(w.k); first += kChunks) {
    const int left = chunks_of(w.k) - first, chunks = left < kChunks ? left : kChunks;
    expand_scales(band.quant, at, chunks, scales, minimums);
    const Block b{&band, at, first, chunks, w.k, scales, minimums};
    if (w.rows_of == RowsOf::int8 && band.quant.bits)
      block_in_int8(b, x8, row, count, sums);
    else
      block_in_f32(b, x + row * stride, stride, count, sums);
    at += block_bytes(band.quant, chunks);
  }
}

// x / (1 + e^-x), from an exponential of what is not positive.
HEDGEROW_INLINE Vec silu(Vec x) {
  const Vec e = exp2_below_zero<false>(mul(abs(x), set1(-1.44269504f)));
  const Vec upper = max(fma(set1(0.5f), copysign(set1(1.0f), x), set1(0.5f)), e);
  return mul(x, div(upper, add(set1(1.0f), e)));
}

// Panels [begin, end) of all bands one after the other; of a gated product, of the gate and of up alike.
void quant_linear(const LinearArgs& a, const QuantRows& x, int begin, int end) {
  const PackedLinear& w = *a.w;
  const int rows = a.rows.rows();
  const bool gated = a.act == Activation::silu_gated;
  alignas(64) float sums[kRowsAtOnce * kQuantPanel], ups[kRowsAtOnce * kQuantPanel];
  int band = 0, before = 0, outputs = 0;  // panels and outputs of the bands before
  for (int panel = begin; panel < end; ++panel) {
    while (panel - before >= w.bands[band].panels)
      before += w.bands[band].panels, outputs += w.bands[band].n, ++band;
    const QuantBand& b = w.bands[band];
    const int column = (panel - before) * kQuantPanel;
    const int width = b.n - column < kQuantPanel ? b.n - column : kQuantPanel;
    for (int row = 0; row < rows; row += kRowsAtOnce) {
      const int count = rows - row < kRowsAtOnce ? rows - row : kRowsAtOnce;
      panel_times_rows(w, b, panel - before, x.f32[band], x.stride[band], x.int8[band], row, count, sums);
      if (gated) panel_times_rows(w, w.bands[1], panel, x.f32[1], x.stride[1], x.int8[1], row, count, ups);
      for (int r = 0; r < count; ++r) {
        float* y = sums + r * kQuantPanel;
        if (const float* bias = w.bias.as<float>()) {
          for (int i = 0; i < width; ++i) y[i] += bias[outputs + column + i];
          if (gated)
            for (int i = 0; i < width; ++i) ups[r * kQuantPanel + i] += bias[w.bands[0].n + column + i];
        }
        if (gated)
          for (int i = 0; i < kQuantPanel; i += kLanes)
            store(y + i, mul(silu(load(y + i)), load(ups + r * kQuantPanel + i)));
        if (a.residual) {
          const float* residual = a.residual.row<float>(row + r) + outputs + column;
          for (int i = 0; i < width; ++i) y[i] += residual[i];
        }
        __builtin_memcpy(a.out.row<float>(row + r) + outputs + column, y,
                         sizeof(float) * static_cast<size_t>(width));
      }
    }
  }
}

// Row `id` of w as f32 [k].
void quant_row(const PackedLinear& w, int id, float* to) {
  const QuantBand& band = w.bands[0];
  alignas(64) float scales[16 * kQuantPanel], minimums[16 * kQuantPanel], values[kQuantChunk * kQuantPanel];
  const uint8_t* at = w.data.as<uint8_t>() + band.offset + id / kQuantPanel * band.panel_bytes;
  constexpr int kChunks = kQuantBlock / kQuantChunk;
  for (int first = 0; first < chunks_of(w.k); first += kChunks) {
    const int left = chunks_of(w.k) - first, chunks = left < kChunks ? left : kChunks;
    expand_scales(band.quant, at, chunks, scales, minimums);
    const uint8_t* chunk = at + header_bytes(band.quant, chunks);
    for (int c = 0; c < chunks; ++c, chunk += chunk_bytes(band.quant)) {
      const float* v = chunk_values(band.quant, chunk, scales, minimums, c, values);
      for (int i = 0; i < kQuantChunk && (first + c) * kQuantChunk + i < w.k; ++i)
        to[(first + c) * kQuantChunk + i] = v[i * kQuantPanel + id % kQuantPanel];
    }
    at += block_bytes(band.quant, chunks);
  }
}

}  // namespace

}  // namespace hedgerow::cpu::HEDGEROW_LEVEL

namespace hedgerow::cpu {
void HEDGEROW_FILL(quant)(Level& level) {
  level.quant_linear = HEDGEROW_LEVEL::quant_linear;
  level.quant_rows = HEDGEROW_LEVEL::to_int8;
  level.quant_row = HEDGEROW_LEVEL::quant_row;
}
}  // namespace hedgerow::cpu
