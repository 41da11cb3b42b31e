// SPDX-License-Identifier: Apache-2.0
// Ragged attention on Hopper's warpgroup products, head_dim 64: a block takes one or two tiles (Q_TILES) of
// 64 query rows, which share a ring of steps of 128 keys and values that the copy engine fills. Two blocks
// live on a multiprocessor, so that one computes powers while the other multiplies. Where there are too few
// tiles to fill the chip, two warpgroups (SPLIT) take every other step of one tile and meet at the end.
//
// A step may reach into the next sequence: its logits are replaced, and its value rows are zeroed in shared
// memory, so that nothing a neighbour holds (NaN included) can touch this sequence.
#pragma once

#include "hedgerow/kernels/cuda/attention/attention.cuh"
#include "hedgerow/kernels/cuda/hopper.cuh"

namespace hedgerow::cuda {

constexpr int kBoxKeys = 64, kStepKeys = 2 * kBoxKeys;  // a copy's rows; a step's
constexpr int kTileBytes = 64 * 128;

constexpr int kRing = 3;

constexpr size_t attention_wgmma_shared(int q_tiles) {
  return (q_tiles + 4 * kRing) * kTileBytes + (3 * kRing + 1) * 8;
}

// What a warpgroup needs to know of one step. Addresses are in shared memory.
struct AttentionStep {
  uint32_t at_k, at_v, at_keys, at_values, parity;  // tiles, and the barriers that say that they are there
  unsigned char* values;                            // the tile at at_v
  int left;                                         // keys from this step's first to the sequence's end
  const float* bias;                                // of the first key
  float* first_row;  // where this thread puts the first query's logits, or null
};

// The accumulators of one 64-row tile and the softmax of this thread's two rows, lane/4 and lane/4 + 8 of its
// warp.
template <class T, bool BIAS>
struct AttentionTile {
  float out[32];
  SoftmaxRow low, high;

  // Takes N keys. ALL: all of them are the sequence's; else all but some of the last 32 are.
  template <int N, bool ALL>
  __device__ __forceinline__ void take(const AttentionParams& p, const AttentionStep& step, uint32_t at_q,
                                       bool alive, int sync) {
    const int lane = threadIdx.x & 31;
    constexpr bool kMasks = BIAS || !ALL;
    constexpr int kSure = BIAS ? 0 : N - 32;  // keys before this one need no look
    float s[N / 2];
    barrier_wait(step.at_keys, step.parity);
    {
      const uint64_t q_tile = tile_descriptor(at_q), k_tile = tile_descriptor(step.at_k);
      products_fence();
#pragma unroll
      for (int d = 0; d < 4; ++d) product_shared<T, N>(s, q_tile + d * 2, k_tile + d * 2, d != 0);
      products_commit();
      products_wait<0>();
    }
    if (alive) {
      const float scale = BIAS ? 1.0f : p.scale_log2;
      if constexpr (kMasks) {
        const int mine = step.left - (lane & 3) * 2;
#pragma unroll
        for (int n = kSure / 8; n < N / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float &x = s[4 * n + e], &y = s[4 * n + e + 2];
            bool hidden = n * 8 + e >= mine;
            if constexpr (BIAS) {
              const float b = hidden ? -kInf : step.bias[n * 8 + (lane & 3) * 2 + e] * kLog2e;
              hidden = b == -kInf;
              x = fmaf(x, p.scale_log2, b), y = fmaf(y, p.scale_log2, b);
            }
            if (hidden) x = y = -kInf;
          }
        }
      }
      if (step.first_row) {
#pragma unroll
        for (int n = 0; n < N / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const int key = n * 8 + (lane & 3) * 2 + e;
            if (ALL || key < step.left)
              step.first_row[static_cast<int64_t>(key) * p.heads] = s[4 * n + e] * scale;
          }
        }
      }
      float top_low = -kInf, top_high = -kInf;
#pragma unroll
      for (int n = 0; n < N / 8; ++n) {
        top_low = fmaxf(top_low, fmaxf(s[4 * n], s[4 * n + 1]));
        top_high = fmaxf(top_high, fmaxf(s[4 * n + 2], s[4 * n + 3]));
      }
      // Logits are scaled inside the power: one multiply-add for both.
      const float factor_low = low.raise(quad_max(top_low) * scale),
                  factor_high = high.raise(quad_max(top_high) * scale);
      const float base_low = low.base(), base_high = high.base();
      if (__any_sync(0xffffffffu, factor_low != 1.0f || factor_high != 1.0f)) {
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          out[4 * n] *= factor_low, out[4 * n + 1] *= factor_low;
          out[4 * n + 2] *= factor_high, out[4 * n + 3] *= factor_high;
        }
      }
      float sum_low = 0, sum_high = 0;
#pragma unroll
      for (int n = 0; n < N / 16; ++n) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float* const e = s + 8 * n + 4 * h;
          e[0] = exp2_fast(fmaf(e[0], scale, -base_low)), e[1] = exp2_fast(fmaf(e[1], scale, -base_low));
          e[2] = exp2_fast(fmaf(e[2], scale, -base_high)), e[3] = exp2_fast(fmaf(e[3], scale, -base_high));
          sum_low += e[0] + e[1], sum_high += e[2] + e[3];
        }
      }
      low.sum = low.sum * factor_low + sum_low, high.sum = high.sum * factor_high + sum_high;
    }
    uint32_t weights[N / 16][4];
