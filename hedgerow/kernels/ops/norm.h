// SPDX-License-Identifier: Apache-2.0
// What a layer norm is given, alone and with the product behind it. How to read it: kernels.h.
#pragma once

#include "hedgerow/core/ragged.h"
#include "hedgerow/kernels/ops/stream.h"

namespace hedgerow {

// rms: out[i] = x[j] / sqrt(mean of squares + eps) * gamma, without a beta (RMSNorm, Zhang and Sennrich).
// layer: out[i] = (x[j] - mean) / sqrt(var + eps) * gamma + beta, j = index ? index[i] : i; variance over dim
// (biased).
struct LayerNormArgs {
  Tensor x;            // r [*, dim]
  Tensor index = {};   // optional i32 [rows]: which rows of x
  Tensor gamma, beta;  // f32 [dim]; rms: no beta
  float eps = 1e-6f;
  NormKind kind = NormKind::layer;
  Tensor out;              // f [rows, dim]; e4m3 or int8 where Traits::weights has it
  Tensor out_scales = {};  // int8 only, out f32 [rows]: a 127th of the row's largest value
  Ragged rows;             // rows of out
};

// out = act(norm(x[j]) w^T + bias), j = index ? index[i] : i; normalised rows are rounded to the dtype of w.
struct NormLinearArgs {
  Stream x;
  Tensor index = {};  // optional i32 [rows]: which rows of x
  const PackedNormLinear* w = nullptr;
  Activation act = Activation::none;
  Tensor out;  // f [rows, n]
  // Optional: a second product of the same normalised rows, its norm packed alike.
  const PackedNormLinear* also = nullptr;
  Tensor also_out = {};
  Workspace between;
  Ragged rows;
};

}  // namespace hedgerow
