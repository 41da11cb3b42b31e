// SPDX-License-Identifier: Apache-2.0
// Products of 8-bit rows and weights: tiles in turns, whatever the number of rows. Only Hopper's products are
// spoken here. Included once per type.
#pragma once

#include "hedgerow/kernels/cuda/linear/choose.cuh"

namespace hedgerow::cuda {

template <class T, int ACTIVATION>
cudaError_t queue_eight_bits(cudaStream_t stream, const Product& a, const LinearParams& p, LinearPlan plan) {
  return plan.tile == LinearTile::pingpong_128
             ? queue_pingpong<T, ACTIVATION, 128, 5>(stream, a, p, plan.share)
             : queue_pingpong<T, ACTIVATION, 192, 4>(stream, a, p, plan.share);
}

template <class T>
cudaError_t queue_eight_bits(cudaStream_t stream, const Product& a, const LinearParams& p, LinearPlan plan) {
  switch (a.act) {
    case Activation::none:
      return queue_eight_bits<T, 0>(stream, a, p, plan);
    case Activation::gelu_erf:
      return queue_eight_bits<T, 1>(stream, a, p, plan);
    default:
      return queue_eight_bits<T, 2>(stream, a, p, plan);
  }
}

}  // namespace hedgerow::cuda
