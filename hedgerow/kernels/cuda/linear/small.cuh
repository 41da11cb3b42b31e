// SPDX-License-Identifier: Apache-2.0
// Products of few rows, where a kernel's latency is its time. A tile is 64 or 128 outputs by a few rows (8 to
// 128): the weights are the wide operand of the warpgroup products, so that the rows can be cut as finely as
// it takes to give every multiprocessor one tile, and none computes much more than what is there.
//
//  - All that no earlier kernel wrote (weights, bias, gamma, beta) is on its way before the wait for the
//  kernel before; what comes after the wait is asked for at once: rows, residual, row count.
//  - The rows come through the copy engine, or through the threads: copied, or layer-normalised on the way.
//  Where the weights took the rest of a layer norm in (fold_norm), the finished sums are divided by the rows'
//  deviation.
//  - Long k: a cluster shares a tile, each block takes a range of k and pushes its partial sums to the block
//  that finishes them. They are added in the order of the ranges.
#pragma once

#include "hedgerow/kernels/cuda/linear/small_shape.cuh"

namespace hedgerow::cuda {

// KSTEPS: room for k in steps of 64 where rows are normalised. WARPS: those that bring the rows, or (divided)
// look at them; the first 4 * GROUPS of them multiply.
template <class T, Source SOURCE, int R, int GROUPS, int KSTEPS, int WARPS>
__global__ void __launch_bounds__(SmallShape<R, GROUPS, WARPS>::kThreads)
    linear_small(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map,
                 const __grid_constant__ SmallParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = SmallShape<R, GROUPS, WARPS>;
  constexpr bool kDivided = SOURCE == Source::divided, kFetched = SOURCE == Source::fetched || kDivided;
  constexpr bool kNormed = SOURCE == Source::normed || SOURCE == Source::normed_f32;
  extern __shared__ __align__(1024) unsigned char memory[];
  let_next_start();
  const uint32_t at_x = shared_address(memory), at_w = at_x + p.at_w, at_sum = at_x + p.at_barriers,
                 at_full = at_sum + 8, at_empty = at_full + p.stages * 8;
  const int thread = threadIdx.x, warp = warp_index(), lane = thread & 31;
  // A cluster: parts of k, a power of two.
  const int ranks_log = kNormed || kDivided ? 0 : p.ranks_log, ranks = 1 << ranks_log;
  const int rank = ranks > 1 ? static_cast<int>(cluster_rank()) : 0;
  const int all_steps = (p.k + 63) >> 6;
  const int begin = all_steps * rank >> ranks_log, steps = (all_steps * (rank + 1) >> ranks_log) - begin;
  const int row0 = blockIdx.y * R, col0 = static_cast<int>(blockIdx.x >> ranks_log) * Shape::kOutputs;

  auto load_w = [&](int slot, int step) {
    tile_load_2d(at_w + slot * Shape::kWStage, &w_map, at_full + slot * 8, (begin + step) * 64, col0);
  };
  auto load_x = [&](int slot, int step) {
    tile_load_2d(at_x + slot * Shape::kXStage, &x_map, at_full + slot * 8, (begin + step) * 64, row0);
  };
  constexpr int kBytes = Shape::kWStage + (kFetched ? Shape::kXStage : 0);
  const int ahead = min(p.stages, steps);
  if (thread == WARPS * 32) {
    if (at_x & 1023) __trap();
    prefetch_map(&w_map);
    if constexpr (kFetched) prefetch_map(&x_map);
    barrier_init(at_sum, 1);
#pragma unroll 1
    for (int i = 0; i < p.stages; ++i) {
      barrier_init(at_full + i * 8, 1);
      barrier_init(at_empty + i * 8, kDivided ? WARPS : GROUPS * 4);
    }
    barrier_init_done();
#pragma unroll 1
    for (int s = 0; s < ahead; ++s) {
      barrier_expect(at_full + s * 8, kBytes);
      load_w(s, s);
    }
    if (ranks > 1) {
      const int first = (rank * Shape::kDeals + ranks - 1) >> ranks_log,
                end = ((rank + 1) * Shape::kDeals + ranks - 1) >> ranks_log;
      barrier_expect(at_sum, (ranks - 1) * (end - first) * Shape::kMultipliers * Shape::kDeal * 4);
    }
  }
  float bias_low = 0, bias_high = 0;
  if (warp < GROUPS * 4 && col0 < p.n) {
    const float* const bias = p.bias + col0 + warp * 16 + (lane >> 2);
    bias_low = __ldg(bias), bias_high = __ldg(bias + 8);
  }
  float* const norm = reinterpret_cast<float*>(memory + p.at_norm);
  if constexpr (kNormed) {
    constexpr int kTurns = (KSTEPS * 64 + Shape::kThreads - 1) / Shape::kThreads;
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
      const int i = turn * Shape::kThreads + thread;
      if (i < KSTEPS * 64) norm[i] = __ldg(p.gamma + i), norm[KSTEPS * 64 + i] = __ldg(p.beta + i);
    }
  }
  __syncwarp();
  if (ranks > 1) {
    cluster_sync();  // nobody sends to a block that has not set its barriers up
  } else {
    __syncthreads();
  }
  __syncwarp();
  wait_for_previous();

