// SPDX-License-Identifier: Apache-2.0
// Products of int8 rows and weights.
#include "hedgerow/kernels/cuda/linear/eight_bits.cuh"

namespace hedgerow::cuda {

cudaError_t linear_i8(cudaStream_t stream, const Product& a, const LinearParams& p, LinearPlan plan) {
  return queue_eight_bits<i8>(stream, a, p, plan);
}

}  // namespace hedgerow::cuda
