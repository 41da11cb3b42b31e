// SPDX-License-Identifier: Apache-2.0
// An f32 product of rows that stand alone, one a sequence: a classifier's head. There are few of them and
// many weights, so a warp reads an output's weights once for up to eight rows. The order of a sum is the same
// whatever rows share it.
#pragma once

#include "hedgerow/kernels/cuda/device.cuh"
#include "hedgerow/kernels/cuda/linear/linear.cuh"

namespace hedgerow::cuda {

constexpr int kLoneRows = 8, kLoneWarps = 8;

__global__ void __launch_bounds__(kLoneWarps * 32)
    linear_lone_rows(const float* x, int64_t x_row, const float* w, const __grid_constant__ LinearParams p) {
  wait_for_previous();
  let_next_start();
  const int first = blockIdx.x * kLoneRows, rows = min(kLoneRows, *p.rows - first);
  const int col = blockIdx.y * kLoneWarps + (threadIdx.x >> 5), lane = threadIdx.x & 31;
  if (rows <= 0 || col >= p.n) return;
  const float* const of_col = w + static_cast<int64_t>(col) * p.k;
  float sum[kLoneRows] = {};
#pragma unroll 4
  for (int c = lane; c < p.k; c += 32) {
    const float weight = of_col[c];
#pragma unroll
    for (int r = 0; r < kLoneRows; ++r)
      if (r < rows) sum[r] = fmaf(x[(first + r) * x_row + c], weight, sum[r]);
  }
#pragma unroll
  for (int r = 0; r < kLoneRows; ++r) {
    const float whole = warp_sum(sum[r]) + p.bias[col];
    if (r < rows && lane == 0) static_cast<float*>(p.out)[(first + r) * p.out_row + col] = whole;
  }
}

}  // namespace hedgerow::cuda
