// SPDX-License-Identifier: Apache-2.0
// What ops on rows share: a warp per row wherever a row has more than a few values; rows past the live count
// are not touched.
#pragma once

#include "hedgerow/kernels/cuda/device.cuh"
#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {

constexpr int kWarps = 8;  // rows per block

inline int blocks_for(int64_t count, int per_block) {
  return static_cast<int>((count + per_block - 1) / per_block);
}
inline Shape warp_per_row(const Ragged& rows) { return {blocks_for(rows.row_capacity, kWarps), kWarps * 32}; }
inline const int32_t* live(const Ragged& rows) { return rows.offsets + rows.batch; }

__device__ __forceinline__ int my_row() { return blockIdx.x * kWarps + (threadIdx.x >> 5); }

// Calls f with a value of the type that `d` names: float, f16 or bf16.
template <class F>
cudaError_t by_type(Dtype d, F&& f) {
  switch (d) {
    case Dtype::f16:
      return f(f16{});
    case Dtype::bf16:
      return f(bf16{});
    default:
      return f(float{});
  }
}

}  // namespace hedgerow::cuda
