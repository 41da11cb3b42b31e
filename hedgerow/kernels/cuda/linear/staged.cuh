// SPDX-License-Identifier: Apache-2.0
// Products of one wave of tiles or two: one to three warpgroups multiply together, 64 rows each, so that a
// tile ends sooner than where they take turns (linear/pingpong.cuh).
//
//  - Tiles come in many sizes (kStagedTiles): what decides is that the last wave is full.
//  - The copy engine fetches the residual's tile while the products run, the bias is read at the tile's
//  start,
//    and results leave through the residual's place in shared memory. The residual must have the dtype of x,
//    and so must `out`.
//  - Tried and lost at every product from 99 to 6,304 rows: blocks of a cluster that fetch rows or weights
//  for
//    each other, or take a part of k each.
#pragma once

#include "hedgerow/kernels/cuda/linear/split.cuh"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {

// RESIDUAL: where there is none, the panels leave from one place. SHORT: for a narrow model.
template <int GROUPS, int N, bool RESIDUAL, bool SHORT>
struct StagedShape {
  static constexpr int kRows = 64 * GROUPS,
                       kThreads = (GROUPS + 1) * 128;  // one warp of the last warpgroup feeds
  static constexpr int kXBytes = kRows * kStepK * 2, kWBytes = N * kStepK * 2, kStage = kXBytes + kWBytes;
  static constexpr int kPanel = kRows * 128, kPanels = (N + 63) / 64;  // 64 columns of the output tile
  static constexpr bool kResidual = RESIDUAL && StagedTile{GROUPS, N}.takes_residual();
  static constexpr int kTile = (kResidual ? kPanels : 1) * kPanel,
                       kBias = GROUPS * 2 * N * 4;  // per warpgroup and parity of the tile
  // Some leave room for a second block: the next product's may come while this one's end. For all others, and
  // for long k in small tiles most of all, what counts is how much is on its way from the second-level cache.
  static constexpr int kPerMultiprocessor = GROUPS == 1 && (N == 64 || SHORT) ? 2 : 1;
  static constexpr int kRoom = (kPerMultiprocessor == 2 ? 113 : 227) * 1024 - kTile - kBias - 256;
  static constexpr int kMost = SHORT ? 6 : 12, kStages = kRoom / kStage < kMost ? kRoom / kStage : kMost;
  static constexpr size_t kShared =
      static_cast<size_t>(kStages) * kStage + kTile + kBias + (2 * kStages + 2) * 8;
  static_assert(kStages >= 3 && N % 16 == 0);
};

// One warp's 16 rows of a panel leave; `count`: how many groups of 8 columns it has.
template <class T, int ACTIVATION, int COUNT, class Sums>
__device__ __forceinline__ void leave_panel(const Sums& sum_at, const LinearParams& p, unsigned char* place,
                                            const float* bias, bool residual, int row0, int rows, int col0,
                                            int count) {
  const int lane = threadIdx.x & 31, r = lane >> 2, pair = (lane & 3) * 2;
  uint32_t old_low[COUNT], old_high[COUNT];
  if (residual) {
#pragma unroll
    for (int j = 0; j < COUNT; ++j) {
      old_low[j] = *reinterpret_cast<const uint32_t*>(place + swizzled<8>(r, j) + pair * 2);
      old_high[j] = *reinterpret_cast<const uint32_t*>(place + swizzled<8>(r + 8, j) + pair * 2);
    }
  }
  __syncwarp();  // what lay here has been read, by this panel or the one before
#pragma unroll
  for (int j = 0; j < COUNT; j += 2) {
    if (COUNT == 8 && j >= count) break;
    float y[8];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float2 b = *reinterpret_cast<const float2*>(bias + (j + h) * 8 + pair);
      y[h * 4] = sum_at((j + h) * 4) + b.x, y[h * 4 + 1] = sum_at((j + h) * 4 + 1) + b.y;
      y[h * 4 + 2] = sum_at((j + h) * 4 + 2) + b.x, y[h * 4 + 3] = sum_at((j + h) * 4 + 3) + b.y;
    }
    activate_all<ACTIVATION>(y);
    if (residual) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float2 low = unpack2<T>(old_low[j + h]), high = unpack2<T>(old_high[j + h]);
        y[h * 4] += low.x, y[h * 4 + 1] += low.y, y[h * 4 + 2] += high.x, y[h * 4 + 3] += high.y;
      }
    }
    store_matrices(shared_address(place) + swizzled<8>(lane & 15, j + (lane >> 4)), pack2<T>(y[0], y[1]),
                   pack2<T>(y[2], y[3]), pack2<T>(y[4], y[5]), pack2<T>(y[6], y[7]));
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int out_r = i * 4 + (lane >> 3), group = lane & 7, col = col0 + group * 8;
    if (row0 + out_r < rows && group < count && col < p.n) {
      *reinterpret_cast<int4*>(static_cast<T*>(p.out) + (row0 + out_r) * p.out_row + col) =
          *reinterpret_cast<const int4*>(place + swizzled<8>(out_r, group));
    }
  }
}

