// SPDX-License-Identifier: Apache-2.0
// Small products with bf16 weights that layer-normalise their rows first, or divide them by their deviation.
#include "hedgerow/kernels/cuda/linear/small_queue.cuh"

namespace hedgerow::cuda {

cudaError_t linear_small_norm_bf16(cudaStream_t stream, const Product& a, const LinearPlan& plan) {
  if (a.divided) return queue_small_divided<bf16>(stream, a, plan);
  return a.x.dtype == Dtype::f32 ? queue_small_norm<bf16, Source::normed_f32>(stream, a, plan)
                                 : queue_small_norm<bf16, Source::normed>(stream, a, plan);
}

}  // namespace hedgerow::cuda
