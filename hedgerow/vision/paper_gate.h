// SPDX-License-Identifier: Apache-2.0
// The scorer that "Dispatch-Aware Ragged Attention" runs under the name DynamicViT: an untrained gate of
// another shape than DynamicViT's (LayerNorm, D -> D/2, GELU, token mean beside it, D -> D/2, GELU, 2).
// Random by construction; ours is drawn from a seed, so that a run can be repeated.
#pragma once

#include <cstdint>

#include "hedgerow/vision/vit_weights.h"

namespace hedgerow {

struct PaperGate {
  uint64_t seed = 0;
  NormWeights norm;
  PackedLinear
      local;  // [dim, dim]: the D/2 local features twice; the second half then becomes its token mean
  PackedLinear head0;  // [dim/2, dim]
  PackedLinear head1;  // [2, dim/2], "keep" first (the paper's code has it second)
};

PaperGate make_paper_gate(const VitWeights& weights, uint64_t seed);

}  // namespace hedgerow
