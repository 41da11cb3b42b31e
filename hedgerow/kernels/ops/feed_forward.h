// SPDX-License-Identifier: Apache-2.0
// What a whole feed-forward half of a block is given. How to read it: kernels.h.
#pragma once

#include <cstdint>

#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"
#include "hedgerow/kernels/ops/linear.h"

namespace hedgerow {

// out = x + act(norm(x) w1^T + bias1) w2^T + bias2, a whole feed-forward half of a block in one pass: rows
// normalised as LayerNormArgs says and rounded to the dtype of the weights, as are the activated hidden
// columns. Only where the backend has fuses_mlp and it says yes, and not on a batch-invariant Context.
struct MlpArgs {
  Tensor x;                      // f32, or of the weights' dtype: [rows, dim]
  Tensor norm_gamma, norm_beta;  // f32 [dim]; like the weights never written by an op still queued
  float norm_eps = 1e-6f;
  const PackedLinear *w1 = nullptr, *w2 = nullptr;  // [hidden, dim] and [dim, hidden], both with a bias
  Activation act = Activation::gelu_erf;            // not none
  Tensor out;                                       // like x [rows, dim]; may be x itself
  Ragged rows;
};

}  // namespace hedgerow
