// SPDX-License-Identifier: Apache-2.0
// Products of f16 rows and weights.
#include "hedgerow/kernels/cuda/linear/choose.cuh"

namespace hedgerow::cuda {

cudaError_t linear_f16(cudaStream_t stream, const Product& a, const LinearParams& p, LinearPlan plan) {
  return queue_linear<f16>(stream, a, p, plan);
}

}  // namespace hedgerow::cuda
