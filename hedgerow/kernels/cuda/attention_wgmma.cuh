// SPDX-License-Identifier: Apache-2.0
// Ragged attention on Hopper's warpgroup products, head_dim 64: one or two warpgroups of 64 query rows share a ring of
// key and value blocks that the copy engine fills. Two such blocks live on a multiprocessor, so that one computes powers
// while the other multiplies.
//
// A key block may reach into the next sequence: its logits are replaced, and its value rows are zeroed in shared memory,
// so that nothing a neighbour holds (NaN included) can touch this sequence.
#pragma once

#include "hedgerow/kernels/cuda/attention.cuh"
#include "hedgerow/kernels/cuda/hopper.cuh"

namespace hedgerow::cuda {

constexpr int kRingKeys = 64, kRing = 4, kRingLag = 2;
constexpr int kTileBytes = 64 * 64 * 2;

constexpr size_t attention_wgmma_shared(int groups) { return 1024 + (groups + 2 * kRing) * kTileBytes + 2 * kRing * 8; }

template <class T, int GROUPS, bool BIAS>
__global__ void __launch_bounds__(GROUPS * 128, GROUPS == 1 ? 3 : 2)
    attention_wgmma(const __grid_constant__ CUtensorMap k_map, const __grid_constant__ CUtensorMap v_map,
                    const __grid_constant__ AttentionParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ unsigned char raw[];
  unsigned char* const memory = raw + ((1024 - (shared_address(raw) & 1023)) & 1023);
  const uint32_t at_q = shared_address(memory), at_k = at_q + GROUPS * kTileBytes, at_v = at_k + kRing * kTileBytes;
  const uint32_t at_full = at_v + kRing * kTileBytes, at_empty = at_full + kRing * 8;
  const int thread = threadIdx.x, group = thread >> 7, warp = (thread >> 5) & 3, lane = thread & 31;
  wait_for_previous();
  let_next_start();

  const int sequence = blockIdx.z, head = blockIdx.y, first = blockIdx.x * (64 * GROUPS);
  const int q_begin = p.q_offsets[sequence], queries = p.q_offsets[sequence + 1] - q_begin - first;
  const int kv_begin = p.kv_offsets[sequence], keys = p.kv_offsets[sequence + 1] - kv_begin;
  if (queries <= 0) return;
  const int groups = GROUPS == 2 && queries > 64 ? 2 : 1;
  const int blocks = (keys + kRingKeys - 1) / kRingKeys;

  auto fetch = [&](int block) {
    const int slot = block % kRing;
    barrier_expect(at_full + slot * 8, 2 * kTileBytes);
    tile_load_3d(at_k + slot * kTileBytes, &k_map, at_full + slot * 8, 0, head, kv_begin + block * kRingKeys);
    tile_load_3d(at_v + slot * kTileBytes, &v_map, at_full + slot * 8, 0, head, kv_begin + block * kRingKeys);
  };
  if (thread == 0) {
    for (int i = 0; i < kRing; ++i) {
      barrier_init(at_full + i * 8, 1);
      barrier_init(at_empty + i * 8, 4 * groups);
    }
    barrier_init_done();
    for (int i = 0; i < min(kRing, blocks); ++i) fetch(i);
  }
  {
    const T* const q = static_cast<const T*>(p.q) + head * p.q_head;
    unsigned char* const mine = memory + group * kTileBytes;
#pragma unroll
    for (int i = thread & 127; i < 64 * 8; i += 128) {
      const int r = i >> 3, c = i & 7;
      int4 value = make_int4(0, 0, 0, 0);
      if (group * 64 + r < queries) {
        int64_t row = q_begin + first + group * 64 + r;
        if (p.q_index) row = p.q_index[row];
        value = *reinterpret_cast<const int4*>(q + row * p.q_row + c * 8);
      }
      *reinterpret_cast<int4*>(mine + swizzled<8>(r, c)) = value;
    }
    fence_shared_for_async();
  }
  __syncthreads();
  if (group >= groups) return;

  float out[32];
#pragma unroll
  for (int i = 0; i < 32; ++i) out[i] = 0;
  SoftmaxRow low, high;
  const uint64_t q_tile = tile_descriptor(at_q + group * kTileBytes);

  for (int block = 0; block < blocks; ++block) {
    const int slot = block % kRing, left = keys - block * kRingKeys;
    barrier_wait(at_full + slot * 8, (block / kRing) & 1);
    float s[32];
    {
      const uint64_t k_tile = tile_descriptor(at_k + slot * kTileBytes);
      products_fence();
#pragma unroll
      for (int d = 0; d < 4; ++d) product_shared<T, 64>(s, q_tile + d * 2, k_tile + d * 2, d != 0);
      products_commit();
      products_wait<0>();
    }
    float top_low = -kInf, top_high = -kInf;
    if constexpr (BIAS) {
      const float* const bias = p.bias + kv_begin + block * kRingKeys;
#pragma unroll
      for (int n = 0; n < 16; ++n) {
        const int key = (n >> 1) * 8 + (lane & 3) * 2 + (n & 1);
        const float b = key < left ? bias[key] * kLog2e : -kInf;
        float& x = s[(n >> 1) * 4 + (n & 1)];
        float& y = s[(n >> 1) * 4 + (n & 1) + 2];
        x = b == -kInf ? b : fmaf(x, p.scale_log2, b);
        y = b == -kInf ? b : fmaf(y, p.scale_log2, b);
      }
    } else if (left < kRingKeys) {
#pragma unroll
      for (int n = 0; n < 16; ++n) {
        if ((n >> 1) * 8 + (lane & 3) * 2 + (n & 1) >= left) {
          s[(n >> 1) * 4 + (n & 1)] = s[(n >> 1) * 4 + (n & 1) + 2] = -kInf;
        }
      }
    }
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      top_low = fmaxf(top_low, fmaxf(s[4 * n], s[4 * n + 1]));
      top_high = fmaxf(top_high, fmaxf(s[4 * n + 2], s[4 * n + 3]));
    }
    // Logits are scaled inside the power: one product-and-add for both.
    const float scale = BIAS ? 1.0f : p.scale_log2;
    const float factor_low = low.raise(quad_max(top_low) * scale), factor_high = high.raise(quad_max(top_high) * scale);
    const float base_low = low.base(), base_high = high.base();
    float sum_low = 0, sum_high = 0;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      s[4 * n] = exp2_fast(fmaf(s[4 * n], scale, -base_low));
      s[4 * n + 1] = exp2_fast(fmaf(s[4 * n + 1], scale, -base_low));
      s[4 * n + 2] = exp2_fast(fmaf(s[4 * n + 2], scale, -base_high));
      s[4 * n + 3] = exp2_fast(fmaf(s[4 * n + 3], scale, -base_high));
      sum_low += s[4 * n] + s[4 * n + 1], sum_high += s[4 * n + 2] + s[4 * n + 3];
    }
    low.sum = low.sum * factor_low + sum_low, high.sum = high.sum * factor_high + sum_high;
    if (__any_sync(0xffffffffu, factor_low != 1.0f || factor_high != 1.0f)) {
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        out[4 * n] *= factor_low, out[4 * n + 1] *= factor_low;
        out[4 * n + 2] *= factor_high, out[4 * n + 3] *= factor_high;
      }
    }
    if (BIAS || left < kRingKeys) {
      const int r = thread & 127;
      bool hidden = r < kRingKeys && r >= left;
      if constexpr (BIAS) {
        if (r < kRingKeys && r < left) hidden = p.bias[kv_begin + block * kRingKeys + r] == -kInf;
      }
      if (hidden) {
        for (int c = 0; c < 8; ++c) {
          *reinterpret_cast<int4*>(memory + (at_v - at_q) + slot * kTileBytes + r * 128 + c * 16) = make_int4(0, 0, 0, 0);
        }
      }
      fence_shared_for_async();
      warpgroup_sync(1 + group);
    }
    uint32_t weights[4][4];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) weights[n][e] = pack2<T>(s[8 * n + 2 * e], s[8 * n + 2 * e + 1]);
    }
    const uint64_t v_tile = tile_descriptor(at_v + slot * kTileBytes);
    products_fence();
