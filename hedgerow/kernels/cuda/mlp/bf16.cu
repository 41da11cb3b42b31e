// SPDX-License-Identifier: Apache-2.0
// The fused MLP with bf16 weights.
#include "hedgerow/kernels/cuda/mlp/queue.cuh"

namespace hedgerow::cuda {

cudaError_t mlp_bf16(cudaStream_t stream, const MlpArgs& a, MlpTeam team) {
  return queue_mlp<bf16>(stream, a, team);
}

}  // namespace hedgerow::cuda
