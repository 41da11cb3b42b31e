// SPDX-License-Identifier: Apache-2.0
// Small products by dtype of the weights. cudaErrorNotSupported: nothing was queued, another kernel must do
// it.
#pragma once

#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {

// So much of a block's memory leaves room for a block of the kernel after: it fetches its weights while this
// one works.
constexpr int kSmallRoom = 112 * 1024;

// What the sweeps, a loop over one product, do not show: in a pass the second-level cache serves the kernel after at the
// same time. us for every 10^6 bytes that all blocks read; for few rows, where that is what bounds a pass.
constexpr float kCrowding = 0.05f;
constexpr int kCrowdedRows = 512;

// How the rows of a small product are read: as they are, layer-normalised, or divided by their deviation.
enum class SmallRows : uint8_t { plain, normed, divided };
struct SmallGuess {
  LinearPlan plan;
  float us;
};
SmallGuess small_guess(int row_capacity, int n, int k, SmallRows how);

cudaError_t linear_small_f16(cudaStream_t, const LinearArgs&, const LinearPlan&);
cudaError_t linear_small_bf16(cudaStream_t, const LinearArgs&, const LinearPlan&);
cudaError_t linear_small_norm_f16(cudaStream_t, const LinearArgs&, const LinearPlan&);
cudaError_t linear_small_norm_bf16(cudaStream_t, const LinearArgs&, const LinearPlan&);
// Any shape and dtype, at leisure.
cudaError_t linear_norm_any(cudaStream_t, const LinearArgs&);

}  // namespace hedgerow::cuda
