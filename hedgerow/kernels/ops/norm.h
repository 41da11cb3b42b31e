// SPDX-License-Identifier: Apache-2.0
// What a layer norm is given. How to read it: kernels.h.
#pragma once

#include <cstdint>

#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"

namespace hedgerow {

// out[i] = (x[j] - mean) / sqrt(var + eps) * gamma + beta, j = index ? index[i] : i; variance over dim
// (biased).
struct LayerNormArgs {
  Tensor x;           // r [*, dim]
  Tensor index = {};  // optional i32 [rows]: which rows of x
  Tensor gamma = {},
         beta = {};  // f32 [dim]; both may be left out where the backend has fuses_norm: ones and zeros
  float eps = 1e-6f;
  Tensor out;              // f [rows, dim]; e4m3 or int8 where Traits::weights has it
  Tensor out_scales = {};  // int8 only, out f32 [rows]: a 127th of the row's largest value
  Ragged rows;             // rows of out
};

}  // namespace hedgerow
