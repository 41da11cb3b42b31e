// SPDX-License-Identifier: Apache-2.0
// Small products by dtype of the weights. cudaErrorNotSupported: nothing was queued, another kernel must do
// it.
#pragma once

#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {

cudaError_t linear_small_f16(cudaStream_t, const LinearArgs&, const LinearPlan&);
cudaError_t linear_small_bf16(cudaStream_t, const LinearArgs&, const LinearPlan&);
cudaError_t linear_small_norm_f16(cudaStream_t, const LinearArgs&, const LinearPlan&);
cudaError_t linear_small_norm_bf16(cudaStream_t, const LinearArgs&, const LinearPlan&);
// Any shape and dtype, at leisure.
cudaError_t linear_norm_any(cudaStream_t, const LinearArgs&);

}  // namespace hedgerow::cuda
