// SPDX-License-Identifier: Apache-2.0
// Ragged attention with one-warp products: a warp owns 16 query rows of one head and walks over the keys in
// blocks of
// 64. It serves every chip from compute capability 8.0 on, and short sequences everywhere: nothing is set up,
// a warp skips what its sequence does not have, and a block holds no more warps than the longest sequence
// needs.
#pragma once

#include "hedgerow/kernels/cuda/attention/attention.cuh"

namespace hedgerow::cuda {

constexpr int kMmaKeys = 64;  // keys per block

constexpr size_t attention_mma_shared(int head_dim, int warps, bool several_blocks) {
  return static_cast<size_t>(head_dim) * 2 * (16 * warps + (several_blocks ? 4 : 2) * kMmaKeys) +
         2 * kMmaKeys * sizeof(float);
}

template <class T, int D, int WARPS, bool BIAS>
__global__ void __launch_bounds__(WARPS * 32) attention_mma(const __grid_constant__ AttentionParams p) {
  constexpr int kChunks = D / 8, kThreads = WARPS * 32, kRows = WARPS * 16, kKeyBytes = kMmaKeys * D * 2;
  extern __shared__ __align__(128) unsigned char memory[];
  wait_for_previous();
  let_next_start();

  const int sequence = blockIdx.z, head = blockIdx.y, first = blockIdx.x * kRows;
  const int q_begin = p.q_offsets[sequence], queries = p.q_offsets[sequence + 1] - q_begin - first;
  const int kv_begin = p.kv_offsets[sequence], keys = p.kv_offsets[sequence + 1] - kv_begin;
  if (queries <= 0) return;
  const int thread = threadIdx.x, warp = thread >> 5, lane = thread & 31;

  const uint32_t at_q = shared_address(memory), at_k = at_q + kRows * D * 2;
  const bool several = keys > kMmaKeys;  // then two blocks of keys are in flight
  const uint32_t at_v = at_k + (several ? 2 : 1) * kKeyBytes;
  float* bias = reinterpret_cast<float*>(memory + (kRows * D * 2 + (several ? 4 : 2) * kKeyBytes));

  const T* const k = static_cast<const T*>(p.k) + kv_begin * p.k_row + head * p.k_head;
  const T* const v = static_cast<const T*>(p.v) + kv_begin * p.v_row + head * p.v_head;
  auto load_keys = [&](int block) {
    const int from = block * kMmaKeys, left = min(keys - from, kMmaKeys), slot = (block & 1) * kKeyBytes;
    for (int i = thread; i < ((left + 15) & ~15) * kChunks; i += kThreads) {
      const int r = i / kChunks, c = i % kChunks;
      const bool live = r < left;
      const int64_t row = live ? from + r : 0;
      copy16(at_k + slot + swizzled<kChunks>(r, c), k + row * p.k_row + c * 8, live);
      copy16(at_v + slot + swizzled<kChunks>(r, c), v + row * p.v_row + c * 8, live);
    }
  };
  {
    const T* const q = static_cast<const T*>(p.q) + head * p.q_head;
    for (int i = thread; i < kRows * kChunks; i += kThreads) {
      const int r = i / kChunks, c = i % kChunks;
      const bool live = r < queries;
      int64_t row = q_begin + first + (live ? r : 0);
      if (p.q_index) row = p.q_index[row];
      copy16(at_q + swizzled<kChunks>(r, c), q + row * p.q_row + c * 8, live);
    }
  }
  if (keys > 0) load_keys(0);
  copies_commit();

  uint32_t q_part[D / 16][4];
  float out[D / 8][4] = {};
  SoftmaxRow low, high;  // this thread's rows lane/4 and lane/4 + 8
  const bool busy = warp * 16 < queries;
  const int blocks = (keys + kMmaKeys - 1) / kMmaKeys;

  for (int block = 0; block < blocks; ++block) {
    if (block + 1 < blocks) {
      load_keys(block + 1);
      copies_commit();
      copies_wait<1>();
    } else {
      copies_wait<0>();
    }
    __syncthreads();
    const int left = min(keys - block * kMmaKeys, kMmaKeys), slot = (block & 1) * kKeyBytes;
    if constexpr (BIAS) {
      for (int r = thread; r < kMmaKeys; r += kThreads) {
        const float b = r < left ? p.bias[kv_begin + block * kMmaKeys + r] : -kInf;
        bias[r] = b * kLog2e;
        if (b == -kInf && r < left) {  // whatever a hidden value holds, zero times it must be zero
          for (int c = 0; c < kChunks; ++c) {
            *reinterpret_cast<int4*>(memory + (at_v - at_q) + slot + swizzled<kChunks>(r, c)) =
                make_int4(0, 0, 0, 0);
          }
        }
      }
      __syncthreads();
    }
    if (busy) {
      if (block == 0) {
#pragma unroll
        for (int d = 0; d < D / 16; ++d) {
          load_matrices(q_part[d], at_q + swizzled<kChunks>(warp * 16 + (lane & 15), d * 2 + (lane >> 4)));
        }
      }
      float s[kMmaKeys / 8][4];
#pragma unroll
      for (int n = 0; n < kMmaKeys / 16; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) s[2 * n][e] = s[2 * n + 1][e] = 0;
        if (n * 16 >= left) continue;
#pragma unroll
        for (int d = 0; d < D / 16; ++d) {
          uint32_t b[4];
          load_matrices(
              b, at_k + slot +
                     swizzled<kChunks>(n * 16 + (lane & 7) + ((lane >> 4) << 3), d * 2 + ((lane >> 3) & 1)));
          multiply<T>(s[2 * n], q_part[d], b[0], b[1]);
          multiply<T>(s[2 * n + 1], q_part[d], b[2], b[3]);
        }
      }
      float top_low = -kInf, top_high = -kInf;
#pragma unroll
      for (int n = 0; n < kMmaKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int key = n * 8 + (lane & 3) * 2 + (e & 1);
          float x = s[n][e] * p.scale_log2;
          if constexpr (BIAS) x = bias[key] == -kInf ? -kInf : x + bias[key];
          if (key >= left) x = -kInf;
          s[n][e] = x;
          if (e < 2)
            top_low = fmaxf(top_low, x);
          else
            top_high = fmaxf(top_high, x);
        }
      }
      const float factor_low = low.raise(quad_max(top_low)), factor_high = high.raise(quad_max(top_high));
      const float base_low = low.base(), base_high = high.base();
      float sum_low = 0, sum_high = 0;
#pragma unroll
      for (int n = 0; n < kMmaKeys / 8; ++n) {
        s[n][0] = exp2_fast(s[n][0] - base_low), s[n][1] = exp2_fast(s[n][1] - base_low);
        s[n][2] = exp2_fast(s[n][2] - base_high), s[n][3] = exp2_fast(s[n][3] - base_high);
        sum_low += s[n][0] + s[n][1], sum_high += s[n][2] + s[n][3];
      }
      low.sum = low.sum * factor_low + sum_low, high.sum = high.sum * factor_high + sum_high;
#pragma unroll
      for (int d = 0; d < D / 8; ++d) {
        out[d][0] *= factor_low, out[d][1] *= factor_low, out[d][2] *= factor_high, out[d][3] *= factor_high;
      }
#pragma unroll
      for (int n = 0; n < kMmaKeys / 16; ++n) {
        if (n * 16 >= left) continue;
        const uint32_t a[4] = {pack2<T>(s[2 * n][0], s[2 * n][1]), pack2<T>(s[2 * n][2], s[2 * n][3]),
                               pack2<T>(s[2 * n + 1][0], s[2 * n + 1][1]),
                               pack2<T>(s[2 * n + 1][2], s[2 * n + 1][3])};
#pragma unroll
        for (int d = 0; d < D / 16; ++d) {
          uint32_t b[4];
          load_matrices_transposed(
              b, at_v + slot + swizzled<kChunks>(n * 16 + (lane & 15), d * 2 + (lane >> 4)));
          multiply<T>(out[2 * d], a, b[0], b[1]);
          multiply<T>(out[2 * d + 1], a, b[2], b[3]);
        }
      }
    }
    if (block + 1 < blocks) __syncthreads();
  }
  if (!busy) return;

  // Through this warp's own query rows in shared memory, so that the stores are whole 16-byte chunks.
  if (blocks == 0) copies_wait<0>();
  const float inverse_low = 1.0f * SoftmaxRow{low.top, quad_sum(low.sum)}.inverse();
  const float inverse_high = 1.0f * SoftmaxRow{high.top, quad_sum(high.sum)}.inverse();
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
    const int r = warp * 16 + i / kChunks, c = i % kChunks;
    if (r < queries) {
      *reinterpret_cast<int4*>(to + static_cast<int64_t>(q_begin + first + r) * p.out_row + c * 8) =
          *reinterpret_cast<const int4*>(memory + swizzled<kChunks>(r, c));
    }
  }
}

}  // namespace hedgerow::cuda
