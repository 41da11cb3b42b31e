// SPDX-License-Identifier: Apache-2.0
// What lies between the ops that a block of a transformer is made of: residual rows, a norm packed with the
// product behind it, and room for rows in between. Whether a backend computes norm and product in one launch,
// folds the norm into the weights, or hands on what it knows of rows is its own affair.
#pragma once

#include <cstddef>

#include "hedgerow/core/tensor.h"
#include "hedgerow/kernels/ops/linear.h"

namespace hedgerow {

// Residual rows, and what ops know of them. Filled and read as ops are queued; nobody else looks at more than
// x. Rows that move start a new one.
struct Stream {
  Tensor x;               // r [rows, dim]
  Tensor moments = {};    // optional, of moments_bytes(): f32 [rows, 2 dim / 64]
  bool measured = false;  // moments are those of the rows as they are
};

enum class NormKind : uint8_t { layer, rms };

// A norm and the product behind it: act(norm(x) w^T + bias).
struct PackedNormLinear {
  PackedLinear w;
  Buffer gamma, beta;  // f32 [k], where the backend computes; ones and zeros where the norm is folded into w
  float eps = 1e-6f;
  bool folded = false;
  NormKind kind = NormKind::layer;  // rms: beta is empty
};

struct NormLinearWeights {
  const float *gamma = nullptr, *beta = nullptr;  // [k]
  float eps = 1e-6f;
  const float *w = nullptr, *bias = nullptr;  // row-major [n, k]; [n] or null
  int n = 0, k = 0;
  Dtype dtype = Dtype::f32;   // of w
  Dtype stream = Dtype::f32;  // of the residual rows to come
  float row_scale = 1;        // e4m3: of the normalised rows (PackedLinear::row_scale)
  bool may_fold = true;       // whether w may take in the norm, where the backend gains by it
};
PackedNormLinear pack_norm_linear(const Backend& on, const NormLinearWeights& weights);
// An RMS norm, gamma [k], and a product with weights of codes behind it.
PackedNormLinear pack_norm_quant(const Backend& on, const float* gamma, float eps, PackedLinear w);

// Bytes beside `rows` residual rows of which the reader makes use; often none.
size_t moments_bytes(const Backend& on, const PackedNormLinear& reader, int rows);
// Bytes for `rows` rows between norm and product, and behind those for hidden columns that `w2` takes (null:
// none).
size_t workspace_bytes(int rows, const PackedNormLinear& w1, const PackedLinear* w2);

}  // namespace hedgerow
