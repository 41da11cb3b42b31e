// SPDX-License-Identifier: Apache-2.0
// Matrix products with one-warp instructions, for every chip from compute capability 8.0 on that has nothing
// faster here: 128 x 128 outputs per block, eight warps of 64 x 32, three stages of 64 k in flight.
#pragma once

#include "hedgerow/kernels/cuda/linear/linear.cuh"

namespace hedgerow::cuda {

constexpr int kMmaStages = 3, kMmaTileBytes = 128 * 64 * 2;
constexpr size_t kMmaShared = static_cast<size_t>(kMmaStages) * 2 * kMmaTileBytes;

template <class T, int ACTIVATION>
__global__ void __launch_bounds__(256)
    linear_mma(const T* x, int64_t x_row, const T* w, const __grid_constant__ LinearParams p) {
  extern __shared__ __align__(128) unsigned char memory[];
  const uint32_t at = shared_address(memory);
  const int thread = threadIdx.x, warp = thread >> 5, lane = thread & 31, col0 = blockIdx.x * 128,
            row0 = blockIdx.y * 128;
  wait_for_previous();
  let_next_start();
  const int rows = *p.rows, steps = (p.k + 63) / 64;
  if (row0 >= rows) return;

  auto load = [&](int step) {
    const uint32_t to = at + step % kMmaStages * 2 * kMmaTileBytes;
    const int c = thread & 7, k = step * 64 + c * 8;
    for (int r = thread >> 3; r < 128; r += 32) {
      const bool x_live = row0 + r < rows && k < p.k, w_live = col0 + r < p.n && k < p.k;
      copy16(to + swizzled<8>(r, c), x_live ? x + (row0 + r) * x_row + k : x, x_live);
      copy16(to + kMmaTileBytes + swizzled<8>(r, c),
             w_live ? w + static_cast<int64_t>(col0 + r) * p.k + k : w, w_live);
    }
  };
  for (int s = 0; s < kMmaStages - 1; ++s) {
    if (s < steps) load(s);
    copies_commit();
  }
  const int warp_row = (warp & 1) * 64, warp_col = (warp >> 1) * 32;
  float sums[4][4][4] = {};
  for (int step = 0; step < steps; ++step) {
    copies_wait<kMmaStages - 2>();
    __syncthreads();
    if (step + kMmaStages - 1 < steps) load(step + kMmaStages - 1);
    copies_commit();
    const uint32_t x_tile = at + step % kMmaStages * 2 * kMmaTileBytes, w_tile = x_tile + kMmaTileBytes;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      uint32_t a[4][4], b[2][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        load_matrices(a[i], x_tile + swizzled<8>(warp_row + i * 16 + (lane & 15), k * 2 + (lane >> 4)));
      }
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        load_matrices(b[j], w_tile + swizzled<8>(warp_col + j * 16 + (lane & 7) + ((lane >> 4) << 3),
                                                 k * 2 + ((lane >> 3) & 1)));
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j)
          multiply<T>(sums[i][j], a[i], b[j >> 1][(j & 1) * 2], b[j >> 1][(j & 1) * 2 + 1]);
      }
    }
  }
  copies_wait<0>();

#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = row0 + warp_row + i * 16 + half * 8 + (lane >> 2);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int col = col0 + warp_col + j * 8 + (lane & 3) * 2;
        if (row >= rows || col >= p.n) continue;
        const float2 bias = *reinterpret_cast<const float2*>(p.bias + col);
        float2 v = {activated<ACTIVATION>(sums[i][j][2 * half] + bias.x),
                    activated<ACTIVATION>(sums[i][j][2 * half + 1] + bias.y)};
        if (p.residual) {
          const float2 r = residual_at<T>(p, row, col);
          v.x += r.x, v.y += r.y;
        }
        if (p.out_f32) {
          *reinterpret_cast<float2*>(static_cast<float*>(p.out) + row * p.out_row + col) = v;
        } else {
          *reinterpret_cast<uint32_t*>(static_cast<T*>(p.out) + row * p.out_row + col) = pack2<T>(v.x, v.y);
        }
      }
    }
  }
}

}  // namespace hedgerow::cuda
