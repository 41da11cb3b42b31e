// SPDX-License-Identifier: Apache-2.0
// Small products of f16 rows and weights.
#include "hedgerow/kernels/cuda/linear/small_queue.cuh"

namespace hedgerow::cuda {

cudaError_t linear_small_f16(cudaStream_t stream, const Product& a, const LinearPlan& plan) {
  return queue_small<f16>(stream, a, plan);
}

}  // namespace hedgerow::cuda
