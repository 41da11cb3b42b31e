// SPDX-License-Identifier: Apache-2.0
// What a product is given, and how weights are packed for it. How to read it: kernels.h.
#pragma once

#include <cstdint>

#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"
#include "hedgerow/kernels/ops/quant.h"

namespace hedgerow {

struct Backend;

// A weight matrix [n, k] (n outputs) and optional bias, in the layout of the backend that packed it.
struct PackedLinear {
  const Backend* owner = nullptr;
  Dtype dtype = Dtype::f32;  // of the weights and of the x it multiplies: one of Traits::weights
  float scale = 1;           // e4m3: the value that a stored 1 stands for, a power of two
  float row_scale = 1;  // e4m3: the same of the rows that it is to multiply, where an op writes those itself
  int n = 0, k = 0;
  int panel = 0;  // outputs per panel; the layout inside is the backend's own affair
  Buffer data;
  Buffer bias;    // f32 [n rounded up to panel], empty = none
  Buffer scales;  // int8: bf16 [n rounded up to panel], what a stored 1 of each output's weights stands for
  // Weights of codes (pack_quant): f32 rows are what they take, whatever they make of them on the way.
  QuantBand bands[kMostBands] = {};  // one behind the other; the outputs of all are n
  int band_count = 0;                // 0: none, all of the above
  RowsOf rows_of = RowsOf::int8;
  Buffer orders[kMostBands];
};

// w: row-major f32 [n, k]; bias: f32 [n] or null. 8 bits: n and k multiples of 16; e4m3: the scale is the
// least that leaves no weight above 448; int8: each output's is a 127th of its largest weight.
PackedLinear pack_linear(const Backend& on, const float* w, const float* bias, int n, int k, Dtype dtype);

// Parts of as many columns, one behind the other: outputs of all of them are columns of one product. bias:
// f32 [outputs of all] or null. Read row by row; what lies in memory are the codes and scales of the file.
PackedLinear pack_quant(const Backend& on, const std::vector<QuantSource>& parts, const float* bias,
                        RowsOf rows_of);
// Room for so many rows as codes take them (LinearArgs::between); 0 where w has none.
size_t linear_workspace_bytes(int rows, const PackedLinear& w);

// silu_gated: w has two bands of n / 2 outputs, gate and up; out = silu(gate) up, [rows, n / 2].
enum class Activation : uint8_t { none, gelu_erf, gelu_tanh, silu_gated };

// Room for rows between two products of one op, or on their way into one: used again by every op.
struct Workspace {
  void* data = nullptr;
  size_t bytes = 0;
};

// out = act(x w^T + bias) + residual. One fused pass. With w in e4m3: x stored times w stored are summed in
// the matrix core's own precision (13 bits behind the leading one of the largest term of 32, on Hopper), once
// multiplied with both scales; out is f16, or e4m3 without a residual; what exceeds its range becomes the
// largest value. With w in int8 the sums are exact; every row of x and every output has a scale of its own;
// out as with e4m3. Both: GELU of either kind is the tanh kind to 0.002.
struct LinearArgs {
  Tensor x;                         // f [rows, k], dtype of w
  const PackedLinear* w = nullptr;  // [n, k]
  Activation act = Activation::none;
  Tensor x_scales = {};    // int8 only: f32 [rows], what a stored 1 of each row of x stands for
  Tensor residual = {};    // optional r, as many columns as `out`, which it may be
  Tensor out;              // f [rows, n]
  Workspace between = {};  // weights of codes only: linear_workspace_bytes()
  Ragged rows;
};

}  // namespace hedgerow