#pragma unroll
    for (int n = 0; n < N / 16; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) weights[n][e] = pack2<T>(s[8 * n + 2 * e], s[8 * n + 2 * e + 1]);
    }
    barrier_wait(step.at_values, step.parity);
    if constexpr (kMasks) {  // whatever a hidden value holds, zero times it must be zero
#pragma unroll
      for (int r = kSure + ((threadIdx.x & 127) >> 3); r < N; r += 16) {
        bool hidden = r >= step.left;
        if constexpr (BIAS) hidden = hidden || step.bias[r] == -kInf;
        if (hidden) *reinterpret_cast<int4*>(step.values + r * 128 + (lane & 7) * 16) = make_int4(0, 0, 0, 0);
      }
      fence_shared_for_async();
      warpgroup_sync(sync);
    }
    const uint64_t v_tile = tile_descriptor(step.at_v);
    products_fence();
#pragma unroll
    for (int n = 0; n < N / 16; ++n) product_registers<T>(out, weights[n], v_tile + n * (2048 >> 4), 1);
    products_commit();
    products_wait<0>();
  }

  // Another warpgroup's part of the same rows, as it left it: 36 floats, `stride` apart.
  __device__ __forceinline__ void add(const float* other, int stride) {
    const float top_low = other[32 * stride], top_high = other[34 * stride];
    const float mine_low = low.raise(top_low), mine_high = high.raise(top_high);
    const float its_low = exp2_fast(top_low - low.base()), its_high = exp2_fast(top_high - high.base());
    low.sum = low.sum * mine_low + other[33 * stride] * its_low;
    high.sum = high.sum * mine_high + other[35 * stride] * its_high;
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      const bool upper = (i & 2) == 0;
      out[i] = out[i] * (upper ? mine_low : mine_high) + other[i * stride] * (upper ? its_low : its_high);
    }
  }
  __device__ __forceinline__ void leave(float* to, int stride) const {
#pragma unroll
    for (int i = 0; i < 32; ++i) to[i * stride] = out[i];
    to[32 * stride] = low.top, to[33 * stride] = low.sum, to[34 * stride] = high.top,
            to[35 * stride] = high.sum;
  }
};

