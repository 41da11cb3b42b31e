// SPDX-License-Identifier: Apache-2.0
// Ragged attention for sequences of at most KEYS keys, head_dim 64, one-warp products, in a single pass: all
// copies are issued at once, all logits of a row stay in registers, nothing loops and nothing branches on a
// length but the masks. For the sizes at which latency is all there is.
#pragma once

#include "hedgerow/kernels/cuda/attention.cuh"

namespace hedgerow::cuda {

constexpr int kSingleKeys = 96;  // at most
constexpr size_t attention_single_shared(int keys) { return static_cast<size_t>(3) * keys * 128; }

// KEYS / 16 warps of 16 query rows.
template <class T, int KEYS, bool BIAS>
__global__ void __launch_bounds__(KEYS * 2, 65536 / (KEYS * 2 * 96))
    attention_single(const __grid_constant__ AttentionParams p) {
  extern __shared__ __align__(128) unsigned char memory[];
  const int thread = threadIdx.x, warp = thread >> 5, lane = thread & 31;
  wait_for_previous();
  let_next_start();

  const int sequence = blockIdx.z, head = blockIdx.y, first = blockIdx.x * KEYS;
  const int q_begin = p.q_offsets[sequence], queries = p.q_offsets[sequence + 1] - q_begin - first;
  const int kv_begin = p.kv_offsets[sequence], keys = p.kv_offsets[sequence + 1] - kv_begin;
  if (queries <= 0) return;

  constexpr int kTile = KEYS * 128, kStep = KEYS / 4;
  const uint32_t at_q = shared_address(memory), at_k = at_q + kTile, at_v = at_k + kTile;
  const int c = thread & 7, r0 = thread >> 3;
  {
    const T* const q = static_cast<const T*>(p.q) + head * p.q_head + c * 8;
    const T* const k = static_cast<const T*>(p.k) + kv_begin * p.k_row + head * p.k_head + c * 8;
    const T* const v = static_cast<const T*>(p.v) + kv_begin * p.v_row + head * p.v_head + c * 8;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = r0 + i * kStep;
      int64_t row = q_begin + first + (r < queries ? r : 0);
      if (p.q_index) row = p.q_index[row];
      copy16(at_q + swizzled<8>(r, c), q + row * p.q_row, r < queries);
      copy16(at_k + swizzled<8>(r, c), r < keys ? k + r * p.k_row : q, r < keys);
    }
    copies_commit();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = r0 + i * kStep;
      copy16(at_v + swizzled<8>(r, c), r < keys ? v + r * p.v_row : q, r < keys);
    }
    copies_commit();
  }
  const bool busy = warp * 16 < queries;
  float s[KEYS / 8][4], sum_low = 0, sum_high = 0;
  copies_wait<1>();
  __syncthreads();
  if (busy) {
    uint32_t a[4][4];
#pragma unroll
    for (int d = 0; d < 4; ++d)
      load_matrices(a[d], at_q + swizzled<8>(warp * 16 + (lane & 15), d * 2 + (lane >> 4)));
#pragma unroll
    for (int n = 0; n < KEYS / 16; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) s[2 * n][e] = s[2 * n + 1][e] = 0;
#pragma unroll
      for (int d = 0; d < 4; ++d) {
        uint32_t b[4];
        load_matrices(
            b, at_k + swizzled<8>(n * 16 + (lane & 7) + ((lane >> 4) << 3), d * 2 + ((lane >> 3) & 1)));
        multiply<T>(s[2 * n], a[d], b[0], b[1]);
        multiply<T>(s[2 * n + 1], a[d], b[2], b[3]);
      }
    }
    float top_low = -kInf, top_high = -kInf;
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int key = n * 8 + (lane & 3) * 2 + e;
        float b = key < keys ? 0.0f : -kInf;
        if constexpr (BIAS) {
          if (key < keys) b = p.bias[kv_begin + key];
          s[n][e] = fmaf(s[n][e], p.scale_log2, b * kLog2e),
          s[n][e + 2] = fmaf(s[n][e + 2], p.scale_log2, b * kLog2e);
        }
        if (b == -kInf) s[n][e] = s[n][e + 2] = b;
      }
      top_low = fmaxf(top_low, fmaxf(s[n][0], s[n][1])), top_high = fmaxf(top_high, fmaxf(s[n][2], s[n][3]));
    }
    const float scale = BIAS ? 1.0f : p.scale_log2;
    top_low = quad_max(top_low) * scale, top_high = quad_max(top_high) * scale;
    // A finite stand-in for a maximum over nothing, so that hidden keys come out as exactly zero.
    const float base_low = top_low == -kInf ? 0.0f : top_low, base_high = top_high == -kInf ? 0.0f : top_high;
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) {
      s[n][0] = exp2_fast(fmaf(s[n][0], scale, -base_low)),
      s[n][1] = exp2_fast(fmaf(s[n][1], scale, -base_low));
      s[n][2] = exp2_fast(fmaf(s[n][2], scale, -base_high)),
      s[n][3] = exp2_fast(fmaf(s[n][3], scale, -base_high));
      sum_low += s[n][0] + s[n][1], sum_high += s[n][2] + s[n][3];
    }
  }
  copies_wait<0>();
  __syncthreads();
  if constexpr (BIAS) {  // whatever a hidden value holds, zero times it must be zero
    for (int r = r0; r < keys; r += kStep) {
      if (p.bias[kv_begin + r] == -kInf)
        *reinterpret_cast<int4*>(memory + 2 * kTile + swizzled<8>(r, c)) = make_int4(0, 0, 0, 0);
    }
    __syncthreads();
  }
  if (!busy) return;

  float out[8][4] = {};
