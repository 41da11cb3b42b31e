// SPDX-License-Identifier: Apache-2.0
// Ragged attention for sequences of at most KEYS keys, head_dim 64, on Hopper's warpgroup products: one small
// block takes a whole sequence of one head, all copies are issued at once in boxes of 16 rows, and the logits
// of 64 queries stay in registers. Many blocks share a multiprocessor. For the sizes at which launch, latency
// and the number of instructions are all there is.
//
// A box may reach into the next sequence: its logits are replaced, and its value rows are zeroed in shared
// memory, so that nothing a neighbour holds (NaN included) can touch this sequence.
#pragma once

#include "hedgerow/kernels/cuda/attention/attention.cuh"
#include "hedgerow/kernels/cuda/hopper.cuh"

namespace hedgerow::cuda {

constexpr int kBoxRows = 16, kBoxBytes = kBoxRows * 128;
constexpr int kLightKeys = 128, kLightQueries = 128;  // at most: keys; query rows of a block

constexpr size_t attention_light_shared(int keys, int queries) {
  return static_cast<size_t>(queries + 2 * keys) * 128 + 16;
}

// Where a block's query rows and keys lie in shared memory (the values behind the keys, then the two
// barriers), and whose they are.
struct LightBlock {
  uint32_t at_q, at_k;
  int queries, keys, q_begin, kv_begin;
};

// All of the block's tiles of 64 queries against N keys. ALL: only the last 16 of them may not be real.
template <class T, int KEYS, int N, bool ALL, bool BIAS>
__device__ __forceinline__ void attend_light(const AttentionParams& p, const LightBlock& b, bool late) {
  const int thread = threadIdx.x, warp = thread >> 5, lane = thread & 31, r0 = lane >> 3, c = lane & 7;
  const uint32_t at_v = b.at_k + KEYS * 128, at_values = at_v + KEYS * 128 + 8;
  constexpr int kSure = ALL && !BIAS ? N - kBoxRows : 0;  // keys before this one need no look
  const float scale = BIAS ? 1.0f : p.scale_log2;
  for (int from = 0; from < b.queries; from += 64) {
    float s[N / 2];
    {
      const uint64_t q_tile = tile_descriptor(b.at_q + from * 128), k_tile = tile_descriptor(b.at_k);
      products_fence();
#pragma unroll
      for (int d = 0; d < 4; ++d) product_shared<T, N>(s, q_tile + d * 2, k_tile + d * 2, d != 0);
      products_commit();
      products_wait<0>();
    }
    const bool alive = from + warp * 16 < b.queries;  // one of this warp's rows is a query
    float sum_low = 0, sum_high = 0;                  // of rows lane/4 and lane/4 + 8
    if (alive) {
      const int mine = b.keys - (lane & 3) * 2;
#pragma unroll
      for (int n = kSure / 8; n < N / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float &x = s[4 * n + e], &y = s[4 * n + e + 2];
          bool hidden = n * 8 + e >= mine;
          if constexpr (BIAS) {
            const float bias = hidden ? -kInf : p.bias[b.kv_begin + n * 8 + (lane & 3) * 2 + e] * kLog2e;
            hidden = bias == -kInf;
            x = fmaf(x, p.scale_log2, bias), y = fmaf(y, p.scale_log2, bias);
          }
          if (hidden) x = y = -kInf;
        }
      }
      float top_low = -kInf, top_high = -kInf;
#pragma unroll
      for (int n = 0; n < N / 8; ++n) {
        top_low = fmaxf(top_low, fmaxf(s[4 * n], s[4 * n + 1]));
        top_high = fmaxf(top_high, fmaxf(s[4 * n + 2], s[4 * n + 3]));
      }
      top_low = quad_max(top_low) * scale, top_high = quad_max(top_high) * scale;
      // A finite stand-in for a maximum over nothing, so that hidden keys come out as exactly zero.
      const float base_low = top_low == -kInf ? 0.0f : top_low,
                  base_high = top_high == -kInf ? 0.0f : top_high;
#pragma unroll
      for (int n = 0; n < N / 8; ++n) {
        float* const e = s + 4 * n;
        e[0] = exp2_fast(fmaf(e[0], scale, -base_low)), e[1] = exp2_fast(fmaf(e[1], scale, -base_low));
        e[2] = exp2_fast(fmaf(e[2], scale, -base_high)), e[3] = exp2_fast(fmaf(e[3], scale, -base_high));
        sum_low += e[0] + e[1], sum_high += e[2] + e[3];
      }
      sum_low = quad_sum(sum_low), sum_high = quad_sum(sum_high);
      if (p.first_row && thread < 4 && from == 0 && blockIdx.x == 0) {
        const float inverse = sum_low == 0 ? 0.0f : 1.0f / sum_low;
        float* const to = p.first_row + static_cast<int64_t>(b.kv_begin) * p.heads + blockIdx.y;
#pragma unroll
        for (int n = 0; n < N / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const int key = n * 8 + thread * 2 + e;
            if (key < b.keys) to[static_cast<int64_t>(key) * p.heads] = s[4 * n + e] * inverse;
          }
        }
      }
    }
    uint32_t weights[N / 16][4];
#pragma unroll
    for (int n = 0; n < N / 16; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) weights[n][e] = pack2<T>(s[8 * n + 2 * e], s[8 * n + 2 * e + 1]);
    }
    if (from == 0) {  // whatever a hidden value holds, zero times it must be zero
      barrier_wait(at_values, 0);
#pragma unroll
      for (int r = kSure + (thread >> 3); r < N; r += 16) {
        bool hidden = r >= b.keys;
        if constexpr (BIAS) hidden = hidden || p.bias[b.kv_begin + r] == -kInf;
        if (hidden) clear_shared(at_v + r * 128 + c * 16);
      }
      fence_shared_for_async();
    }
    __syncthreads();
    float out[32];
    {
      const uint64_t v_tile = tile_descriptor(at_v);
      products_fence();
#pragma unroll
      for (int n = 0; n < N / 16; ++n)
        product_registers<T>(out, weights[n], v_tile + n * (2048 >> 4), n != 0);
      products_commit();
      products_wait<0>();
    }
    if (late && from + 64 >= b.queries) let_next_start();
    if (!alive) continue;
    const float inverse_low = sum_low == 0 ? 0.0f : 1.0f / sum_low,
                inverse_high = sum_high == 0 ? 0.0f : 1.0f / sum_high;
    // Through this warp's own query rows in shared memory, so that the stores are whole 16-byte chunks.
    const int row = from + warp * 16;
    const uint32_t at_rows = b.at_q + row * 128 + (lane & 15) * 128 + ((lane >> 4) ^ (lane & 7)) * 16;
