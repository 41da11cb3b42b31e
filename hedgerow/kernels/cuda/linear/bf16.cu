// SPDX-License-Identifier: Apache-2.0
// Products of bf16 rows and weights.
#include "hedgerow/kernels/cuda/linear/choose.cuh"

namespace hedgerow::cuda {

cudaError_t linear_bf16(cudaStream_t stream, const Product& a, const LinearParams& p, LinearPlan plan) {
  return queue_linear<bf16>(stream, a, p, plan);
}

}  // namespace hedgerow::cuda
