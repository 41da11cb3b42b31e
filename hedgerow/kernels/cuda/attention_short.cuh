// SPDX-License-Identifier: Apache-2.0
// Ragged attention for short sequences, one-warp products: a block takes a whole sequence of one head,
// fetches all of it at once and never waits again. As many warps as the longest sequence has groups of 16
// rows, so that many blocks share a multiprocessor; what a sequence does not have is skipped.
#pragma once

#include "hedgerow/kernels/cuda/attention.cuh"

namespace hedgerow::cuda {

constexpr int kShortWarps = 10;  // at most: 160 query rows per block

constexpr size_t attention_short_shared(int head_dim, int rows, int keys) {
  return static_cast<size_t>(head_dim) * 2 * (rows + 2 * keys);
}

// STEP keys at a time, a multiple of 16; `room`: keys that fit the block's memory, a multiple of 16.
template <class T, int D, int STEP, bool BIAS>
__global__ void __launch_bounds__(kShortWarps * 32, D == 128 ? 1 : 2)
    attention_short(const __grid_constant__ AttentionParams p, int room) {
  constexpr int kChunks = D / 8;
  extern __shared__ __align__(128) unsigned char memory[];
  const int thread = threadIdx.x, threads = blockDim.x, warp = thread >> 5, lane = thread & 31,
            rows = threads / 2;
  wait_for_previous();
  let_next_start();

  const int sequence = blockIdx.z, head = blockIdx.y, first = blockIdx.x * rows;
  const int q_begin = p.q_offsets[sequence], queries = p.q_offsets[sequence + 1] - q_begin - first;
  const int kv_begin = p.kv_offsets[sequence], keys = p.kv_offsets[sequence + 1] - kv_begin;
  if (queries <= 0) return;

  const uint32_t at_q = shared_address(memory), at_k = at_q + rows * D * 2, at_v = at_k + room * D * 2;
  const int c = thread % kChunks, r0 = thread / kChunks, r_step = threads / kChunks,
            padded = (keys + 15) & ~15;
  {
    const T* const q = static_cast<const T*>(p.q) + head * p.q_head + c * 8;
    for (int r = r0; r < rows; r += r_step) {
      const bool live = r < queries;
      int64_t row = q_begin + first + (live ? r : 0);
      if (p.q_index) row = p.q_index[row];
      copy16(at_q + swizzled<kChunks>(r, c), q + row * p.q_row, live);
    }
    const T* const k = static_cast<const T*>(p.k) + kv_begin * p.k_row + head * p.k_head + c * 8;
    for (int r = r0; r < padded; r += r_step) {
      copy16(at_k + swizzled<kChunks>(r, c), k + (r < keys ? r : 0) * p.k_row, r < keys);
    }
    copies_commit();
    const T* const v = static_cast<const T*>(p.v) + kv_begin * p.v_row + head * p.v_head + c * 8;
    for (int r = r0; r < padded; r += r_step) {
      copy16(at_v + swizzled<kChunks>(r, c), v + (r < keys ? r : 0) * p.v_row, r < keys);
    }
    copies_commit();
  }
  const bool busy = warp * 16 < queries;
  float out[D / 8][4] = {};
  SoftmaxRow low, high;  // this thread's rows lane/4 and lane/4 + 8
  copies_wait<1>();
  __syncthreads();

  for (int from = 0; from < keys; from += STEP) {
    const int left = keys - from;
    float s[STEP / 8][4];
    if (busy) {
#pragma unroll
      for (int n = 0; n < STEP / 8; ++n) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
      for (int d = 0; d < D / 16; ++d) {
        uint32_t a[4];
        load_matrices(a, at_q + swizzled<kChunks>(warp * 16 + (lane & 15), d * 2 + (lane >> 4)));
#pragma unroll
        for (int n = 0; n < STEP / 16; ++n) {
          if (n * 16 >= left) break;
          uint32_t b[4];
          load_matrices(b, at_k + swizzled<kChunks>(from + n * 16 + (lane & 7) + ((lane >> 4) << 3),
                                                    d * 2 + ((lane >> 3) & 1)));
          multiply<T>(s[2 * n], a, b[0], b[1]);
          multiply<T>(s[2 * n + 1], a, b[2], b[3]);
        }
      }
      float top_low = -kInf, top_high = -kInf;
      if (BIAS || left < STEP) {
#pragma unroll
        for (int n = 0; n < STEP / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const int key = n * 8 + (lane & 3) * 2 + e;
            float b = key < left ? 0.0f : -kInf;
            if constexpr (BIAS) {
              if (key < left) b = p.bias[kv_begin + from + key];
            }
            if constexpr (BIAS) {
              s[n][e] = fmaf(s[n][e], p.scale_log2, b * kLog2e),
              s[n][e + 2] = fmaf(s[n][e + 2], p.scale_log2, b * kLog2e);
            }
            if (b == -kInf) s[n][e] = s[n][e + 2] = b;
          }
        }
      }
#pragma unroll
      for (int n = 0; n < STEP / 8; ++n) {
        top_low = fmaxf(top_low, fmaxf(s[n][0], s[n][1])),
        top_high = fmaxf(top_high, fmaxf(s[n][2], s[n][3]));
      }
      const float scale = BIAS ? 1.0f : p.scale_log2;
      const float factor_low = low.raise(quad_max(top_low) * scale),
                  factor_high = high.raise(quad_max(top_high) * scale);
      const float base_low = low.base(), base_high = high.base();
      float sum_low = 0, sum_high = 0;
#pragma unroll
      for (int n = 0; n < STEP / 8; ++n) {
        s[n][0] = exp2_fast(fmaf(s[n][0], scale, -base_low)),
        s[n][1] = exp2_fast(fmaf(s[n][1], scale, -base_low));
        s[n][2] = exp2_fast(fmaf(s[n][2], scale, -base_high)),
        s[n][3] = exp2_fast(fmaf(s[n][3], scale, -base_high));
        sum_low += s[n][0] + s[n][1], sum_high += s[n][2] + s[n][3];
      }
      low.sum = low.sum * factor_low + sum_low, high.sum = high.sum * factor_high + sum_high;
      if (from > 0) {
#pragma unroll
        for (int d = 0; d < D / 8; ++d) {
          out[d][0] *= factor_low, out[d][1] *= factor_low, out[d][2] *= factor_high,
              out[d][3] *= factor_high;
        }
      }
    }
    if (from == 0) {  // the values have had all this time to arrive
      copies_wait<0>();
      __syncthreads();
      if constexpr (BIAS) {  // whatever a hidden value holds, zero times it must be zero
        for (int r = r0; r < keys; r += r_step) {
          if (p.bias[kv_begin + r] == -kInf) {
            *reinterpret_cast<int4*>(memory + (at_v - at_q) + swizzled<kChunks>(r, c)) =
                make_int4(0, 0, 0, 0);
          }
        }
        __syncthreads();
      }
    }
    if (busy) {
#pragma unroll
      for (int n = 0; n < STEP / 16; ++n) {
        if (n * 16 >= left) break;
        const uint32_t a[4] = {pack2<T>(s[2 * n][0], s[2 * n][1]), pack2<T>(s[2 * n][2], s[2 * n][3]),
                               pack2<T>(s[2 * n + 1][0], s[2 * n + 1][1]),
                               pack2<T>(s[2 * n + 1][2], s[2 * n + 1][3])};
#pragma unroll
        for (int d = 0; d < D / 16; ++d) {
          uint32_t b[4];
          load_matrices_transposed(
              b, at_v + swizzled<kChunks>(from + n * 16 + (lane & 15), d * 2 + (lane >> 4)));
          multiply<T>(out[2 * d], a, b[0], b[1]);
          multiply<T>(out[2 * d + 1], a, b[2], b[3]);
        }
      }
    }
  }
  if (!busy) return;

