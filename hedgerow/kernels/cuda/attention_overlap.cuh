// SPDX-License-Identifier: Apache-2.0
// Ragged attention on warpgroup products, head_dim 64, like attention_wgmma.cuh, but each warpgroup works on
// two steps of keys at once: the products of logits for the next step and of values for this one are queued
// together, and the powers of the next step are computed while the values are still being multiplied.
#pragma once

#include "hedgerow/kernels/cuda/attention.cuh"
#include "hedgerow/kernels/cuda/hopper.cuh"

namespace hedgerow::cuda {

// GROUPS warpgroups of 64 query rows share a ring of steps of N keys.
template <int GROUPS, int N>
struct OverlapShape {
  static constexpr int kTile = 64 * 128, kStep = N * 128;  // bytes: 64 query rows; N keys or values
  static constexpr int kPerMultiprocessor = GROUPS == 2 ? 2 : 1;
  static constexpr int kRing = N == 64 ? 5 : 6;
  static constexpr size_t kShared = GROUPS * kTile + 2 * kRing * kStep + 3 * kRing * 8;
};

template <class T, int GROUPS, int N, bool BIAS>
__global__ void __launch_bounds__(GROUPS * 128, OverlapShape<GROUPS, N>::kPerMultiprocessor)
    attention_overlap(const __grid_constant__ CUtensorMap k_map, const __grid_constant__ CUtensorMap v_map,
                      const __grid_constant__ AttentionParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = OverlapShape<GROUPS, N>;
  constexpr int kRing = Shape::kRing;
  extern __shared__ __align__(1024) unsigned char ring[];
  unsigned char* const memory = ring;
  const uint32_t at_q = shared_address(memory), at_k = at_q + GROUPS * Shape::kTile,
                 at_v = at_k + kRing * Shape::kStep;
  const uint32_t at_keys = at_v + kRing * Shape::kStep, at_values = at_keys + kRing * 8,
                 at_empty = at_values + kRing * 8;
  const int thread = threadIdx.x, group = thread >> 7, warp = (thread >> 5) & 3, lane = thread & 31;
  wait_for_previous();
  let_next_start();

  const int sequence = blockIdx.z, head = blockIdx.y, first = blockIdx.x * (64 * GROUPS);
  const int q_begin = p.q_offsets[sequence], queries = p.q_offsets[sequence + 1] - q_begin - first;
  const int kv_begin = p.kv_offsets[sequence], keys = p.kv_offsets[sequence + 1] - kv_begin;
  if (queries <= 0) return;
  const int groups = min(GROUPS, (queries + 63) / 64), steps = (keys + N - 1) / N;

  auto fetch = [&](int step) {
    const int slot = step % kRing, row = kv_begin + step * N;
    barrier_expect(at_keys + slot * 8, Shape::kStep);
    tile_load_3d(at_k + slot * Shape::kStep, &k_map, at_keys + slot * 8, 0, head, row);
    barrier_expect(at_values + slot * 8, Shape::kStep);
    tile_load_3d(at_v + slot * Shape::kStep, &v_map, at_values + slot * 8, 0, head, row);
  };
  if (thread == 0) {
    if (at_q & 1023) __trap();
    for (int i = 0; i < kRing; ++i) {
      barrier_init(at_keys + i * 8, 1), barrier_init(at_values + i * 8, 1);
      barrier_init(at_empty + i * 8, 4 * groups);
    }
    barrier_init_done();
    for (int i = 0; i < min(kRing, steps); ++i) fetch(i);
  }
  {
    const T* const q = static_cast<const T*>(p.q) + head * p.q_head;
    unsigned char* const mine = memory + group * Shape::kTile;
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

  float out[32], s[N / 2];
  uint32_t weights[N / 16][4];
  SoftmaxRow low, high;
#pragma unroll
  for (int i = 0; i < 32; ++i) out[i] = 0;
  const uint64_t q_tile = tile_descriptor(at_q + group * Shape::kTile);
  const float scale = BIAS ? 1.0f : p.scale_log2;

  auto multiply_keys = [&](int step) {
    const uint64_t k_tile = tile_descriptor(at_k + step % kRing * Shape::kStep);
#pragma unroll
    for (int d = 0; d < 4; ++d) product_shared<T, N>(s, q_tile + d * 2, k_tile + d * 2, d != 0);
    products_commit();
  };
  auto multiply_values = [&](int step) {
    const uint64_t v_tile = tile_descriptor(at_v + step % kRing * Shape::kStep);
#pragma unroll
    for (int n = 0; n < N / 16; ++n) product_registers<T>(out, weights[n], v_tile + n * (2048 >> 4), 1);
    products_commit();
  };
  // Masks the logits, finds the new maxima, and turns logits into powers. What older sums must be multiplied
  // with comes back in `factor_low` and `factor_high`.
  auto powers = [&](int step, float& factor_low, float& factor_high) {
    const int left = keys - step * N;
    if (BIAS || left < N) {
#pragma unroll
      for (int n = 0; n < N / 4; ++n) {
        const int key = (n >> 1) * 8 + (lane & 3) * 2 + (n & 1);
        float& x = s[(n >> 1) * 4 + (n & 1)];
        float& y = s[(n >> 1) * 4 + (n & 1) + 2];
        float b = key < left ? 0.0f : -kInf;
        if constexpr (BIAS) {
          if (key < left) b = p.bias[kv_begin + step * N + key] * kLog2e;
          x = fmaf(x, p.scale_log2, b), y = fmaf(y, p.scale_log2, b);
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
    factor_low = low.raise(quad_max(top_low) * scale), factor_high = high.raise(quad_max(top_high) * scale);
    const float base_low = low.base(), base_high = high.base();
    float sum_low = 0, sum_high = 0;
#pragma unroll
    for (int n = 0; n < N / 8; ++n) {
      float* const e = s + 4 * n;
      e[0] = exp2_fast(fmaf(e[0], scale, -base_low)), e[1] = exp2_fast(fmaf(e[1], scale, -base_low));
      e[2] = exp2_fast(fmaf(e[2], scale, -base_high)), e[3] = exp2_fast(fmaf(e[3], scale, -base_high));
      sum_low += e[0] + e[1], sum_high += e[2] + e[3];
    }
    low.sum = low.sum * factor_low + sum_low, high.sum = high.sum * factor_high + sum_high;
  };
  auto pack_weights = [&] {
#pragma unroll
    for (int n = 0; n < N / 16; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) weights[n][e] = pack2<T>(s[8 * n + 2 * e], s[8 * n + 2 * e + 1]);
    }
  };
  // The values of the step are there, and hidden ones are zero: whatever they hold, zero times it must be
  // zero.
  auto values_ready = [&](int step) {
    const int slot = step % kRing, left = keys - step * N, r = thread & 127;
    barrier_wait(at_values + slot * 8, (step / kRing) & 1);
    if (BIAS || left < N) {
      bool hidden = r < N && r >= left;
      if constexpr (BIAS) {
        if (r < N && r < left) hidden = p.bias[kv_begin + step * N + r] == -kInf;
      }
      if (hidden) {
        unsigned char* const row = memory + (at_v - at_q) + slot * Shape::kStep + r * 128;
        for (int c = 0; c < 8; ++c) *reinterpret_cast<int4*>(row + c * 16) = make_int4(0, 0, 0, 0);
      }
      fence_shared_for_async();
      warpgroup_sync(1 + group);
    }
  };
  auto leave = [&](int step) {
    if (lane == 0) barrier_arrive(at_empty + step % kRing * 8);
    // Refill the slot of the step before: by now the other warpgroups have most likely left it too.
    if (thread == 0 && step >= 1 && step - 1 + kRing < steps) {
      barrier_wait(at_empty + (step - 1) % kRing * 8, ((step - 1) / kRing) & 1);
      fetch(step - 1 + kRing);
    }
    __syncwarp();
  };

  if (steps > 0) {
    float factor_low, factor_high;
    barrier_wait(at_keys, 0);
    products_fence();
    multiply_keys(0);
    products_wait<0>();
    powers(0, factor_low, factor_high);
    pack_weights();
    for (int step = 1; step < steps; ++step) {
      barrier_wait(at_keys + step % kRing * 8, (step / kRing) & 1);
      values_ready(step - 1);
      products_fence();
      multiply_keys(step);
      multiply_values(step - 1);
      products_wait<1>();  // the logits
      keep_registers(s);
      powers(step, factor_low, factor_high);
      products_wait<0>();  // the values
      keep_registers(out);
#pragma unroll
      for (int n = 0; n < N / 16; ++n) keep_registers(weights[n]);
      leave(step - 1);
      if (__any_sync(0xffffffffu, factor_low != 1.0f || factor_high != 1.0f)) {
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          out[4 * n] *= factor_low, out[4 * n + 1] *= factor_low;
          out[4 * n + 2] *= factor_high, out[4 * n + 3] *= factor_high;
        }
      }
      pack_weights();
    }
    values_ready(steps - 1);
    products_fence();
    multiply_values(steps - 1);
    products_wait<0>();
  }

  low.sum = quad_sum(low.sum), high.sum = quad_sum(high.sum);
  const float inverse_low = low.inverse(), inverse_high = high.inverse();
  // Through this warp's own query rows in shared memory, so that the stores are whole 16-byte chunks.
  unsigned char* const mine = memory + group * Shape::kTile + warp * 2048;
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
