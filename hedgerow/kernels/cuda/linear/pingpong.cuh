// SPDX-License-Identifier: Apache-2.0
// Large products: two warpgroups take turns at the tensor cores. Each owns a tile of 128 x N outputs; while
// one adds bias, activation and residual and stores, the other multiplies (the ping-pong schedule of CUTLASS,
// Thakkar et al.).
//
//  - One thread feeds a ring of tiles that both consume in the order of their turns. Whoever has asked for
//    its last tile passes the turn on: waiting any earlier would mistake an older round of the ring for the
//    own.
//  - Two blocks of a cluster may share the weights' tile or the rows' tile: each fetches half of it for both,
//    so the L2 delivers 30 or 20 % less.
//  - Results leave, and the residual comes in, through shared memory (linear/outlet.cuh). Only the chunk that
//    holds the last live row is stored by hand: the copy engine knows the capacity, not the row count.
//  - Where the last wave would be half empty, its tiles are 64 rows high.
#pragma once

#include "hedgerow/kernels/cuda/hopper.cuh"
#include "hedgerow/kernels/cuda/linear/outlet.cuh"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {

template <int N, int STAGES>
struct PingPongShape {
  static constexpr int kStepBytes = 128, kThreads = 3 * 128;  // of k a step; the third warpgroup feeds
  static constexpr int kXHalf = 64 * kStepBytes, kWHalf = N / 2 * kStepBytes, kStage = 2 * (kXHalf + kWHalf);
  static constexpr int kChunk = 64 * 128, kChunks = 4;  // per warpgroup, on their way in or out
  static constexpr int kBias = kChunks * kChunk, kReady = kBias + N * 4, kTurns = kReady + kChunks * 8;
  static constexpr int kOutlet = kBias + 1024;
  static constexpr int kUnits = N * 2;  // per warpgroup: units of its columns, for int8
  static constexpr size_t kShared =
      static_cast<size_t>(STAGES) * kStage + 2 * (kOutlet + kUnits) + (2 * STAGES + 2) * 8;
  static_assert(kShared <= 227 * 1024 && kWHalf % 1024 == 0 && kTurns + 32 <= kOutlet);
};

// Which outputs a block computes in each of its turns.
struct Turns {
  int columns, unit, high, tiles;  // in cluster tiles; `unit` rows of the lower kind; `high` rows of tiles
  int rank_row, rank_col;
  struct Tile {
    int row, col;  // of this block's first output, the column in tiles
    bool high;
  };
  __device__ __forceinline__ Tile at(int tile) const {
    const int r = tile / columns, col = (tile - r * columns) * (rank_col < 0 ? 1 : 2) + max(rank_col, 0);
    if (r < high) return {r * 2 * unit + rank_row * 128, col, true};
    return {(r + high) * unit + rank_row * 64, col, false};
  }
};
__device__ __forceinline__ Turns turns_of(int rows, int n, int tile_n, Share share, int rank, int teams) {
  const int tile_columns = (n + tile_n - 1) / tile_n;
  Turns t;
  t.unit = share == Share::weights ? 128 : 64;
  t.columns = share == Share::rows ? (tile_columns + 1) / 2 : tile_columns;
  const int units = (rows + t.unit - 1) / t.unit;
  t.high = high_tiles(units, t.columns, teams), t.tiles = (units - t.high) * t.columns;
  t.rank_row = share == Share::weights ? rank : 0, t.rank_col = share == Share::rows ? rank : -1;
  return t;
}