#pragma unroll
  for (int n = 0; n < KEYS / 16; ++n) {
    const uint32_t a[4] = {pack2<T>(s[2 * n][0], s[2 * n][1]), pack2<T>(s[2 * n][2], s[2 * n][3]),
                           pack2<T>(s[2 * n + 1][0], s[2 * n + 1][1]),
                           pack2<T>(s[2 * n + 1][2], s[2 * n + 1][3])};
#pragma unroll
    for (int d = 0; d < 4; ++d) {
      uint32_t b[4];
      load_matrices_transposed(b, at_v + swizzled<8>(n * 16 + (lane & 15), d * 2 + (lane >> 4)));
      multiply<T>(out[2 * d], a, b[0], b[1]);
      multiply<T>(out[2 * d + 1], a, b[2], b[3]);
    }
  }
  sum_low = quad_sum(sum_low), sum_high = quad_sum(sum_high);
  const float inverse_low = sum_low == 0 ? 0.0f : 1.0f / sum_low,
              inverse_high = sum_high == 0 ? 0.0f : 1.0f / sum_high;

  // Through this warp's own query rows in shared memory, so that the stores are whole 16-byte chunks.
  __syncwarp();
#pragma unroll
  for (int d = 0; d < 8; ++d) {
    const int r = warp * 16 + (lane >> 2);
    *reinterpret_cast<uint32_t*>(memory + swizzled<8>(r, d) + (lane & 3) * 4) =
        pack2<T>(out[d][0] * inverse_low, out[d][1] * inverse_low);
    *reinterpret_cast<uint32_t*>(memory + swizzled<8>(r + 8, d) + (lane & 3) * 4) =
        pack2<T>(out[d][2] * inverse_high, out[d][3] * inverse_high);
  }
  __syncwarp();
  T* const to = static_cast<T*>(p.out) + head * p.out_head;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int r = warp * 16 + i * 4 + (lane >> 3), chunk = lane & 7;
    if (r < queries) {
      *reinterpret_cast<int4*>(to + static_cast<int64_t>(q_begin + first + r) * p.out_row + chunk * 8) =
          *reinterpret_cast<const int4*>(memory + swizzled<8>(r, chunk));
    }
  }
}

}  // namespace hedgerow::cuda
