// SPDX-License-Identifier: Apache-2.0
// Ragged attention for sequences of at most KEYS keys, head_dim 64, in a single pass: the copy engine fetches
// whole sequences in boxes of 16 rows, a warp owns 16 query rows and keeps all their logits in registers, and
// between the arrival of the data and the stores no warp waits for another. For the sizes at which launch,
// latency and the number of instructions are all there is. Hopper's copy engine, one-warp products.
//
// A box may reach into the next sequence: its logits are replaced, and its value rows are masked on the way
// into the product, so that nothing a neighbour holds (NaN included) can touch this sequence.
#pragma once

#include "hedgerow/kernels/cuda/attention.cuh"
#include "hedgerow/kernels/cuda/hopper.cuh"

namespace hedgerow::cuda {

constexpr int kBriefKeys = 128, kBriefWarps = 8;         // at most
constexpr int kBoxRows = 16, kBoxBytes = kBoxRows * 128;

constexpr size_t attention_brief_shared(int keys, int warps) {
  return static_cast<size_t>(warps + 2 * keys / kBoxRows) * kBoxBytes + 16;
}

// One warp's 16 query rows against N keys, of which `keys` are real. `at_q`, `at_k`, `at_v`: its query rows,
// all keys, all values.
template <class T, int N, bool FULL, bool BIAS>
__device__ __forceinline__ void attend_once(const AttentionParams& p, uint32_t at_q, uint32_t at_k, uint32_t at_v,
                                            uint32_t at_values, int keys, int kv_begin, int head,
                                            bool tells) {
  const int lane = threadIdx.x & 31;
  // In a FULL pass only the last box can be partly real.
  constexpr int kSure = FULL && !BIAS ? N - kBoxRows : 0;
  const uint32_t row_a = (lane & 15) * 128 + ((lane >> 4) ^ (lane & 7)) * 16;
  const uint32_t row_b = ((lane & 7) + ((lane >> 4) << 3)) * 128 + (((lane >> 3) & 1) ^ (lane & 7)) * 16;
  float s[N / 8][4];
#pragma unroll
  for (int n = 0; n < N / 8; ++n) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
  for (int d = 0; d < 4; ++d) {
    uint32_t a[4];
    load_matrices(a, (at_q + row_a) ^ (d * 32));
    const uint32_t at = (at_k + row_b) ^ (d * 32);
#pragma unroll
    for (int n = 0; n < N / 16; ++n) {
      uint32_t b[4];
      load_matrices(b, at + n * kBoxBytes);
      multiply<T>(s[2 * n], a, b[0], b[1]);
      multiply<T>(s[2 * n + 1], a, b[2], b[3]);
    }
  }
  uint32_t hidden = 0;  // a bit for each of this thread's keys
  float top_low = -kInf, top_high = -kInf;
#pragma unroll
  for (int n = 0; n < N / 8; ++n) {
    if (n * 8 >= kSure) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int key = n * 8 + (lane & 3) * 2 + e;
        bool out = key >= keys;
        if constexpr (BIAS) {
          const float b = out ? -kInf : p.bias[kv_begin + key] * kLog2e;
          out = b == -kInf;
          s[n][e] = fmaf(s[n][e], p.scale_log2, b), s[n][e + 2] = fmaf(s[n][e + 2], p.scale_log2, b);
        }
        if (out) s[n][e] = s[n][e + 2] = -kInf;
        if (out) hidden |= 1u << (2 * n + e);
      }
    }
    top_low = fmaxf(top_low, fmaxf(s[n][0], s[n][1])), top_high = fmaxf(top_high, fmaxf(s[n][2], s[n][3]));
  }
  const float scale = BIAS ? 1.0f : p.scale_log2;
  top_low = quad_max(top_low) * scale, top_high = quad_max(top_high) * scale;
  // A finite stand-in for a maximum over nothing, so that hidden keys come out as exactly zero.
  const float base_low = top_low == -kInf ? 0.0f : top_low, base_high = top_high == -kInf ? 0.0f : top_high;
  float sum_low = 0, sum_high = 0;
