// SPDX-License-Identifier: Apache-2.0
// Ragged attention on Hopper's warpgroup products, head_dim 64: one or two warpgroups of 64 query rows share
// a ring of key and value blocks that the copy engine fills. Two such blocks live on a multiprocessor, so
// that one computes powers while the other multiplies. Where there are too few rows to fill the chip, two
// warpgroups take the same 64 rows and every other step of the keys each (HALVES), and meet at the end.
//
// A key block may reach into the next sequence: its logits are replaced, and its value rows are zeroed in
// shared memory, so that nothing a neighbour holds (NaN included) can touch this sequence.
#pragma once

#include "hedgerow/kernels/cuda/attention.cuh"
#include "hedgerow/kernels/cuda/hopper.cuh"

namespace hedgerow::cuda {

constexpr int kBoxKeys = 64, kRing = 3;  // a slot of the ring: two boxes of keys, two of values
constexpr int kTileBytes = 64 * 64 * 2;

constexpr size_t attention_wgmma_shared(int q_tiles) {
  return (q_tiles + 4 * kRing) * kTileBytes + 2 * kRing * 8;
}

// The accumulators of one 64-row tile and the softmax of this thread's two rows, lane/4 and lane/4 + 8 of its
// warp.
template <class T, bool BIAS>
struct AttentionTile {
  float out[32];
  SoftmaxRow low, high;

  // Takes N keys, of which `left` belong to the sequence. `bias`: of the first of them.
  template <int N>
  __device__ __forceinline__ void take(uint32_t at_q, uint32_t at_k, uint32_t at_v, unsigned char* values,
                                       int left, const float* bias, float scale_log2, int sync) {
    const int lane = threadIdx.x & 31;
    float s[N / 2];
    {
      const uint64_t q_tile = tile_descriptor(at_q), k_tile = tile_descriptor(at_k);
      products_fence();
#pragma unroll
      for (int d = 0; d < 4; ++d) product_shared<T, N>(s, q_tile + d * 2, k_tile + d * 2, d != 0);
      products_commit();
      products_wait<0>();
    }
    if (BIAS || left < N) {
#pragma unroll
      for (int n = 0; n < N / 4; ++n) {
        const int key = (n >> 1) * 8 + (lane & 3) * 2 + (n & 1);
        float& x = s[(n >> 1) * 4 + (n & 1)];
        float& y = s[(n >> 1) * 4 + (n & 1) + 2];
        float b = key < left ? 0.0f : -kInf;
        if constexpr (BIAS) {
          if (key < left) b = bias[key] * kLog2e;
          x = fmaf(x, scale_log2, b), y = fmaf(y, scale_log2, b);
        }
        if (b == -kInf) x = y = b;
      }
    }
    float top_low = -kInf, top_high = -kInf;
#pragma unroll
    for (int n = 0; n < N / 8; ++n) {
      top_low = fmaxf(top_low, fmaxf(s[4 * n], s[4 * n + 1]));
      top_high = fmaxf(top_high, fmaxf(s[4 * n + 2], s[4 * n + 3]));
    }
    // Logits are scaled inside the power: one multiply-add for both.
    const float scale = BIAS ? 1.0f : scale_log2;
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
    if (BIAS || left < N) {
      const int r = threadIdx.x & 127;
      bool hidden = r < N && r >= left;
      if constexpr (BIAS) {
        if (r < N && r < left) hidden = bias[r] == -kInf;
      }
      if (hidden) {
        for (int c = 0; c < 8; ++c)
          *reinterpret_cast<int4*>(values + r * 128 + c * 16) = make_int4(0, 0, 0, 0);
      }
      fence_shared_for_async();
      warpgroup_sync(sync);
    }
    float sum_low = 0, sum_high = 0;
    uint32_t weights[N / 16][4];
#pragma unroll
    for (int n = 0; n < N / 16; ++n) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float* const e = s + 8 * n + 4 * h;
        e[0] = exp2_fast(fmaf(e[0], scale, -base_low)), e[1] = exp2_fast(fmaf(e[1], scale, -base_low));
        e[2] = exp2_fast(fmaf(e[2], scale, -base_high)), e[3] = exp2_fast(fmaf(e[3], scale, -base_high));
        sum_low += e[0] + e[1], sum_high += e[2] + e[3];
        weights[n][2 * h] = pack2<T>(e[0], e[1]), weights[n][2 * h + 1] = pack2<T>(e[2], e[3]);
      }
    }
    low.sum = low.sum * factor_low + sum_low, high.sum = high.sum * factor_high + sum_high;
    const uint64_t v_tile = tile_descriptor(at_v);
    products_fence();
#pragma unroll
    for (int n = 0; n < N / 16; ++n) product_registers<T>(out, weights[n], v_tile + n * (2048 >> 4), 1);
    products_commit();
    products_wait<0>();
  }
};

