// SPDX-License-Identifier: Apache-2.0
// What a Vision Transformer's checkpoint becomes at load: matrices in the backend's layout, vectors in f32.
// Const after packing, shared by any number of states and threads.
#pragma once

#include <vector>

#include "hedgerow/kernels/kernels.h"
#include "hedgerow/vision/vit.h"
#include "hedgerow/vision/vit_eight_bits.h"

namespace hedgerow {

// Vectors lie where the backend computes.
struct NormWeights {
  Buffer gamma, beta;  // f32 [dim]
};
NormWeights norm_on(const Backend& on, const std::vector<float>& gamma, const std::vector<float>& beta);
inline Tensor vector_of(const Buffer& b) {
  return vector_view(b.as(), Dtype::f32, static_cast<int64_t>(b.bytes() / sizeof(float)));
}

struct VitBlockWeights {
  PackedNormLinear qkv;  // norm1, [3 dim, dim]; every block but the last
  PackedNormLinear q,
      kv;  // norm1, [dim, dim], [2 dim, dim]; last block only: its queries are the read-out rows alone
  PackedLinear proj;     // [dim, dim]
  PackedNormLinear fc1;  // norm2, [hidden, dim]
  PackedLinear fc2;      // [dim, hidden]
  // Whatever reads the residual rows first.
  const PackedNormLinear& first() const { return qkv.w.n > 0 ? qkv : kv; }
};

struct PredictorWeights {
  NormWeights norm;               // eps 1e-5
  PackedLinear in;                // [dim, dim], GELU
  PackedLinear out0, out2, out4;  // [dim/2, dim] GELU, [dim/4, dim/2] GELU, [2, dim/4]
};

struct VitWeights {
  VitConfig config;
  const Backend* backend = nullptr;
  Dtype dtype = Dtype::f32;   // of matrices and of the activations that meet them, but for those of 8 bits
  Dtype stream = Dtype::f32;  // of the residual stream: f16 where all is f16, else f32
  PackedLinear patch;         // [dim, 3 patch^2]; its bias lies in the position rows
  std::vector<VitBlockWeights> blocks;
  NormWeights norm;
  // [classes, special * dim]: with a distillation token, the mean of both heads is one product over both
  // rows.
  PackedLinear head;
  std::vector<PredictorWeights> predictors;
  VitParameters embedding;  // cls, dist, pos_embed, patch_bias only: position rows are made per resolution
};

// The rows a picture of grid_h x grid_w patches starts from: token + position for special rows, position +
// patch bias for patches. [special + grid_h * grid_w, dim]
std::vector<float> position_rows(const VitWeights& weights, int grid_h, int grid_w);

}  // namespace hedgerow