template <class T, int ACTIVATION, int GROUPS, int N, bool SHORT>
__global__ void __launch_bounds__(StagedShape<GROUPS, N, ACTIVATION == 0, SHORT>::kThreads,
                                  StagedShape<GROUPS, N, ACTIVATION == 0, SHORT>::kPerMultiprocessor)
    linear_staged(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map,
                  const __grid_constant__ CUtensorMap residual_map, const __grid_constant__ LinearParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = StagedShape<GROUPS, N, ACTIVATION == 0, SHORT>;
  constexpr int kStages = Shape::kStages;
  extern __shared__ __align__(1024) unsigned char memory[];
  unsigned char* const tile_memory = memory + kStages * Shape::kStage;
  float* const bias_memory = reinterpret_cast<float*>(tile_memory + Shape::kTile);
  const uint32_t at_stage = shared_address(memory), at_tile = at_stage + kStages * Shape::kStage;
  const uint32_t at_full = at_tile + Shape::kTile + Shape::kBias, at_empty = at_full + kStages * 8;
  const uint32_t at_residual = at_empty + kStages * 8,
                 at_left = at_residual + 8;  // the tile is there; it may be replaced
  const int warp = warp_index(), lane = threadIdx.x & 31;
  const int columns = (p.n + N - 1) / N, steps = (p.k + kStepK - 1) / kStepK;
  const int first = blockIdx.x, stride = gridDim.x;  // tiles; those of a row of tiles are neighbours
  const bool residual = Shape::kResidual && p.residual != nullptr;
  const auto tiles_in = [&](int rows) { return columns * ((rows + Shape::kRows - 1) / Shape::kRows); };

  if (threadIdx.x == 0) {
    if (at_stage & 1023) __trap();
    for (int i = 0; i < kStages; ++i)
      barrier_init(at_full + i * 8, 1), barrier_init(at_empty + i * 8, 4 * GROUPS);
    barrier_init(at_residual, 1), barrier_init(at_left, 4 * GROUPS);
    barrier_init_done();
  }
  __syncthreads();
  let_next_start();

  float sums[N / 2];
  if (warp >= 4 * GROUPS) {
    if constexpr (GROUPS == 2) registers_down<40>();
    if constexpr (GROUPS == 3) registers_down<32>();
    if (warp == 4 * GROUPS && elected()) {
      prefetch_map(&x_map), prefetch_map(&w_map);
      const int ahead = min(kStages, steps), when = min(kStages, steps - 1);
      // Short on purpose: with small tiles all of a block waits for these few instructions.
      auto load_x = [&](int slot, int k, int row) {
        tile_load_2d(at_stage + slot * Shape::kStage, &x_map, at_full + slot * 8, k, row);
      };
      auto load_w = [&](int slot, int k, int col) {
        tile_load_2d(at_stage + slot * Shape::kStage + Shape::kXBytes, &w_map, at_full + slot * 8, k, col);
      };
      int row = first / columns * Shape::kRows, col = first % columns * N;
      for (int s = 0; s < ahead; ++s) {
        barrier_expect(at_full + s * 8, Shape::kStage);
        load_w(s, s * kStepK, col);
      }
      wait_for_previous();
      // Before the row count is known: at worst these rows are not there, and nobody looks at them.
      for (int s = 0; s < ahead; ++s) load_x(s, s * kStepK, row);
      const int tiles = tiles_in(*p.rows);
      int s = ahead, slot = ahead % kStages, turn = 0;
      uint32_t phase = ahead == kStages ? 0 : 1;  // of the slot's last products, which must be over
      for (int tile = first; tile < tiles; tile += stride, ++turn) {
        if (turn > 0) row = tile / columns * Shape::kRows, col = tile % columns * N, s = 0;
        const auto feed = [&](int end) {
#pragma unroll 1
          for (; s < end; ++s) {
            barrier_wait(at_empty + slot * 8, phase);
            barrier_expect(at_full + slot * 8, Shape::kStage);
            load_x(slot, s * kStepK, row), load_w(slot, s * kStepK, col);
            if (++slot == kStages) slot = 0, phase ^= 1;
          }
        };
        if (residual) {
          feed(when);  // late enough that whoever finished the last tile has left its place
          if (turn > 0) barrier_wait(at_left, (turn - 1) & 1);
          barrier_expect(at_residual, Shape::kTile);
#pragma unroll
          for (int c = 0; c < Shape::kPanels; ++c)
            tile_load_2d(at_tile + c * Shape::kPanel, &residual_map, at_residual, col + c * 64, row);
        }
        feed(steps);
      }
      if (first >= tiles) {  // what was fetched must land before the memory is given up
        for (int i = 0; i < ahead; ++i) barrier_wait(at_full + i * 8, 0);
      }
    }
    __syncwarp();
    wait_for_previous();
  } else {
    if constexpr (GROUPS == 2) registers_up<232>();
    if constexpr (GROUPS == 3) registers_up<160>();
    wait_for_previous();
    const int rows = alike(*p.rows), tiles = tiles_in(rows), group = warp >> 2;
    auto release = [&](int done) {
      if (lane == 0) barrier_arrive(at_empty + done * 8);
    };
    int turn = 0, slot = 0, round = 0;
    for (int tile = first; tile < tiles; tile += stride, ++turn) {
      const int tile_col = tile % columns * N, in_group = threadIdx.x & 127;
      float bias_ahead[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int c = in_group + i * 128;
        bias_ahead[i] = c < N && tile_col + c < p.n ? __ldg(p.bias + tile_col + c) : 0.0f;
      }
      int before = 0;
      for (int s = 0; s < steps; ++s) {
        barrier_wait(at_full + slot * 8, round & 1);
        const uint64_t x = tile_descriptor(at_stage + slot * Shape::kStage + group * kStepK * 128);
        const uint64_t w = tile_descriptor(at_stage + slot * Shape::kStage + Shape::kXBytes);
        products_fence();
#pragma unroll
        for (int i = 0; i < 4; ++i) product_shared<T, N>(sums, x + i * 2, w + i * 2, (s | i) != 0);
        products_commit();
        if (s > 0) {
          products_wait<1>();
          release(before);
        }
        before = slot;
        if (++slot == kStages) slot = 0, ++round;
      }
      float* const bias = bias_memory + (group * 2 + (turn & 1)) * N;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (in_group + i * 128 < N) bias[in_group + i * 128] = bias_ahead[i];
      }
      warpgroup_sync(1 + group);
      products_wait<0>();
      release(before);
      if (residual) barrier_wait(at_residual, turn & 1);

      const int row0 = tile / columns * Shape::kRows + warp * 16;
      auto leave = [&](auto width, int c, auto&& sum_at) {
        unsigned char* const place = tile_memory + (Shape::kResidual ? c * Shape::kPanel : 0) + warp * 2048;
        leave_panel<T, ACTIVATION, decltype(width)::value>(sum_at, p, place, bias + c * 64, residual, row0,
                                                           rows, tile_col + c * 64, min(8, N / 8 - c * 8));
      };
      if constexpr (ACTIVATION != 0) {
        // By one piece of code, the sums moved up to it: a panel's own would be fetched anew by every launch
        // (linear/outlet.cuh).
#pragma unroll 1
        for (int c = 0; c < Shape::kPanels; ++c) {
          leave(std::integral_constant<int, 8>{}, c, [&](int i) { return sums[i]; });
#pragma unroll
          for (int i = 0; i + 32 < N / 2; ++i) sums[i] = sums[i + 32];
        }
      } else {
#pragma unroll
        for (int c = 0; c < N / 64; ++c)
          leave(std::integral_constant<int, 8>{}, c, [&](int i) { return sums[c * 32 + i]; });
        if constexpr (N % 64 != 0)
          leave(std::integral_constant<int, N % 64 / 8>{}, N / 64,
                [&](int i) { return sums[N / 64 * 32 + i]; });
      }
      // The copy engine may write here next.
      fence_shared_for_async();
      __syncwarp();
      if (lane == 0) barrier_arrive(at_left);
    }
  }
#endif
}

}  // namespace hedgerow::cuda