template <class T, int GROUPS, bool HALVES, bool BIAS>
__global__ void __launch_bounds__(GROUPS * 128, 2)
    attention_wgmma(const __grid_constant__ CUtensorMap k_map, const __grid_constant__ CUtensorMap v_map,
                    const __grid_constant__ AttentionParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char ring[];
  unsigned char* const memory = ring;
  constexpr int kSlotBytes = 2 * kTileBytes, kQTiles = HALVES ? 1 : GROUPS;
  const uint32_t at_q = shared_address(memory), at_k = at_q + kQTiles * kTileBytes,
                 at_v = at_k + kRing * kSlotBytes;
  const uint32_t at_full = at_v + kRing * kSlotBytes, at_empty = at_full + kRing * 8;
  const int thread = threadIdx.x, group = thread >> 7, warp = (thread >> 5) & 3, lane = thread & 31;
  wait_for_previous();
  let_next_start();

  const int sequence = blockIdx.z, head = blockIdx.y, first = blockIdx.x * (64 * kQTiles);
  const int q_begin = p.q_offsets[sequence], queries = p.q_offsets[sequence + 1] - q_begin - first;
  const int kv_begin = p.kv_offsets[sequence], keys = p.kv_offsets[sequence + 1] - kv_begin;
  if (queries <= 0) return;
  const int groups = GROUPS == 2 && (HALVES || queries > 64) ? 2 : 1;
  const int steps = (keys + 2 * kBoxKeys - 1) / (2 * kBoxKeys);

  auto fetch = [&](int step) {
    const int slot = step % kRing, boxes = keys - step * 2 * kBoxKeys > kBoxKeys ? 2 : 1;
    barrier_expect(at_full + slot * 8, 2 * boxes * kTileBytes);
    for (int i = 0; i < boxes; ++i) {
      const int to = slot * kSlotBytes + i * kTileBytes, row = kv_begin + (step * 2 + i) * kBoxKeys;
      tile_load_3d(at_k + to, &k_map, at_full + slot * 8, 0, head, row);
      tile_load_3d(at_v + to, &v_map, at_full + slot * 8, 0, head, row);
    }
  };
  if (thread == 0) {
    if (at_q & 1023) __trap();
    for (int i = 0; i < kRing; ++i) {
      barrier_init(at_full + i * 8, 1);
      barrier_init(at_empty + i * 8, 4 * (HALVES ? 1 : groups));
    }
    barrier_init_done();
    for (int i = 0; i < min(kRing, steps); ++i) fetch(i);
  }
  {
    const T* const q = static_cast<const T*>(p.q) + head * p.q_head;
    const int tile = HALVES ? 0 : group;
    unsigned char* const mine = memory + tile * kTileBytes;
#pragma unroll
    for (int i = HALVES ? thread : thread & 127; i < 64 * 8; i += HALVES ? GROUPS * 128 : 128) {
      const int r = i >> 3, c = i & 7;
      int4 value = make_int4(0, 0, 0, 0);
      if (tile * 64 + r < queries) {
        int64_t row = q_begin + first + tile * 64 + r;
        if (p.q_index) row = p.q_index[row];
        value = *reinterpret_cast<const int4*>(q + row * p.q_row + c * 8);
      }
      *reinterpret_cast<int4*>(mine + swizzled<8>(r, c)) = value;
    }
    fence_shared_for_async();
  }
  __syncthreads();
  if (group >= groups) return;

  AttentionTile<T, BIAS> tile;
#pragma unroll
  for (int i = 0; i < 32; ++i) tile.out[i] = 0;

  const uint32_t at_my_q = at_q + (HALVES ? 0 : group * kTileBytes);
  for (int step = HALVES ? group : 0; step < steps; step += HALVES ? GROUPS : 1) {
    const int slot = step % kRing, left = keys - step * 2 * kBoxKeys, at = slot * kSlotBytes;
    const float* const bias = BIAS ? p.bias + kv_begin + step * 2 * kBoxKeys : nullptr;
    barrier_wait(at_full + slot * 8, (step / kRing) & 1);
    if (left > kBoxKeys) {
      tile.template take<128>(at_my_q, at_k + at, at_v + at, memory + (at_v - at_q) + at, left, bias,
                              p.scale_log2, 1 + group);
    } else {
      tile.template take<64>(at_my_q, at_k + at, at_v + at, memory + (at_v - at_q) + at, left, bias,
                             p.scale_log2, 1 + group);
    }
    if (lane == 0) barrier_arrive(at_empty + slot * 8);
    if constexpr (HALVES) {  // nobody else reads this slot
      if ((thread & 127) == 0 && step + kRing < steps) {
        barrier_wait(at_empty + slot * 8, (step / kRing) & 1);
        fetch(step + kRing);
      }
    } else if (thread == 0 && step >= 1 && step - 1 + kRing < steps) {
      // Refill the slot of the step before: by now the other warpgroup has most likely left it too.
      barrier_wait(at_empty + ((step - 1) % kRing) * 8, ((step - 1) / kRing) & 1);
      fetch(step - 1 + kRing);
    }
    __syncwarp();
  }

  tile.low.sum = quad_sum(tile.low.sum), tile.high.sum = quad_sum(tile.high.sum);
  if constexpr (HALVES) {
    float* const other =
        reinterpret_cast<float*>(memory + kTileBytes) + (thread & 127);  // over the keys of slot 0
    __syncthreads();
    if (group == 1) {
#pragma unroll
      for (int i = 0; i < 32; ++i) other[i * 128] = tile.out[i];
      other[32 * 128] = tile.low.top, other[33 * 128] = tile.low.sum;
      other[34 * 128] = tile.high.top, other[35 * 128] = tile.high.sum;
    }
    __syncthreads();
    if (group == 1) return;
    const float top_low = other[32 * 128], top_high = other[34 * 128];
    const float mine_low = tile.low.raise(top_low), mine_high = tile.high.raise(top_high);
    const float its_low = exp2_fast(top_low - tile.low.base()),
                its_high = exp2_fast(top_high - tile.high.base());
    tile.low.sum = tile.low.sum * mine_low + other[33 * 128] * its_low;
    tile.high.sum = tile.high.sum * mine_high + other[35 * 128] * its_high;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int i = 4 * n + e;
        tile.out[i] =
            tile.out[i] * (e < 2 ? mine_low : mine_high) + other[i * 128] * (e < 2 ? its_low : its_high);
      }
    }
  }
  const float inverse_low = tile.low.inverse(), inverse_high = tile.high.inverse();
  // Through this warp's own query rows in shared memory, so that the stores are whole 16-byte chunks.
  unsigned char* const mine = memory + (HALVES ? 0 : group * kTileBytes) + warp * 2048;
  warpgroup_sync(1 + group);
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int r = lane >> 2;
    *reinterpret_cast<uint32_t*>(mine + swizzled<8>(r, n) + (lane & 3) * 4) =
        pack2<T>(tile.out[4 * n] * inverse_low, tile.out[4 * n + 1] * inverse_low);
    *reinterpret_cast<uint32_t*>(mine + swizzled<8>(r + 8, n) + (lane & 3) * 4) =
        pack2<T>(tile.out[4 * n + 2] * inverse_high, tile.out[4 * n + 3] * inverse_high);
  }
  __syncwarp();
  T* const to = static_cast<T*>(p.out) + head * p.out_head;
#pragma unroll
  for (int i = lane; i < 16 * 8; i += 32) {
    const int r = (HALVES ? 0 : group * 64) + warp * 16 + (i >> 3), c = i & 7;
    if (r < queries) {
      *reinterpret_cast<int4*>(to + static_cast<int64_t>(q_begin + first + r) * p.out_row + c * 8) =
          *reinterpret_cast<const int4*>(mine + swizzled<8>(i >> 3, c));
    }
  }
#endif
}

}  // namespace hedgerow::cuda
