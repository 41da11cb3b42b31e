// SPDX-License-Identifier: Apache-2.0
// x + fc2(gelu(fc1(norm(x)))) in one pass: a warpgroup keeps 64 rows' sums of fc2 in registers, and the
// hidden columns go by a few at a time - sums of fc1, activated, are at once the left operand of fc2.
// Attention without a softmax; hidden rows never see memory.
//
//  - Two warpgroups share the weights that one thread feeds into a ring. Each queues fc2 of one step and fc1
//  of
//    the next together and activates while the other's products run.
//  - A high tile has 64 rows for each warpgroup. In a low one both work on the same 64 rows, each with every
//    other step, and add up through shared memory: for the end of the last wave, and for few rows.
//  - Clusters of two: `shared` blocks fetch half of every slot for both; `split` blocks take half of the
//  hidden
//    columns each and add up through each other's shared memory (one low tile, then they leave).
//
// Tensor pipe: 8 dim^2 / 2048 clocks a row, 144 or 576; the activation issues 11 instructions a hidden value,
// 66 or 132 clocks a row, beside it. Shared memory: at dim 192 the rows are registers and each product's
// right operand takes half of its time, the weights' arrival (32 bytes a clock with 128 rows) a quarter; at
// 384 the sums fill the registers, 32 hidden columns fit beside them, and fc1 reads its rows again for each
// 32: 1.5 clocks for every clock of products, so 80 % is what both together allow. Weights from the
// second-level cache: 32 bytes a clock and multiprocessor with 128 rows, 16 where two share. Measured (H100,
// 50,432 rows): 425 and 472 TFLOP/s, 43 and 48 % of the pipe. Descriptors in uniform registers and a shorter
// way in gained 8 % of that; strict turns of the two warpgroups cost up to 6 %.
#pragma once

#include "hedgerow/kernels/cuda/mlp/products.cuh"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {

// How many tiles there are for teams (a block, or a cluster) to take in turns, high ones first.
struct MlpTiles {
  int high, count;
};
__device__ __forceinline__ MlpTiles mlp_tiles(int rows, MlpTeam team, int teams) {
  const int band = team == MlpTeam::shared ? 128 : 64, bands = (rows + band - 1) / band;
  const int high = team == MlpTeam::split ? 0 : high_tiles(bands, 1, teams);
  return {high, bands - high};
}
struct MlpTile {
  int row;  // of the block's first
  bool high;
};
__device__ __forceinline__ MlpTile mlp_tile(int tile, int high, MlpTeam team, int rank) {
  const int band = team == MlpTeam::shared ? 128 : 64, skip = team == MlpTeam::shared ? rank * 64 : 0;
  if (tile < high) return {(tile * band + skip) * 2, true};
  return {(tile + high) * band + skip, false};
}

// The same in all lanes, known to the compiler: what follows from it is kept and computed once a warp.
__device__ __forceinline__ int uniform(int v) { return __shfl_sync(0xffffffffu, v, 0); }

