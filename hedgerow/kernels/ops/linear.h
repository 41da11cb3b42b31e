// SPDX-License-Identifier: Apache-2.0
// What a product is given, and how weights are packed for it. How to read it: kernels.h.
#pragma once

#include <cstdint>

#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"

namespace hedgerow {

struct Backend;

// A weight matrix [n, k] (n outputs) and optional bias, in the layout of the backend that packed it.
struct PackedLinear {
  const Backend* owner = nullptr;
  Dtype dtype = Dtype::f32;  // of the weights and of the x it multiplies: one of Traits::weights
  float scale = 1;           // e4m3: the value that a stored 1 stands for, a power of two
  int n = 0, k = 0;
  int panel = 0;  // outputs per panel; the layout inside is the backend's own affair
  Buffer data;
  Buffer bias;    // f32 [n rounded up to panel], empty = none
  Buffer scales;  // int8: bf16 [n rounded up to panel], what a stored 1 of each output's weights stands for
};

// w: row-major f32 [n, k]; bias: f32 [n] or null. 8 bits: n and k multiples of 16; e4m3: the scale is the
// least that leaves no weight above 448; int8: each output's is a 127th of its largest weight.
PackedLinear pack_linear(const Backend& on, const float* w, const float* bias, int n, int k, Dtype dtype);

enum class Activation : uint8_t { none, gelu_erf, gelu_tanh };
// How a layer norm and the product after it become one launch.
enum class NormFusion : uint8_t { none, whole, divided };

// out = act(y w^T + bias) + residual, y[i] = x[j], j = index ? index[i] : i. One fused pass.
// With norm_gamma: y[i] is x[j] layer-normalised as LayerNormArgs says and rounded to the dtype of w; x may
// then be f32 whatever w is. Divided: y[i] is x[j] / sqrt(variance + norm_eps), all that is left of a norm
// where w took in the rest (fold_norm). Both only where the backend has fuses_norm; so for index without a
// norm; none of them with 8 bits. With w in e4m3 (where Traits::weights has it): x stored times w stored
// are summed in the matrix core's own precision (13 bits behind the leading one of the largest term of 32, on
// Hopper), once multiplied with both scales; out is f16, or e4m3 without a residual; what exceeds its range
// becomes the largest value. With w in int8 the sums are exact; every row of x and every output has a scale
// of its own; out as with e4m3. Both: GELU of either kind is the tanh kind to 0.002.
struct LinearArgs {
  Tensor x;           // f [rows, k], dtype of w; [*, k] with index
  Tensor index = {};  // optional i32 [rows]: which rows of x
  Tensor norm_gamma = {},
         norm_beta = {};  // optional f32 [k]: like w and its bias never written by an op still queued
  bool divided = false;   // instead of norm_gamma; without index
  Tensor x_moments = {};  // divided, optional: what `moments` below became where x was computed
  float norm_eps = 1e-6f;
  const PackedLinear* w = nullptr;  // [n, k]
  Activation act = Activation::none;
  Tensor x_scales = {};  // int8 only: f32 [rows], what a stored 1 of each row of x stands for
  Tensor residual = {};  // optional r [rows, n]; may be `out` itself
  Tensor out;            // f [rows, n]
  // Optional out, where gives_moments says so: f32 [rows, 2 n / 64], pairs that add up to the sum and the sum
  // of squares of the row's outputs (one pass in f32, before they are rounded). They spare a divided product
  // behind this one a look at its rows.
  Tensor moments = {};
  Ragged rows;
};

}  // namespace hedgerow