// `late`: as in attention/light.cuh.
template <class T, int Q_TILES, int SPLIT, bool BIAS>
__global__ void __launch_bounds__(Q_TILES* SPLIT * 128, 2)
    attention_wgmma(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
                    const __grid_constant__ CUtensorMap v_map, const __grid_constant__ AttentionParams p,
                    bool late) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char memory[];
  static_assert(Q_TILES * SPLIT <= 2);
  constexpr int kSlotBytes = 2 * kTileBytes;
  const uint32_t at_q = shared_address(memory), at_k = at_q + Q_TILES * kTileBytes,
                 at_v = at_k + kRing * kSlotBytes;
  const uint32_t at_keys = at_v + kRing * kSlotBytes, at_values = at_keys + kRing * 8,
                 at_empty = at_values + kRing * 8, at_query = at_empty + kRing * 8;
  const int thread = threadIdx.x, group = warp_index() >> 2, warp = warp_index() & 3, lane = thread & 31;
  const int tile = group / SPLIT, part = group % SPLIT;
  if (!late) let_next_start();
  if (thread < 32 && elected()) {
    if (at_q & 1023) __trap();
    prefetch_map(&q_map), prefetch_map(&k_map), prefetch_map(&v_map);
    for (int i = 0; i < kRing; ++i) {
      barrier_init(at_keys + i * 8, 1), barrier_init(at_values + i * 8, 1);
      barrier_init(at_empty + i * 8, 4 * Q_TILES);
    }
    barrier_init(at_query, 1);
    barrier_init_done();
  }
  __syncthreads();
  wait_for_previous();

  const int sequence = blockIdx.z, head = blockIdx.y, first = blockIdx.x * (64 * Q_TILES);
  const int q_begin = alike(p.q_offsets[sequence]),
            queries = alike(p.q_offsets[sequence + 1]) - q_begin - first;
  const int kv_begin = alike(p.kv_offsets[sequence]), keys = alike(p.kv_offsets[sequence + 1]) - kv_begin;
  float* const first_row =
      p.first_row && first == 0 ? p.first_row + static_cast<int64_t>(kv_begin) * p.heads + head : nullptr;
  if (queries <= 0) {
    if (first_row) {
      for (int j = thread; j < keys; j += blockDim.x) first_row[static_cast<int64_t>(j) * p.heads] = 0;
    }
    return;
  }
  const int tiles = Q_TILES == 2 && queries > 64 ? 2 : 1, steps = (keys + kStepKeys - 1) / kStepKeys;

  // By one thread.
  auto fetch = [&](int step) {
    const int slot = step % kRing, boxes = keys - step * kStepKeys > kBoxKeys ? 2 : 1;
    const uint32_t to = slot * kSlotBytes, keys_come = at_keys + slot * 8, values_come = at_values + slot * 8;
    const int row = kv_begin + step * kStepKeys;
    barrier_expect(keys_come, boxes * kTileBytes);
    tile_load_3d(at_k + to, &k_map, keys_come, 0, p.k_first + head, row);
    if (boxes == 2)
      tile_load_3d(at_k + to + kTileBytes, &k_map, keys_come, 0, p.k_first + head, row + kBoxKeys);
    barrier_expect(values_come, boxes * kTileBytes);
    tile_load_3d(at_v + to, &v_map, values_come, 0, p.v_first + head, row);
    if (boxes == 2)
      tile_load_3d(at_v + to + kTileBytes, &v_map, values_come, 0, p.v_first + head, row + kBoxKeys);
  };
  if (thread < 32 && elected()) {
    if (!p.q_index) {
      barrier_expect(at_query, tiles * kTileBytes);
      tile_load_3d(at_q, &q_map, at_query, 0, head, q_begin + first);
      if (tiles == 2) tile_load_3d(at_q + kTileBytes, &q_map, at_query, 0, head, q_begin + first + 64);
    }
    for (int i = 0; i < min(kRing, steps); ++i) fetch(i);
  }
  if (p.q_index) {
    const T* const q = static_cast<const T*>(p.q) + head * p.q_head;
    for (int i = thread; i < tiles * 64 * 8; i += blockDim.x) {
      const int r = i >> 3, c = i & 7;
      int4 value = make_int4(0, 0, 0, 0);
      if (r < queries)
        value = *reinterpret_cast<const int4*>(q + p.q_index[q_begin + first + r] * p.q_row + c * 8);
      *reinterpret_cast<int4*>(memory + swizzled<8>(r, c)) = value;
    }
    fence_shared_for_async();
    __syncthreads();
  }
  if (tile >= tiles) return;
  if (!p.q_index) barrier_wait(at_query, 0);

  AttentionTile<T, BIAS> rows;
