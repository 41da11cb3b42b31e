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
#include "hedgerow/kernels/cpu/quant/blocks.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {
namespace {

// Rows whose sums wait beside a block of weights in the L1.
constexpr int kRowsAtOnce = 64;

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