#pragma unroll
  for (int n = 0; n < N / 8; ++n) {
    s[n][0] = exp2_fast(fmaf(s[n][0], scale, -base_low)), s[n][1] = exp2_fast(fmaf(s[n][1], scale, -base_low));
    s[n][2] = exp2_fast(fmaf(s[n][2], scale, -base_high)), s[n][3] = exp2_fast(fmaf(s[n][3], scale, -base_high));
    sum_low += s[n][0] + s[n][1], sum_high += s[n][2] + s[n][3];
  }
  sum_low = quad_sum(sum_low), sum_high = quad_sum(sum_high);
  const float inverse_low = sum_low == 0 ? 0.0f : 1.0f / sum_low, inverse_high = sum_high == 0 ? 0.0f : 1.0f / sum_high;
  if (tells && lane < 4) {
    float* const to = p.first_row + static_cast<int64_t>(kv_begin) * p.heads + head;
#pragma unroll
    for (int n = 0; n < N / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int key = n * 8 + lane * 2 + e;
        if (key < keys) to[static_cast<int64_t>(key) * p.heads] = s[n][e] * inverse_low;
      }
    }
  }
  uint32_t weights[N / 16][4];
#pragma unroll
  for (int n = 0; n < N / 16; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e)
      weights[n][e] = pack2<T>(s[2 * n + (e >> 1)][(e & 1) * 2], s[2 * n + (e >> 1)][(e & 1) * 2 + 1]);
  }
  barrier_wait(at_values, 0);
  __syncwarp();
#pragma unroll
  for (int half = 0; half < 2; ++half) {  // 32 dims at a time, for fewer registers
    float out[4][4] = {};
#pragma unroll
    for (int n = 0; n < N / 16; ++n) {
#pragma unroll
      for (int d = 0; d < 2; ++d) {
        uint32_t b[4];
        load_matrices_transposed(b, ((at_v + row_a) ^ ((half * 2 + d) * 32)) + n * kBoxBytes);
        if (n * 16 >= kSure) {  // whatever a hidden value holds, zero times it must be zero
          const uint32_t bits = hidden >> (4 * n);
          const uint32_t first = (bits & 1 ? 0 : 0xffffu) | (bits & 2 ? 0 : 0xffff0000u);
          const uint32_t second = (bits & 4 ? 0 : 0xffffu) | (bits & 8 ? 0 : 0xffff0000u);
          b[0] &= first, b[1] &= second, b[2] &= first, b[3] &= second;
        }
        multiply<T>(out[2 * d], weights[n], b[0], b[1]);
        multiply<T>(out[2 * d + 1], weights[n], b[2], b[3]);
      }
    }
#pragma unroll
    for (int d = 0; d < 2; ++d) {  // over this warp's own query rows
      store_matrices((at_q + row_a) ^ ((half * 2 + d) * 32),
                     pack2<T>(out[2 * d][0] * inverse_low, out[2 * d][1] * inverse_low),
                     pack2<T>(out[2 * d][2] * inverse_high, out[2 * d][3] * inverse_high),
                     pack2<T>(out[2 * d + 1][0] * inverse_low, out[2 * d + 1][1] * inverse_low),
                     pack2<T>(out[2 * d + 1][2] * inverse_high, out[2 * d + 1][3] * inverse_high));
    }
  }
}