  if (warp == WARPS) {
    if (lane == 0) {
      if constexpr (kFetched) {
#pragma unroll 1
        for (int s = 0; s < ahead; ++s) load_x(s, s);
      }
      if (row0 < *p.rows) {
        int slot = 0;
        uint32_t phase = 0;
#pragma unroll 1
        for (int s = ahead; s < steps; ++s) {
          barrier_wait(at_empty + slot * 8, phase);
          barrier_expect(at_full + slot * 8, kBytes);
          load_w(slot, s);
          if constexpr (kFetched) load_x(slot, s);
          if (++slot == p.stages) slot = 0, phase ^= 1;
        }
      } else {  // what was fetched must land before the memory is given up
#pragma unroll 1
        for (int s = 0; s < ahead; ++s) barrier_wait(at_full + s * 8, 0);
      }
    }
    return;
  }

  const int rows = load_early(p.rows);
  if constexpr (SOURCE == Source::copied) copy_rows<T, R, WARPS * 32>(p, row0, begin, steps, at_x);
  if constexpr (SOURCE == Source::normed) normalise_rows<T, T, R, KSTEPS, WARPS>(p, row0, memory, norm);
  if constexpr (SOURCE == Source::normed_f32)
    normalise_rows<T, float, R, KSTEPS, WARPS>(p, row0, memory, norm);
  if (!kDivided && WARPS > GROUPS * 4 && warp >= GROUPS * 4) {
    fence_shared_for_async();
    threads_arrive<WARPS * 32>(1);
    return;
  }

  // This thread finishes outputs 8 chunk .. 8 chunk + 7 of rows first, first + 16, ...: of its own warp's
  // sums.
  const int chunk = warp * 2 + (lane & 1), first = lane >> 1, col = col0 + chunk * 8;
  auto mine = [&](int row) {
    return row < R && col < p.n &&
           (ranks == 1 || owner_of<Shape>(deal_of<Shape>(row, chunk), ranks_log) == rank);
  };
  uint4 residual[Shape::kRounds][2] = {};
  if (p.residual) {
#pragma unroll
    for (int i = 0; i < Shape::kRounds; ++i) {
      const int row = first + i * 16;
      if (!mine(row) || row0 + row >= p.capacity) continue;
      const int64_t at = (row0 + row) * p.residual_row + col;
      if (p.residual_f32) {
        const uint4* const from = reinterpret_cast<const uint4*>(static_cast<const float*>(p.residual) + at);
        residual[i][0] = from[0], residual[i][1] = from[1];
      } else {
        residual[i][0] = *reinterpret_cast<const uint4*>(static_cast<const T*>(p.residual) + at);
      }
    }
  }
  if constexpr (SOURCE == Source::copied) copies_wait<0>();
  if constexpr (!kFetched) {
    fence_shared_for_async();
    threads_sync<WARPS * 32>(1);
  }
  if (row0 >= alike(rows)) return;  // so do all blocks of a cluster