#pragma unroll
  for (int i = 0; i < 32; ++i) rows.out[i] = 0;
  const uint32_t at_my_q = at_q + tile * kTileBytes;
  const bool alive = tile * 64 + warp * 16 < queries;
  const bool tells = first_row && tile == 0 && warp == 0 && lane < 4;  // has logits of the first query
  for (int i = part; i < steps; i += SPLIT) {
    const int slot = i % kRing, at = slot * kSlotBytes, from = i * kStepKeys, left = keys - from;
    const AttentionStep step{at_k + at,
                             at_v + at,
                             at_keys + slot * 8,
                             at_values + slot * 8,
                             (i / kRing) & 1u,
                             memory + (at_v - at_q) + at,
                             left,
                             BIAS ? p.bias + kv_begin + from : nullptr,
                             tells ? first_row + static_cast<int64_t>(from) * p.heads : nullptr};
    if constexpr (BIAS) {  // half a step at a time: the biases need registers too
      AttentionStep half = step;
      for (; half.left > 0 && half.left > left - kStepKeys; half.left -= kBoxKeys) {
        rows.template take<64, false>(p, half, at_my_q, alive, 1 + group);
        half.at_k += kTileBytes, half.at_v += kTileBytes, half.values += kTileBytes, half.bias += kBoxKeys;
        if (half.first_row) half.first_row += static_cast<int64_t>(kBoxKeys) * p.heads;
      }
    } else if (left >= 128) {
      rows.template take<128, true>(p, step, at_my_q, alive, 1 + group);
    } else if (left > 96) {
      rows.template take<128, false>(p, step, at_my_q, alive, 1 + group);
    } else if (left > 64) {
      rows.template take<96, false>(p, step, at_my_q, alive, 1 + group);
    } else if (left > 32) {
      rows.template take<64, false>(p, step, at_my_q, alive, 1 + group);
    } else {
      rows.template take<32, false>(p, step, at_my_q, alive, 1 + group);
    }
    if (lane == 0) barrier_arrive(at_empty + slot * 8, Q_TILES / tiles);  // also for a tile that is not there
    // Refill this slot, or, where another tile reads it too, the one before: by now most likely free as well.
    const int done = Q_TILES == 1 ? i : i - 1;
    if (tile == 0 && warp == 0 && done >= 0 && done + kRing < steps) {
      barrier_wait(at_empty + done % kRing * 8, (done / kRing) & 1);
      __syncwarp();
      if (elected()) fetch(done + kRing);
    }
    __syncwarp();
  }

  if (late) let_next_start();
  rows.low.sum = quad_sum(rows.low.sum), rows.high.sum = quad_sum(rows.high.sum);
  if constexpr (SPLIT == 2) {
    float* const other = reinterpret_cast<float*>(memory + kTileBytes) + (thread & 127);  // over the ring
    __syncthreads();
    if (part == 1) rows.leave(other, 128);
    __syncthreads();
    if (part == 1) return;
    rows.add(other, 128);
  }
  const float inverse_low = rows.low.inverse(), inverse_high = rows.high.inverse();
  // Through this warp's own query rows in shared memory, so that the stores are whole 16-byte chunks.
  unsigned char* const mine = memory + tile * kTileBytes + warp * 2048;
  warpgroup_sync(1 + group);
  const uint32_t at_rows = shared_address(mine) + (lane & 15) * 128 + ((lane >> 4) ^ (lane & 7)) * 16;
#pragma unroll
  for (int d = 0; d < 4; ++d) {
    const float* const o = rows.out + 8 * d;
    store_matrices(at_rows ^ (d * 32), pack2<T>(o[0] * inverse_low, o[1] * inverse_low),
                   pack2<T>(o[2] * inverse_high, o[3] * inverse_high),
                   pack2<T>(o[4] * inverse_low, o[5] * inverse_low),
                   pack2<T>(o[6] * inverse_high, o[7] * inverse_high));
  }
  __syncwarp();
  const int r0 = lane >> 3, c = lane & 7, row = tile * 64 + warp * 16 + r0;
  T* const to = static_cast<T*>(p.out) + (q_begin + first + row) * p.out_row + head * p.out_head + c * 8;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (row + 4 * i < queries)
      *reinterpret_cast<int4*>(to + 4 * i * p.out_row) =
          *reinterpret_cast<const int4*>(mine + swizzled<8>(r0 + 4 * i, c));
  }
  if (first_row && tile == 0) {                              // logits to probabilities
    float* const shared = reinterpret_cast<float*>(memory);  // over rows that warp 0 has stored
    __syncwarp();
    if (thread == 0) shared[0] = rows.low.base(), shared[1] = inverse_low;
    warpgroup_sync(1 + group);
    const float base = shared[0], inverse = shared[1];
    for (int j = thread; j < keys; j += 128) {
      float& x = first_row[static_cast<int64_t>(j) * p.heads];
      x = exp2_fast(x - base) * inverse;
    }
  }
#endif
}

}  // namespace hedgerow::cuda
