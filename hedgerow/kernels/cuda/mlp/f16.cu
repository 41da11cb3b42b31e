// SPDX-License-Identifier: Apache-2.0
// The fused MLP with f16 weights.
#include "hedgerow/kernels/cuda/mlp/queue.cuh"

namespace hedgerow::cuda {

cudaError_t mlp_f16(cudaStream_t stream, const MlpArgs& a, MlpTeam team) {
  return queue_mlp<f16>(stream, a, team);
}

}  // namespace hedgerow::cuda
