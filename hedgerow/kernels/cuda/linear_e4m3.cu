// SPDX-License-Identifier: Apache-2.0
// Products of e4m3 rows and weights: tiles in turns, whatever the number of rows. Only Hopper's products are spoken here.
#include "hedgerow/kernels/cuda/linear_choose.cuh"

namespace hedgerow::cuda {
namespace {

template <int ACTIVATION>
cudaError_t queue(cudaStream_t stream, const LinearArgs& a, const LinearParams& p, LinearPlan plan) {
  return plan.tile == LinearTile::pingpong_128 ? queue_pingpong<e4m3, ACTIVATION, 128, 5>(stream, a, p, plan.share)
                                               : queue_pingpong<e4m3, ACTIVATION, 192, 4>(stream, a, p, plan.share);
}

}  // namespace

cudaError_t linear_e4m3(cudaStream_t stream, const LinearArgs& a, const LinearParams& p, LinearPlan plan) {
  switch (a.act) {
    case Activation::none:
      return queue<0>(stream, a, p, plan);
    case Activation::gelu_erf:
      return queue<1>(stream, a, p, plan);
    default:
      return queue<2>(stream, a, p, plan);
  }
}

}  // namespace hedgerow::cuda
