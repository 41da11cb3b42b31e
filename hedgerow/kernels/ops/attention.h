// SPDX-License-Identifier: Apache-2.0
// What attention is given. How to read it: kernels.h.
#pragma once

#include <cstdint>

#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"

namespace hedgerow {

struct KeyValues {
  Tensor k, v;  // f [kv_rows, heads, head_dim]; both may be strided views of one fused projection
};

// Softmax attention inside each sequence, all keys visible:
//   out[i] = sum_j p_ij v_j,  p_i = softmax_j(scale * q_i . k_j + key_bias_j).
// A key whose bias is -inf contributes exactly nothing; a row that sees nothing becomes 0.
// Hidden keys (bias -inf) are left out before anything is computed, so putting them between or behind live
// keys does not change a bit of the result, whatever they hold. Sums run over live keys in one fixed order.
struct AttentionArgs {
  Tensor q;                // f [*, heads, head_dim], head_dim 32, 64 or 128
  KeyValues kv;            // same dtype as q
  Ragged q_rows, kv_rows;  // the same number of sequences; lengths may differ
  Tensor q_index = {};     // optional i32 [q_rows]: output row i asks with q[q_index[i]] (else q[i])
  Tensor key_bias = {};  // optional f32 [kv_rows], added to the logits (log of merged size; -inf hides a key)
  float scale = 0;       // usually 1 / sqrt(head_dim)
  Tensor out;            // f [q_rows, heads, head_dim]
  Tensor first_row =
      {};  // optional f32 [kv_rows, heads]: softmax probabilities of each sequence's first query
};

}  // namespace hedgerow