// MOMENTS: of x, of the outputs, or both (Product).
template <class T, int ACTIVATION, int N, int STAGES, bool MOMENTS>
__global__ void __launch_bounds__(PingPongShape<N, STAGES>::kThreads, 1)
    linear_pingpong(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map,
                    const __grid_constant__ CUtensorMap residual_map,
                    const __grid_constant__ CUtensorMap out_map, const __grid_constant__ LinearParams p,
                    Share share) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = PingPongShape<N, STAGES>;
  constexpr bool kWhole = std::is_same_v<T, i8>, kEight = std::is_same_v<T, e4m3> || kWhole;
  using Sum = std::conditional_t<kWhole, int, float>;
  constexpr int kStepK = Shape::kStepBytes / static_cast<int>(sizeof(T));
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t at_stage = shared_address(memory), at_outlet = at_stage + STAGES * Shape::kStage;
  const uint32_t at_full = at_outlet + 2 * Shape::kOutlet, at_empty = at_full + STAGES * 8,
                 at_turn = at_empty + STAGES * 8, at_units = at_turn + 16;
  const int warp = warp_index(), lane = threadIdx.x & 31;
  const int ranks = share == Share::none ? 1 : 2, rank = share == Share::none ? 0 : cluster_rank();
  const int team = blockIdx.x / ranks, teams = gridDim.x / ranks;
  const int steps = (p.k + kStepK - 1) / kStepK;

  if (threadIdx.x == 0) {
    if (at_stage & 1023) __trap();
    for (int i = 0; i < STAGES; ++i)
      barrier_init(at_full + i * 8, 1), barrier_init(at_empty + i * 8, 4 * ranks);
    for (int g = 0; g < 2; ++g) {
      barrier_init(at_turn + g * 8, 4);
      for (int i = 0; i < Shape::kChunks; ++i) {
        barrier_init(at_outlet + g * Shape::kOutlet + Shape::kReady + i * 8, 1);
      }
    }
    barrier_init_done();
  }
  if (ranks > 1) cluster_sync();
  __syncthreads();
  let_next_start();

  if (warp >= 8) {
    registers_down<24>();
    if (warp == 8 && elected()) {
      prefetch_map(&x_map), prefetch_map(&w_map);
      auto load_w = [&](int slot, int step, int col) {
        const uint32_t to = at_stage + slot * Shape::kStage + 2 * Shape::kXHalf, bar = at_full + slot * 8;
        const int k = step * kStepK, row = col * N;
        if (share == Share::weights) {
          tile_load_2d_both(to + rank * Shape::kWHalf, &w_map, bar, k, row + rank * (N / 2));
        } else {
          tile_load_2d(to, &w_map, bar, k, row);
          tile_load_2d(to + Shape::kWHalf, &w_map, bar, k, row + N / 2);
        }
      };
      auto load_x = [&](int slot, int step, int row, bool high) {
        const uint32_t to = at_stage + slot * Shape::kStage, bar = at_full + slot * 8;
        const int k = step * kStepK;
        if (share == Share::rows) {
          if (high || rank == 0)
            tile_load_2d_both(to + rank * Shape::kXHalf, &x_map, bar, k, row + rank * 64);
        } else {
          tile_load_2d(to, &x_map, bar, k, row);
          if (high) tile_load_2d(to + Shape::kXHalf, &x_map, bar, k, row + 64);
        }
      };
      // The first turn's columns are the same however many rows there are.
      const int ahead = min(STAGES, steps), tile_columns = (p.n + N - 1) / N;
      const int first_col =
          share == Share::rows ? team % ((tile_columns + 1) / 2) * 2 + rank : team % tile_columns;
      for (int s = 0; s < ahead; ++s) load_w(s, s, first_col);
      wait_for_previous();
      const Turns turns = turns_of(*p.rows, p.n, N, share, rank, teams);
      int slot = 0, round = 0, count = 0;
      for (int tile = team; tile < turns.tiles; tile += teams) {
        const Turns::Tile at = turns.at(tile);
        const int bytes = Shape::kStage - (at.high ? 0 : Shape::kXHalf);
#pragma unroll 1
        for (int s = 0; s < steps; ++s) {
          if (round > 0) barrier_wait(at_empty + slot * 8, (round - 1) & 1);
          barrier_expect(at_full + slot * 8, bytes);
          load_x(slot, s, at.row, at.high);
          if (count >= ahead) load_w(slot, s, at.col);
          ++count;
          if (++slot == STAGES) slot = 0, ++round;
        }
      }
      if (team >= turns.tiles) {  // what was fetched must land before the memory is given up
        for (int s = 0; s < ahead; ++s) barrier_expect(at_full + s * 8, 2 * Shape::kWHalf);
        for (int s = 0; s < ahead; ++s) barrier_wait(at_full + s * 8, 0);
      }
    }
    __syncwarp();
    wait_for_previous();
  } else {
    registers_up<240>();
    wait_for_previous();
    const int group = warp >> 2, t = threadIdx.x & 127, rows = *p.rows;
    // Looked up at every turn: between them no register is left for it.
    volatile Turns* const turns = reinterpret_cast<volatile Turns*>(memory + STAGES * Shape::kStage +
                                                                    group * Shape::kOutlet + Shape::kTurns);
    if (t == 0) {
      const Turns found = turns_of(rows, p.n, N, share, rank, teams);
      turns->columns = found.columns, turns->unit = found.unit, turns->high = found.high;
      turns->tiles = found.tiles, turns->rank_row = found.rank_row, turns->rank_col = found.rank_col;
    }
    warpgroup_sync(1 + group);
    // Outputs are 16 bits wide, or f32, or of e4m3 products e4m3 again.
    using Half = std::conditional_t<kEight, f16, T>;
    using Other = std::conditional_t<kEight, e4m3, float>;
    const bool other = kEight ? p.out_e4m3 : p.out_f32;
    const Outlet<T, Half, ACTIVATION, N, Shape, MOMENTS> half{
        &out_map, &residual_map, p, at_outlet + group * Shape::kOutlet, at_units + group * Shape::kUnits,
        group,    rows};
    const Outlet<T, Other, ACTIVATION, N, Shape, MOMENTS> unlike{&out_map,      &residual_map, p,   half.at,
                                                                 half.at_units, group,         rows};
    float* const bias =
        reinterpret_cast<float*>(memory + STAGES * Shape::kStage + group * Shape::kOutlet + Shape::kBias);
    const uint32_t peer_empty = in_block(at_empty, rank ^ (ranks - 1));
    uint32_t parity = 0;
    int slot = 0, round = 0;
    auto release = [&](int done) {
      if (lane == 0) barrier_arrive(at_empty + done * 8);
      if (lane == 1 && ranks > 1) barrier_arrive_there(peer_empty + done * 8);
    };
    int turn = 0;
    auto products = [&](Sum(&sums)[2][N / 2], RowScale<MOMENTS>& scale, auto high) {
      if (turn > 0) barrier_wait(at_turn + group * 8, (turn - 1) >> 1 & 1);
      int before = 0;
#pragma unroll 1
      for (int s = 0; s < steps; ++s) {
        barrier_wait(at_full + slot * 8, round & 1);
        const uint64_t x = tile_descriptor(at_stage + slot * Shape::kStage);
        const uint64_t w = tile_descriptor(at_stage + slot * Shape::kStage + 2 * Shape::kXHalf);
        products_fence();
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          product_shared<T, N>(sums[0], x + i * 2, w + i * 2, 1);
          if constexpr (decltype(high)::value)
            product_shared<T, N>(sums[1], x + (Shape::kXHalf >> 4) + i * 2, w + i * 2, 1);
        }
        products_commit();
        if (s == steps - 1 && lane == 0) barrier_arrive(at_turn + (group ^ 1) * 8);
        if (s > 0) {
          products_wait<1>();
          release(before);
        }
        if constexpr (MOMENTS) scale.step(p, s == steps - 1);
        before = slot;
        if (++slot == STAGES) slot = 0, ++round;
      }
      products_wait<0>();
      release(before);
    };

    for (; team + turn * teams < turns->tiles; ++turn) {
      if ((turn & 1) != group) {  // the other's turn; its tiles pass by in the ring
        slot += steps;
        round += slot / STAGES, slot %= STAGES;
        continue;
      }
      const Turns now{turns->columns, turns->unit,     turns->high,
                      turns->tiles,   turns->rank_row, turns->rank_col};
      const Turns::Tile at = now.at(team + turn * teams);
      const int col = at.col * N;
      warpgroup_sync(1 + group);  // the last tile has left the bias and the chunks
      if (t == 0 && p.residual) {
        if (other && !kEight)
          unlike.fetch_first(at.row, col, at.high);
        else
          half.fetch_first(at.row, col, at.high);
      }
      // Of the warp's rows in both halves, a lane each.
      RowScale<MOMENTS> scale(p, at.row + (warp & 3) * 16 + (lane & 15) + (lane & 16) * 4);
#pragma unroll
      for (int c = t; c < N; c += 128) bias[c] = col + c < p.n ? __ldg(p.bias + col + c) : 0.0f;
      // Cleared here rather than by the first product: that would read them, and so keep all of them alive
      // where a tile's last steps need registers.
      if constexpr (kWhole) {
        uint16_t* const outputs = reinterpret_cast<uint16_t*>(memory + (at_units - at_stage)) + group * N;
#pragma unroll
        for (int c = t; c < N; c += 128)
          outputs[c] = col + c < p.n ? __ldg(p.w_units + col + c) : uint16_t{0};
      }
      Sum sums[2][N / 2];
#pragma unroll
      for (int i = 0; i < N / 2; ++i) sums[0][i] = sums[1][i] = 0;
      if (at.high)
        products(sums, scale, std::true_type{});
      else
        products(sums, scale, std::false_type{});
      const float own = scale.get(p);
      if (t == 0) stores_wait_read<0>();
      warpgroup_sync(1 + group);
      const auto leave = [&](const auto& outlet) {
        constexpr int kAcross = std::decay_t<decltype(outlet)>::kAcross;
        const int count = (at.high ? 2 : 1) * kAcross;
        if constexpr (ACTIVATION != 0 && sizeof(T) == 2 && !MOMENTS) {
          outlet.finish_by_turns(sums, at.row, col, count, own, parity);
        } else {
          outlet.template finish<0>(sums[0], at.row, col, count, own, parity);
          if (at.high) outlet.template finish<kAcross>(sums[1], at.row, col, count, own, parity);
        }
      };
      if (other)
        leave(unlike);
      else
        leave(half);
    }
    if (t == 0) stores_wait_read<0>();
    __syncwarp();
  }
  if (ranks > 1) cluster_sync();  // nobody leaves while the other may write here
#endif
}

}  // namespace hedgerow::cuda