  // Through this warp's own query rows in shared memory, so that the stores are whole 16-byte chunks.
  low.sum = quad_sum(low.sum), high.sum = quad_sum(high.sum);
  const float inverse_low = low.inverse(), inverse_high = high.inverse();
  if (keys == 0) copies_wait<0>();
  __syncwarp();
#pragma unroll
  for (int d = 0; d < D / 8; ++d) {
    const int r = warp * 16 + (lane >> 2);
    *reinterpret_cast<uint32_t*>(memory + swizzled<kChunks>(r, d) + (lane & 3) * 4) =
        pack2<T>(out[d][0] * inverse_low, out[d][1] * inverse_low);
    *reinterpret_cast<uint32_t*>(memory + swizzled<kChunks>(r + 8, d) + (lane & 3) * 4) =
        pack2<T>(out[d][2] * inverse_high, out[d][3] * inverse_high);
  }
  __syncwarp();
  T* const to = static_cast<T*>(p.out) + head * p.out_head;
#pragma unroll
  for (int i = lane; i < 16 * kChunks; i += 32) {
    const int r = warp * 16 + i / kChunks, chunk = i % kChunks;
    if (r < queries) {
      *reinterpret_cast<int4*>(to + static_cast<int64_t>(q_begin + first + r) * p.out_row + chunk * 8) =
          *reinterpret_cast<const int4*>(memory + swizzled<kChunks>(r, chunk));
    }
  }
}

}  // namespace hedgerow::cuda
