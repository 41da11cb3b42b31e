// SPDX-License-Identifier: Apache-2.0
// What the halves of a block that end in the residual rows are given. How to read it: kernels.h.
#pragma once

#include "hedgerow/core/ragged.h"
#include "hedgerow/kernels/ops/norm.h"

namespace hedgerow {

// to = x w^T + bias + residual.
struct ResidualLinearArgs {
  Tensor x;  // f [rows, k], dtype of w
  const PackedLinear* w = nullptr;
  Tensor residual;         // r [rows, n]; may be the rows of `to`
  Stream* to = nullptr;    // read and filled as the op is queued; lives no longer than that
  Workspace between = {};  // weights of codes only: linear_workspace_bytes()
  Ragged rows;
};

// x = x + act(norm(x) w1^T + bias1) w2^T + bias2, a whole feed-forward half of a block; normalised rows and
// activated hidden columns are rounded to the dtype of the weights that take them.
struct FeedForwardArgs {
  Stream* x = nullptr;                   // [rows, dim], as above
  const PackedNormLinear* w1 = nullptr;  // [hidden, dim]; gated: [2 hidden, dim], gate and up
  const PackedLinear* w2 = nullptr;      // [dim, hidden]
  Activation act = Activation::gelu_erf;
  Workspace between;
  Ragged rows;
};

}  // namespace hedgerow