#pragma unroll
    for (int d = 0; d < 4; ++d) {
      const float* const o = out + 8 * d;
      store_matrices(at_rows ^ (d * 32), pack2<T>(o[0] * inverse_low, o[1] * inverse_low),
                     pack2<T>(o[2] * inverse_high, o[3] * inverse_high),
                     pack2<T>(o[4] * inverse_low, o[5] * inverse_low),
                     pack2<T>(o[6] * inverse_high, o[7] * inverse_high));
    }
    __syncwarp();
    T* const to =
        static_cast<T*>(p.out) + (b.q_begin + row + r0) * p.out_row + blockIdx.y * p.out_head + c * 8;
    const uint32_t at_chunk = b.at_q + row * 128 + swizzled<8>(r0, c);
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // four rows down, the swizzle turns by four chunks
      const int4 chunk = load_shared((at_chunk + i * 512) ^ ((i & 1) * 64));
      if (row + r0 + 4 * i < b.queries) *reinterpret_cast<int4*>(to + 4 * i * p.out_row) = chunk;
    }
  }
}

// Blocks of a warpgroup. `room`: query rows a block has memory for, a multiple of 16. `late`: the next
// kernel's blocks may come only when this one's are all but done, so that they do not crowd where a place is
// free first.
template <class T, int KEYS, bool BIAS>
__global__ void __launch_bounds__(128, KEYS <= 64   ? 6
                                       : KEYS <= 96 ? 5
                                                    : 4)
    attention_light(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
                    const __grid_constant__ CUtensorMap v_map, const __grid_constant__ AttentionParams p,
                    int room, bool late) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char memory[];
  const int thread = threadIdx.x, warp = thread >> 5;
  if (!late) let_next_start();
  LightBlock b;
  b.at_q = shared_address(memory), b.at_k = b.at_q + room * 128;
  const uint32_t at_v = b.at_k + KEYS * 128, at_keys = at_v + KEYS * 128, at_values = at_keys + 8;
  if (warp == 0 && elected()) {
    if (b.at_q & 1023) __trap();
    prefetch_map(&q_map), prefetch_map(&k_map), prefetch_map(&v_map);
    barrier_init(at_keys, 1), barrier_init(at_values, 1);
    barrier_init_done();
  }
  __syncthreads();
  wait_for_previous();

  const int sequence = blockIdx.z, head = blockIdx.y, first = blockIdx.x * room;
  b.q_begin = p.q_offsets[sequence] + first, b.queries = min(p.q_offsets[sequence + 1] - b.q_begin, room);
  b.kv_begin = p.kv_offsets[sequence], b.keys = p.kv_offsets[sequence + 1] - b.kv_begin;
  if (b.queries <= 0) {
    if (p.first_row && first == 0) {  // of a sequence that asks nothing
      for (int j = thread; j < b.keys; j += 128)
        p.first_row[static_cast<int64_t>(b.kv_begin + j) * p.heads + head] = 0;
    }
    return;
  }
  const bool gathers = p.q_index != nullptr;
  if (elected()) {  // one thread of each warp
    const int boxes = (b.keys + kBoxRows - 1) / kBoxRows,
              asking = gathers ? 0 : (b.queries + kBoxRows - 1) / kBoxRows;
    if (warp == 0)
      barrier_expect(at_keys, (asking + boxes) * kBoxBytes), barrier_expect(at_values, boxes * kBoxBytes);
    for (int i = warp; i < asking; i += 4)
      tile_load_3d(b.at_q + i * kBoxBytes, &q_map, at_keys, 0, head, b.q_begin + i * kBoxRows);
    for (int i = warp; i < boxes; i += 4)
      tile_load_3d(b.at_k + i * kBoxBytes, &k_map, at_keys, 0, p.k_first + head, b.kv_begin + i * kBoxRows);
    for (int i = warp; i < boxes; i += 4)
      tile_load_3d(at_v + i * kBoxBytes, &v_map, at_values, 0, p.v_first + head, b.kv_begin + i * kBoxRows);
  }
  if (gathers) {
    const T* const q = static_cast<const T*>(p.q) + head * p.q_head;
    for (int i = thread; i < b.queries * 8; i += 128) {
      const int r = i >> 3, c = i & 7;
      *reinterpret_cast<int4*>(memory + swizzled<8>(r, c)) =
          *reinterpret_cast<const int4*>(q + p.q_index[b.q_begin + r] * p.q_row + c * 8);
    }
    fence_shared_for_async();
    __syncthreads();
  }
  barrier_wait(at_keys, 0);
  __syncwarp();
  if (b.keys > KEYS - 16) {
    attend_light<T, KEYS, KEYS, true, BIAS>(p, b, late);
  } else if (KEYS > 32 && b.keys > KEYS - 32) {
    attend_light<T, KEYS, KEYS - 16, true, BIAS>(p, b, late);
  } else {
    attend_light<T, KEYS, KEYS == 32 ? 16 : KEYS - 32, false, BIAS>(p, b, late);
  }
#endif
}

}  // namespace hedgerow::cuda
