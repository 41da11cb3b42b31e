// SPDX-License-Identifier: Apache-2.0
// Products: choice of the tile, packing of weights, and the f32 path.
#include <algorithm>
#include <vector>

#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/linear_plain.cuh"
#include "hedgerow/kernels/cuda/memory.h"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {

cudaError_t linear_f16(cudaStream_t, const LinearArgs&, const LinearParams&, LinearPlan);
cudaError_t linear_bf16(cudaStream_t, const LinearArgs&, const LinearParams&, LinearPlan);

namespace {

constexpr int kPanel = 256;  // no tile is wider

template <int ACTIVATION>
cudaError_t linear_f32(cudaStream_t stream, const LinearArgs& a, const LinearParams& p) {
  const dim3 grid((p.n + 63) / 64, (a.rows.row_capacity + 63) / 64);
  return launch<linear_plain<float, ACTIVATION>>(stream, {grid, 256}, a.x.as<const float>(), a.x.strides[0],
                                                 a.w->data.as<const float>(), p);
}

bool aligned(const Tensor& t, int bytes) {
  return reinterpret_cast<uintptr_t>(t.data) % bytes == 0 && t.strides[0] * bytes_of(t.dtype) % bytes == 0;
}

// Device time in us, fitted to a sweep over 84 products of ViT-T, -S and -B from 99 to 50,432 rows on an
// H200: so much to start, so much for every wave of tiles, for every 64 of k in it, and for a residual.
// Against the best tile that was timed, the choice it makes costs 2 % in the mean.
struct TileCost {
  LinearTile tile;
  int split, rows, cols, resident;  // blocks per multiprocessor
  float start, wave, step, residual;
};
constexpr TileCost kCosts[] = {
    {LinearTile::alone_192, 1, 128, 192, 1, -0.07f, 4.09f, 0.55f, 6.66f},
    {LinearTile::alone_128, 1, 128, 128, 2, -4.28f, 11.91f, 0.64f, 6.79f},
    {LinearTile::split_64x64, 1, 64, 64, 2, -0.99f, 3.31f, 0.30f, 1.14f},
    {LinearTile::split_64x64, 2, 64, 64, 2, -0.72f, 4.30f, 0.29f, 0.26f},
    {LinearTile::split_64x64, 4, 64, 64, 2, -0.89f, 3.96f, 0.35f, 0.11f},
    {LinearTile::split_64x64, 8, 64, 64, 2, -1.03f, 4.16f, 0.52f, 0.08f},
    {LinearTile::split_128x64, 1, 128, 64, 1, -0.51f, 2.93f, 0.32f, 1.15f},
    {LinearTile::split_128x64, 2, 128, 64, 1, -0.33f, 4.19f, 0.30f, 0.37f},
    {LinearTile::split_128x64, 4, 128, 64, 1, -0.78f, 4.16f, 0.32f, 0.13f},
    {LinearTile::split_128x64, 8, 128, 64, 1, -0.66f, 4.46f, 0.39f, 0.0f},
    {LinearTile::split_128x128, 1, 128, 128, 1, -1.13f, 4.94f, 0.40f, 2.45f},
    {LinearTile::split_128x128, 2, 128, 128, 1, -0.79f, 6.34f, 0.38f, 0.99f},
    {LinearTile::split_128x128, 4, 128, 128, 1, -0.98f, 5.66f, 0.36f, 0.20f},
    {LinearTile::split_128x128, 8, 128, 128, 1, -1.59f, 5.85f, 0.45f, 0.44f},
};

}  // namespace

LinearPlan linear_plan(int rows, int n, int k, bool residual) {
  const auto up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t steps = up(k, 64), processors = std::max(1, device().multiprocessors);
  LinearPlan best{LinearTile::alone_128, 1};
  float least = 0;
  for (const TileCost& c : kCosts) {
    if (c.split > 1 && steps < 2 * c.split) continue;
    const float waves =
        static_cast<float>(up(up(rows, c.rows) * up(n, c.cols) * c.split, processors * c.resident));
    const float us =
        c.start + waves * (c.wave + c.step * static_cast<float>(steps) / static_cast<float>(c.split) +
                           (residual ? c.residual : 0.0f));
    if (least == 0 || us < least) best = {c.tile, c.split}, least = us;
  }
  return best;
}

cudaError_t linear(cudaStream_t stream, const LinearArgs& a, LinearPlan plan) {
  LinearParams p = {};
  p.rows = a.rows.offsets + a.rows.batch;
  p.bias = a.w->bias.as<const float>();
  p.residual = a.residual.data, p.residual_row = a.residual.strides[0],
  p.residual_f32 = a.residual.dtype == Dtype::f32;
  p.out = a.out.data, p.out_row = a.out.strides[0], p.out_f32 = a.out.dtype == Dtype::f32;
  p.n = a.w->n, p.k = a.w->k;
  if (a.rows.row_capacity == 0) return cudaSuccess;
  if (a.w->dtype == Dtype::f32) {
    return a.act == Activation::none       ? linear_f32<0>(stream, a, p)
           : a.act == Activation::gelu_erf ? linear_f32<1>(stream, a, p)
                                           : linear_f32<2>(stream, a, p);
  }
  const bool aligned_well = p.n % 8 == 0 && p.k % 8 == 0 && aligned(a.x, 16) && aligned(a.out, 16) &&
                            (!a.residual || aligned(a.residual, 16));
  if (!aligned_well) {
    plan.tile = LinearTile::plain;
  } else if (!device().hopper() && plan.tile != LinearTile::plain) {
    plan.tile = LinearTile::mma;
  } else if (plan.tile == LinearTile::automatic) {
    plan = linear_plan(a.rows.expected_rows(), p.n, p.k, p.residual != nullptr);
  }
  return a.w->dtype == Dtype::f16 ? linear_f16(stream, a, p, plan) : linear_bf16(stream, a, p, plan);
}

PackedLinear pack_linear(const float* w, const float* bias, int n, int k, Dtype dtype) {
  PackedLinear packed;
  packed.dtype = dtype, packed.n = n, packed.k = k, packed.panel = kPanel;
  const size_t count = static_cast<size_t>(n) * k,
               padded = static_cast<size_t>((n + kPanel - 1) / kPanel) * kPanel;
  packed.data = device_buffer(count * bytes_of(dtype));
  packed.bias = device_buffer(padded * sizeof(float));
  std::vector<float> wide(padded, 0.0f);
  if (bias) std::copy(bias, bias + n, wide.begin());
  copy_to_device(packed.bias.as(), wide.data(), padded * sizeof(float));
  if (dtype == Dtype::f32) {
    copy_to_device(packed.data.as(), w, count * sizeof(float));
    return packed;
  }
  std::vector<uint16_t> narrow(count);
  for (size_t i = 0; i < count; ++i) narrow[i] = dtype == Dtype::f16 ? f32_to_f16(w[i]) : f32_to_bf16(w[i]);
  copy_to_device(packed.data.as(), narrow.data(), count * 2);
  return packed;
}

}  // namespace hedgerow::cuda
