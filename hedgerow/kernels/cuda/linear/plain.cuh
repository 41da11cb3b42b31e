// SPDX-License-Identifier: Apache-2.0
// Matrix products without tensor cores: f32 for checks, and any shape or alignment that the fast kernels do
// not take. 64 x 64 outputs per block, 16 per thread, sums in f32 over k in order.
#pragma once

#include "hedgerow/kernels/cuda/linear/linear.cuh"

namespace hedgerow::cuda {

// Activations of f32 rows, for checks: erff itself, and infinities as the definition has them. Below -30
// either kind is 0; there a product of zero and infinity would be NaN.
template <int ACTIVATION>
__device__ __forceinline__ float activated_f32(float x) {
  const float kept = ACTIVATION != 0 && x < -30.0f ? -30.0f : x;
  return ACTIVATION == 1 ? 0.5f * kept * (1.0f + erff(kept * 0.70710678118654752f))
                         : activated<ACTIVATION>(kept);
}

template <class T, int ACTIVATION>
__global__ void __launch_bounds__(256)
    linear_plain(const T* x, int64_t x_row, const T* w, const __grid_constant__ LinearParams p) {
  __shared__ float x_tile[16][65], w_tile[16][65];
  wait_for_previous();
  let_next_start();
  const int rows = *p.rows, row0 = blockIdx.y * 64, col0 = blockIdx.x * 64;
  if (row0 >= rows) return;
  const int thread = threadIdx.x, r0 = (thread >> 4) * 4, c0 = (thread & 15) * 4;
  float sums[4][4] = {};
  for (int k0 = 0; k0 < p.k; k0 += 16) {
    for (int i = thread; i < 64 * 16; i += 256) {
      const int r = i >> 4, k = i & 15;
      x_tile[k][r] = row0 + r < rows && k0 + k < p.k ? to_float(x[(row0 + r) * x_row + k0 + k]) : 0.0f;
      w_tile[k][r] =
          col0 + r < p.n && k0 + k < p.k ? to_float(w[static_cast<int64_t>(col0 + r) * p.k + k0 + k]) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(x_tile[k][r0 + i], w_tile[k][c0 + j], sums[i][j]);
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i) {
    const int64_t row = row0 + r0 + i;
    for (int j = 0; j < 4 && row < rows; ++j) {
      const int col = col0 + c0 + j;
      if (col >= p.n) break;
      const float sum = sums[i][j] + p.bias[col];
      float v;
      if constexpr (std::is_same_v<T, float>) {
        v = activated_f32<ACTIVATION>(sum);
      } else {
        v = activated<ACTIVATION>(sum);
      }
      if (p.residual) {
        const int64_t at = row * p.residual_row + col;
        v += p.residual_f32 ? static_cast<const float*>(p.residual)[at]
                            : to_float(static_cast<const T*>(p.residual)[at]);
      }
      if (p.out_f32) {
        static_cast<float*>(p.out)[row * p.out_row + col] = v;
      } else {
        static_cast<T*>(p.out)[row * p.out_row + col] = from_float<T>(v);
      }
    }
  }
}

}  // namespace hedgerow::cuda