#pragma unroll
    for (int n = 0; n < 4; ++n) product_registers<T>(out, weights[n], v_tile + n * (2048 >> 4), 1);
    products_commit();
    products_wait<0>();
    if (lane == 0) barrier_arrive(at_empty + slot * 8);
    // Refill the slot of two blocks ago: by now the other warpgroup has most likely left it too.
    if (thread == 0 && block >= kRingLag && block - kRingLag + kRing < blocks) {
      const int done = block - kRingLag;
      barrier_wait(at_empty + (done % kRing) * 8, (done / kRing) & 1);
      fetch(done + kRing);
    }
    __syncwarp();
  }

  low.sum = quad_sum(low.sum), high.sum = quad_sum(high.sum);
  const float inverse_low = low.inverse(), inverse_high = high.inverse();
  unsigned char* const mine = memory + group * kTileBytes + warp * 2048;  // this warp's own query rows
  warpgroup_sync(1 + group);
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int r = lane >> 2;
    *reinterpret_cast<uint32_t*>(mine + swizzled<8>(r, n) + (lane & 3) * 4) =
        pack2<T>(out[4 * n] * inverse_low, out[4 * n + 1] * inverse_low);
    *reinterpret_cast<uint32_t*>(mine + swizzled<8>(r + 8, n) + (lane & 3) * 4) =
        pack2<T>(out[4 * n + 2] * inverse_high, out[4 * n + 3] * inverse_high);
  }
  __syncwarp();
  T* const to = static_cast<T*>(p.out) + head * p.out_head;
#pragma unroll
  for (int i = lane; i < 16 * 8; i += 32) {
    const int r = group * 64 + warp * 16 + (i >> 3), c = i & 7;
    if (r < queries) {
      *reinterpret_cast<int4*>(to + static_cast<int64_t>(q_begin + first + r) * p.out_row + c * 8) =
          *reinterpret_cast<const int4*>(mine + swizzled<8>(i >> 3, c));
    }
  }
#endif
}

}  // namespace hedgerow::cuda