  const bool recycles = steps > p.stages;
  if constexpr (kDivided) {
    if (warp >= GROUPS * 4) {
      Deviation<T, R> deviation(thread - Shape::kMultipliers);
      int slot = 0;
      uint32_t phase = 0;
#pragma unroll 1
      for (int s = 0; s < steps; ++s) {
        barrier_wait(at_full + slot * 8, phase);
        deviation.take(at_x + slot * Shape::kXStage);
        __syncwarp();
        if (recycles && lane == 0) barrier_arrive(at_empty + slot * 8);
        if (++slot == p.stages) slot = 0, phase ^= 1;
      }
      deviation.leave(norm, p);
      threads_arrive<WARPS * 32>(1);
      return;
    }
  }
  float sums[R / 2];
  {
    int slot = 0;
    uint32_t phase = 0;
#pragma unroll 1
    for (int s = 0; s < steps; ++s) {
      barrier_wait(at_full + slot * 8, phase);
      const uint64_t w =
          tile_descriptor(at_w + slot * Shape::kWStage + (GROUPS == 1 ? 0 : (warp >> 2) * 8192));
      const uint64_t x = tile_descriptor(at_x + (kFetched ? slot : s) * Shape::kXStage);
      products_fence();
#pragma unroll
      for (int i = 0; i < 4; ++i) product_shared<T, R>(sums, w + i * 2, x + i * 2, (s | i) != 0);
      products_commit();
      if (recycles && s > 0) {
        products_wait<1>();
        if (lane == 0) barrier_arrive(at_empty + (slot == 0 ? p.stages - 1 : slot - 1) * 8);
      }
      if (++slot == p.stages) slot = 0, phase ^= 1;
    }
    products_wait<0>();
    keep_registers(sums);
  }
  if constexpr (!kNormed && !kDivided) {
    if (ranks == 2) exchange_sums<Shape, 2>(sums, rank, at_x + p.at_parts, at_sum);
    if (ranks == 4) exchange_sums<Shape, 4>(sums, rank, at_x + p.at_parts, at_sum);
    if (ranks == 8) exchange_sums<Shape, 8>(sums, rank, at_x + p.at_parts, at_sum);
  }

  // Through shared memory, transposed: a thread has one output of many rows and stores many outputs of one.
  const int at_finished = Shape::kApart ? p.at_finished : 0;
  float* const finished = reinterpret_cast<float*>(memory + at_finished);
  if constexpr (!Shape::kApart) threads_sync<Shape::kMultipliers>(2);  // every product has read its tiles
  if constexpr (kDivided) {
    threads_sync<WARPS * 32>(1);
#pragma unroll
    for (int e = 0; e < R / 2; e += 4) {
      const float2 by = *reinterpret_cast<const float2*>(norm + e * 2 + (lane & 3) * 2);
      sums[e] *= by.x, sums[e + 1] *= by.y, sums[e + 2] *= by.x, sums[e + 3] *= by.y;
    }
  }
  auto put = [&](auto activation) {
    float* const to = finished + (lane & 3) * 2 * Shape::kStride + warp * 16 + (lane >> 2);
#pragma unroll
    for (int e = 0; e < R / 2; ++e) {
      const int deal = e / Shape::kDeal;
      if (ranks > 1 && owner_of<Shape>(deal, ranks_log) != rank) continue;
      to[((e >> 2) * 8 + (e & 1)) * Shape::kStride + (e & 2) * 4] =
          activated<decltype(activation)::value>(sums[e] + (e & 2 ? bias_high : bias_low));
    }
  };
  if (p.act == 0) put(std::integral_constant<int, 0>{});
  if (p.act == 1) put(std::integral_constant<int, 1>{});
  if (p.act == 2) put(std::integral_constant<int, 2>{});
  __syncwarp();
#pragma unroll
  for (int i = 0; i < Shape::kRounds; ++i) {
    const int row = first + i * 16;
    if (!mine(row) || row0 + row >= rows) continue;
    float v[8];
    const uint32_t at_row = at_x + at_finished + (row * Shape::kStride + chunk * 8) * 4;
    load_shared_floats(*reinterpret_cast<float(*)[4]>(v), at_row);
    load_shared_floats(*reinterpret_cast<float(*)[4]>(v + 4), at_row + 16);
    if (p.residual) {
      float add[8];
      if (p.residual_f32) {
        unpack_chunk<float>(add, residual[i][0], residual[i][1]);
      } else {
        unpack_chunk<T>(add, residual[i][0], residual[i][1]);
      }
#pragma unroll
      for (int e = 0; e < 8; ++e) v[e] += add[e];
    }
    const int64_t at = (row0 + row) * p.out_row + col;
    if (p.out_f32) {
      float4* const to = reinterpret_cast<float4*>(static_cast<float*>(p.out) + at);
      to[0] = {v[0], v[1], v[2], v[3]}, to[1] = {v[4], v[5], v[6], v[7]};
    } else {
      *reinterpret_cast<uint4*>(static_cast<T*>(p.out) + at) = {pack2<T>(v[0], v[1]), pack2<T>(v[2], v[3]),
                                                                pack2<T>(v[4], v[5]), pack2<T>(v[6], v[7])};
    }
  }
#endif
}

}  // namespace hedgerow::cuda
