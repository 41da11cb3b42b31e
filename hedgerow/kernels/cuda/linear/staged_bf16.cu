// SPDX-License-Identifier: Apache-2.0
// Products of bf16 rows and weights in staged tiles.
#include "hedgerow/kernels/cuda/linear/staged_queue.cuh"

namespace hedgerow::cuda {

cudaError_t linear_staged_bf16(cudaStream_t stream, const Product& a, const LinearParams& p,
                               LinearPlan plan) {
  return linear_staged_any<bf16>(stream, a, p, plan);
}

}  // namespace hedgerow::cuda