template <class T, class E, int ACTIVATION, int DIM>
__global__ void __launch_bounds__(MlpShape<DIM>::kThreads, 1)
    mlp_rows(const __grid_constant__ CUtensorMap w1_map, const __grid_constant__ CUtensorMap w2_map,
             const __grid_constant__ MlpParams p, MlpTeam team_kind) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = MlpShape<DIM>;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t at_ring = shared_address(memory) + Shape::kRing;
  const uint32_t at_full = shared_address(memory) + Shape::kBarriers, at_empty = at_full + Shape::kSlots * 8;
  const int warp = uniform(threadIdx.x >> 5), lane = threadIdx.x & 31;
  const bool shared = team_kind == MlpTeam::shared, split = team_kind == MlpTeam::split;
  const int ranks = shared || split ? 2 : 1, rank = ranks == 1 ? 0 : static_cast<int>(cluster_rank());
  const int team = blockIdx.x / ranks, teams = gridDim.x / ranks;
  const int all_steps = p.hidden / Shape::kStep, half_steps = (all_steps + 1) / 2;
  const int begin = split && rank == 1 ? half_steps : 0;
  const int steps = !split ? all_steps : rank == 0 ? half_steps : all_steps - half_steps;

  if (threadIdx.x == 0) {
    if (at_ring & 1023) __trap();
    for (int i = 0; i < Shape::kSlots; ++i)
      barrier_init(at_full + i * 8, 1), barrier_init(at_empty + i * 8, 8 * (shared ? 2 : 1));
    barrier_init_done();
  }
  if (ranks > 1) cluster_sync();
  __syncthreads();
  let_next_start();

  if (warp >= 8) {
    registers_down<24>();
    if (warp == 8 && elected()) {
      prefetch_map(&w1_map), prefetch_map(&w2_map);
      int slot = 0, round = 0, step = 0;
      bool second = false;
      auto load = [&] {  // the next slot: weights of the first product, then of the second
        const uint32_t to = at_ring + slot * Shape::kSlot, bar = at_full + slot * 8;
        const int column = (begin + step) * Shape::kStep;
        const int boxes = second ? Shape::kBoxes2 : Shape::kBoxes1, bytes = Shape::kSlot / boxes;
        barrier_expect(bar, Shape::kSlot);
        for (int b = shared ? rank : 0; b < boxes; b += shared ? 2 : 1) {
          const CUtensorMap* const map = second ? &w2_map : &w1_map;
          const int k = second ? column : b / (Shape::kStep / 32) * 64;
          const int row = second ? b * Shape::kBox2Rows : column + b % (Shape::kStep / 32) * 32;
          if (shared)
            tile_load_2d_both(to + b * bytes, map, bar, k, row);
          else
            tile_load_2d(to + b * bytes, map, bar, k, row);
        }
        if (++slot == Shape::kSlots) slot = 0, ++round;
        if (second && ++step == steps) step = 0;
        second = !second;
      };
      const int ahead = min(Shape::kSlots, 2 * steps);
      for (int n = 0; n < ahead; ++n) load();
      wait_for_previous();
      const MlpTiles tiles = mlp_tiles(*p.rows, team_kind, teams);
      const int mine = team < tiles.count ? (tiles.count - team + teams - 1) / teams : 0;
#pragma unroll 1
      for (int n = ahead; n < mine * 2 * steps; ++n) {
        if (round > 0) barrier_wait(at_empty + slot * 8, (round - 1) & 1);
        load();
      }
      if (mine == 0) {  // what was fetched must land before the memory is given up
        for (int n = 0; n < ahead; ++n) barrier_wait(at_full + n * 8, 0);
      }
    }
    __syncwarp();
    wait_for_previous();
    if (split && team < mlp_tiles(*p.rows, team_kind, teams).count) cluster_sync();
  } else {
    registers_up<240>();
    const int group = uniform(warp >> 2), t = threadIdx.x & 127;
    auto both_sync = [] { asm volatile("bar.sync 3, 256;" ::: "memory"); };
    float* const vectors = reinterpret_cast<float*>(memory + Shape::kVectors);
    for (int i = threadIdx.x; i < p.hidden; i += 256) vectors[i] = __ldg(p.bias1 + i);
    for (int i = threadIdx.x; i < DIM; i += 256) {
      vectors[Shape::kBias2 + i] = __ldg(p.bias2 + i);
      vectors[Shape::kGamma + i] = __ldg(p.gamma + i), vectors[Shape::kBeta + i] = __ldg(p.beta + i);
    }
    both_sync();
    wait_for_previous();
    // Looked up where a tile begins and ends: between them no register is left for it.
    volatile int* const found = reinterpret_cast<volatile int*>(memory + Shape::kFound + group * 16);
    if (t == 0) {
      const int rows = *p.rows;
      const MlpTiles tiles = mlp_tiles(rows, team_kind, teams);
      found[0] = rows, found[1] = tiles.high, found[2] = tiles.count;
    }
    warpgroup_sync(1 + group);
    auto wait_full = [&](int n) {
      barrier_wait(at_full + n % Shape::kSlots * 8, n / Shape::kSlots & 1);
      return at_ring + n % Shape::kSlots * Shape::kSlot;
    };
    auto release = [&](int n, int count) {
      const uint32_t bar = at_empty + n % Shape::kSlots * 8;
      if (lane == 0) barrier_arrive(bar, count);
      if (lane == 1 && shared) barrier_arrive_there(in_block(bar, rank ^ 1), count);
    };
    struct Here {
      MlpRows<T, E, DIM> rows;
      bool high;
      int row;  // of this group's first
      unsigned char* half;
    };
    auto here = [&](int turn) {
      const int tile = team + turn * teams, high = uniform(found[1]), group = uniform(thread_here() >> 7);
      const MlpTile at = mlp_tile(tile, high, team_kind, rank);
      return Here{{p, memory, found[0]},
                  at.high,
                  at.row + (at.high ? group * 64 : 0),
                  memory + (at.high ? group * Shape::kHalf : 0)};
    };
    constexpr int kMine = DIM / 4,
                  kBlocks = DIM / 32;  // of a low tile: sums a thread finishes, blocks of 16 columns
    constexpr int kPart = kMine / 2, kPartBlocks = kBlocks / 2;  // and in a split team
    for (int turn = 0; team + turn * teams < found[2]; ++turn) {
      const Here at = here(turn);
      const int stride = at.high ? 1 : 2, first_step = at.high ? 0 : group;
      if (!at.high && turn > 0) both_sync();  // the tile before has left
      at.rows.normalise(at.half, at.high ? (warp & 3) * 16 : warp * 8, at.high ? 2 : 1, at.row);
      if (!Shape::kKept) fence_shared_for_async();
      if (at.high)
        warpgroup_sync(1 + group);
      else
        both_sync();
      const uint32_t at_half = shared_address(at.half);
      MlpProducts<T, ACTIVATION, DIM> products;
      products.keep(at_half);
      if (Shape::kKept && at.high) at.rows.template fetch<DIM / 16>(at.half, 0, at.row);
      if (split)
        at.rows.template fetch<kPartBlocks>(memory + Shape::kHalf, group * kBlocks + rank * kPartBlocks,
                                            at.row);
#pragma unroll
      for (int i = 0; i < products.kPlaces; ++i) {
#pragma unroll
        for (int j = 0; j < 96; ++j) products.sums[i][j] = 0;
      }
      // The slot that holds w2 of the step at hand; w1 is the one before. The last of this tile.
      int n = (turn * steps + first_step) * 2 + 1;
      const int last = (turn * steps + steps) * 2 - 1 - (steps - 1 - first_step) % stride * 2;
      uint32_t bias = shared_address(vectors) + ((begin + first_step) * Shape::kStep + (lane & 3) * 2) * 4;
      const uint32_t slot = wait_full(n - 1);
      products_fence();
      products.first(at_half, slot);
      products_commit();
      products_wait<0>();
      keep_registers(products.scores);
      release(n - 1, stride);
#pragma unroll 1
      for (; n != last; n += 2 * stride, bias += stride * (Shape::kStep * 4)) {
        products.activate(bias);
        const uint32_t slot2 = wait_full(n);
        products_fence();
        products.second(slot2);
        products_commit();
        if constexpr (!Shape::kKept) {  // no room for both steps' registers
          products_wait<0>();
          products.keep_hidden();
          release(n, stride);
        }
        const uint32_t slot1 = wait_full(n - 1 + 2 * stride);
        products_fence();
        products.first(at_half, slot1);
        products_commit();
        if constexpr (Shape::kKept) {
          products_wait<1>();
          products.keep_hidden();
          release(n, stride);
        }
        products_wait<0>();
        keep_registers(products.scores);
        release(n - 1 + 2 * stride, stride);
      }
      products.activate(bias);
      if (!Shape::kKept && stride == 1) {  // the rows have been read by all: their place is free
        warpgroup_sync(1 + group);
        const Here end = here(turn);
        end.rows.template fetch<DIM / 16>(end.half, 0, end.row);
      }
      const uint32_t slot2 = wait_full(n);
      products_fence();
      products.second(slot2);
      products_commit();
      products_wait<0>();
      release(n, stride);
      products.keep_hidden();
#pragma unroll
      for (int i = 0; i < products.kPlaces; ++i) keep_registers(products.sums[i]);

      const auto [rows, high, row, half] = here(turn);
      if (high) {
#pragma unroll
        for (int i = 0; i < products.kPlaces; ++i)
          rows.template finish<12>(products.sums[i], half, i * 12, row);
        continue;
      }
      // Each warpgroup finishes half of the columns, and in a split team half of those.
      float mine[kMine];
      both_sync();  // all products have read the rows and, in a split team, all slots
      unsigned char* const meeting = memory + (split ? Shape::kRing : 0);
      auto add_up = [&](auto own) {
        constexpr int kOwn = decltype(own)::value;
        auto of = [&](int which, int i) {
          return products.kPlaces == 1 ? products.sums[0][which * kMine + i]
                                       : products.sums[which % products.kPlaces][i];
        };
        float4* const give = reinterpret_cast<float4*>(meeting + (1 - kOwn) * Shape::kHalf) + t;
        float4* const take = reinterpret_cast<float4*>(meeting + kOwn * Shape::kHalf) + t;
#pragma unroll
        for (int i = 0; i < kMine; i += 4)
          give[i * 32] =
              make_float4(of(1 - kOwn, i), of(1 - kOwn, i + 1), of(1 - kOwn, i + 2), of(1 - kOwn, i + 3));
        both_sync();
#pragma unroll
        for (int i = 0; i < kMine; i += 4) {
          const float4 v = take[i * 32];
          mine[i] = of(kOwn, i) + v.x, mine[i + 1] = of(kOwn, i + 1) + v.y;
          mine[i + 2] = of(kOwn, i + 2) + v.z, mine[i + 3] = of(kOwn, i + 3) + v.w;
        }
      };
      if (group == 0)
        add_up(std::integral_constant<int, 0>{});
      else
        add_up(std::integral_constant<int, 1>{});
      warpgroup_sync(1 + group);  // what the other group left has been read
      unsigned char* const own_half = meeting + group * Shape::kHalf;
      if (!split) {
        rows.template fetch<kBlocks>(own_half, group * kBlocks, row);
        rows.template finish<kBlocks>(mine, own_half, group * kBlocks, row);
        continue;
      }
      float part[kPart];
      float4* const give = reinterpret_cast<float4*>(own_half) + t;
#pragma unroll
      for (int i = 0; i < kPart; i += 4) {
        float v[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          v[e] = rank == 0 ? mine[kPart + i + e] : mine[i + e];
          part[i + e] = rank == 0 ? mine[i + e] : mine[kPart + i + e];
        }
        give[i * 32] = make_float4(v[0], v[1], v[2], v[3]);
      }
      cluster_sync();
      const uint32_t take = in_block(shared_address(own_half), rank ^ 1) + t * 16;
#pragma unroll
      for (int i = 0; i < kPart; i += 4) {
        const float4 v = load_shared_cluster(take + i * 512);
        part[i] += v.x, part[i + 1] += v.y, part[i + 2] += v.z, part[i + 3] += v.w;
      }
      rows.template finish<kPartBlocks>(part, memory + Shape::kHalf, group * kBlocks + rank * kPartBlocks,
                                        row);
    }
    __syncwarp();
  }
  if (ranks > 1) cluster_sync();  // nobody leaves while the other may write or read here
#endif
}

}  // namespace hedgerow::cuda
