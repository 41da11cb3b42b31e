// SPDX-License-Identifier: Apache-2.0
// Small products by dtype of the weights. cudaErrorNotSupported: nothing was queued, another kernel must do
// it.
#pragma once

#include "hedgerow/kernels/cuda/linear/guess.h"

namespace hedgerow::cuda {

// So much of a block's memory leaves room for a block of the kernel after: it fetches its weights while this
// one works.
constexpr int kSmallRoom = 112 * 1024;

cudaError_t linear_small_f16(cudaStream_t, const Product&, const LinearPlan&);
cudaError_t linear_small_bf16(cudaStream_t, const Product&, const LinearPlan&);
cudaError_t linear_small_norm_f16(cudaStream_t, const Product&, const LinearPlan&);
cudaError_t linear_small_norm_bf16(cudaStream_t, const Product&, const LinearPlan&);
// Any shape and dtype, at leisure.
cudaError_t linear_norm_any(cudaStream_t, const Product&);

}  // namespace hedgerow::cuda