// Blocks of 32 x warps threads: a sequence of one head, as many warps as it has boxes of query rows.
template <class T, int KEYS, bool BIAS>
__global__ void __maxnreg__(KEYS <= 80 ? 72 : 128)
    attention_brief(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
                    const __grid_constant__ CUtensorMap v_map, const __grid_constant__ AttentionParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char memory[];
  const int lane = threadIdx.x, warp = threadIdx.y, warps = blockDim.y;
  const uint32_t at_k = shared_address(memory), at_v = at_k + KEYS * 128, at_q = at_v + KEYS * 128 + warp * kBoxBytes;
  const uint32_t at_keys = at_v + KEYS * 128 + warps * kBoxBytes, at_values = at_keys + 8;
  if (warp == 0 && elected()) {
    if (at_k & 1023) __trap();
    prefetch_map(&q_map), prefetch_map(&k_map), prefetch_map(&v_map);
    barrier_init(at_keys, 1), barrier_init(at_values, 1);
    barrier_init_done();
  }
  __syncthreads();
  wait_for_previous();
  let_next_start();

  const int sequence = blockIdx.z, head = blockIdx.y, first = (blockIdx.x * warps + warp) * kBoxRows;
  const int q_begin = p.q_offsets[sequence], queries = p.q_offsets[sequence + 1] - q_begin - first;
  const int kv_begin = p.kv_offsets[sequence], keys = p.kv_offsets[sequence + 1] - kv_begin;
  const int block_queries = queries + warp * kBoxRows, boxes = (keys + kBoxRows - 1) / kBoxRows;
  if (block_queries <= 0) {
    if (p.first_row && first == 0) {  // of a sequence that asks nothing
      for (int j = lane; j < keys; j += 32) p.first_row[static_cast<int64_t>(kv_begin + j) * p.heads + head] = 0;
    }
    return;
  }
  const bool gathers = p.q_index != nullptr;
  if (elected()) {
    if (warp == 0) {
      const int asking = gathers ? 0 : min(warps, (block_queries + kBoxRows - 1) / kBoxRows);
      barrier_expect(at_keys, (asking + boxes) * kBoxBytes), barrier_expect(at_values, boxes * kBoxBytes);
    }
    if (queries > 0 && !gathers) tile_load_3d(at_q, &q_map, at_keys, 0, head, q_begin + first);
    for (int b = warp; b < boxes; b += warps)
      tile_load_3d(at_k + b * kBoxBytes, &k_map, at_keys, 0, head, kv_begin + b * kBoxRows);
    for (int b = warp; b < boxes; b += warps)
      tile_load_3d(at_v + b * kBoxBytes, &v_map, at_values, 0, head, kv_begin + b * kBoxRows);
  }
  if (queries <= 0) return;
  const int r0 = lane >> 3, c = lane & 7;
  if (gathers) {
    const T* const q = static_cast<const T*>(p.q) + head * p.q_head + c * 8;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = r0 + i * 4;
      const int64_t row = p.q_index[q_begin + first + (r < queries ? r : 0)];
      copy16(at_q + swizzled<8>(r, c), q + row * p.q_row, r < queries);
    }
    copies_commit();
    copies_wait<0>();
  }
  barrier_wait(at_keys, 0);
  __syncwarp();
  const bool tells = p.first_row && first == 0;
  if (keys > KEYS - 16) {
    attend_once<T, KEYS, true, BIAS>(p, at_q, at_k, at_v, at_values, keys, kv_begin, head, tells);
  } else if (KEYS > 32 && keys > KEYS - 32) {
    attend_once<T, KEYS - 16, true, BIAS>(p, at_q, at_k, at_v, at_values, keys, kv_begin, head, tells);
  } else {
    attend_once<T, KEYS == 32 ? 16 : KEYS - 32, false, BIAS>(p, at_q, at_k, at_v, at_values, keys, kv_begin, head,
                                                             tells);
  }
  __syncwarp();
  T* const to = static_cast<T*>(p.out) + (q_begin + first + r0) * p.out_row + head * p.out_head + c * 8;
  const uint32_t from = at_q + swizzled<8>(r0, c);
#pragma unroll
  for (int i = 0; i < 4; ++i) {  // four rows down, the swizzle turns by four chunks
    const int4 chunk = load_shared(from + i * 512 ^ (i & 1) * 64);
    if (r0 + 4 * i < queries) *reinterpret_cast<int4*>(to + i * 4 * p.out_row) = chunk;
  }
#endif
}

}  // namespace hedgerow::cuda
