// SPDX-License-Identifier: Apache-2.0
// What every attention kernel is given, and the pieces of the softmax they share.
#pragma once

#include "hedgerow/kernels/cuda/device.cuh"

namespace hedgerow::cuda {

// Strides in elements. A row of output i asks with query row q_index[i] (or i).
struct AttentionParams {
  const void *q, *k, *v;
  void* out;
  const int32_t *q_offsets, *kv_offsets, *q_index;
  const float* bias;
  float* first_row;
  int64_t q_row, q_head, k_row, k_head, v_row, v_head, out_row, out_head;
  int heads;
  int k_first, v_first;  // first heads in the maps of k and v
  float scale;           // for logits
  float scale_log2;      // scale * log2(e): probabilities are powers of two
};

// A row's running maximum (or nearly so) and sum while its keys come in blocks.
struct SoftmaxRow {
  float top = -kInf, sum = 0;

  // Takes the maximum of a new block; returns what older terms must be multiplied with. A maximum that rises
  // by less than a factor of 256 is left where it was: the powers still fit 16 bits, and nothing is scaled.
  __device__ __forceinline__ float raise(float block_top) {
    if (!(block_top > top + 8.0f)) return 1.0f;
    const float factor = exp2_fast(top - block_top);
    top = block_top;
    return factor;
  }
  // A finite stand-in for a maximum over nothing, so that hidden keys come out as exactly zero.
  __device__ __forceinline__ float base() const { return top == -kInf ? 0.0f : top; }
  __device__ __forceinline__ float inverse() const { return sum == 0.0f ? 0.0f : 1.0f / sum; }
};

}  // namespace hedgerow::cuda
