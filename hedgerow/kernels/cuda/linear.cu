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

}  // namespace

LinearPlan linear_plan(int row_capacity, int n, int k) {
  const int room = device().multiprocessors;
  auto tiles = [&](int rows, int cols) { return ((row_capacity + rows - 1) / rows) * ((n + cols - 1) / cols); };
  const int steps = (k + 63) / 64;
  // Wide tiles once they fill the chip: they read the least per product.
  if (tiles(256, 256) >= room && n % 256 == 0) return {LinearTile::pair_256, 1};
  if (tiles(256, 192) >= room / 2 && n % 192 == 0) return {LinearTile::pair_192, 1};
  if (tiles(128, 128) >= room) return {LinearTile::alone_128, 1};
  // Few tiles: smaller ones, and then ranges of k, until every multiprocessor has something to read.
  const bool small = tiles(128, 64) < room / 2;
  const int count = small ? tiles(64, 64) : tiles(128, 64);
  int split = 1;
  while (split < 8 && count * split * 2 <= room * 5 / 4 && steps / (split * 2) >= 2) split *= 2;
  return {small ? LinearTile::split_64x64 : LinearTile::split_128x64, split};
}

cudaError_t linear(cudaStream_t stream, const LinearArgs& a, LinearPlan plan) {
  LinearParams p = {};
  p.rows = a.rows.offsets + a.rows.batch;
  p.bias = a.w->bias.as<const float>();
  p.residual = a.residual.data, p.residual_row = a.residual.strides[0], p.residual_f32 = a.residual.dtype == Dtype::f32;
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
    plan = linear_plan(a.rows.row_capacity, p.n, p.k);
  }
  return a.w->dtype == Dtype::f16 ? linear_f16(stream, a, p, plan) : linear_bf16(stream, a, p, plan);
}

PackedLinear pack_linear(const float* w, const float* bias, int n, int k, Dtype dtype) {
  PackedLinear packed;
  packed.dtype = dtype, packed.n = n, packed.k = k, packed.panel = kPanel;
  const size_t count = static_cast<size_t>(n) * k, padded = static_cast<size_t>((n + kPanel - 1) / kPanel) * kPanel;
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
