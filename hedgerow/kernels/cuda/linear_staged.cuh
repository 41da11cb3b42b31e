// SPDX-License-Identifier: Apache-2.0
// Products of one wave or two of tiles, 128 x N outputs per block: two warpgroups multiply together, so that
// a tile ends sooner than where they take turns (linear_pingpong.cuh). The copy engine fetches the residual's
// tile while the products run, the bias is read at the tile's start, and results leave through the residual's
// place in shared memory. The residual must have the dtype of x, and so must `out`.
#pragma once

#include "hedgerow/kernels/cuda/linear_split.cuh"

namespace hedgerow::cuda {

template <int N, int STAGES>
struct StagedShape {
  static constexpr int kRows = 128,
                       kThreads = 3 * 128;  // two warpgroups multiply; one warp of the third feeds
  static constexpr int kXBytes = kRows * kStepK * 2, kWBytes = N * kStepK * 2, kStage = kXBytes + kWBytes;
  static constexpr int kPanel = kRows * 128;  // 64 columns of the output tile
  static constexpr int kTile = N / 64 * kPanel,
                       kBias = 2 * 2 * N * 4;  // per warpgroup and parity of the tile
  static constexpr size_t kShared =
      static_cast<size_t>(STAGES) * kStage + kTile + kBias + (2 * STAGES + 2) * 8;
};

template <class T, int ACTIVATION, int N, int STAGES>
__global__ void __launch_bounds__(StagedShape<N, STAGES>::kThreads, 1)
    linear_staged(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map,
                  const __grid_constant__ CUtensorMap residual_map, const __grid_constant__ LinearParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = StagedShape<N, STAGES>;
  extern __shared__ __align__(1024) unsigned char memory[];
  unsigned char* const tile_memory = memory + STAGES * Shape::kStage;
  float* const bias_memory = reinterpret_cast<float*>(tile_memory + Shape::kTile);
  const uint32_t at_stage = shared_address(memory), at_tile = at_stage + STAGES * Shape::kStage;
  const uint32_t at_full = at_tile + Shape::kTile + Shape::kBias, at_empty = at_full + STAGES * 8;
  const uint32_t at_residual = at_empty + STAGES * 8,
                 at_left = at_residual + 8;  // the tile is there; it may be replaced
  const int warp = warp_index(), lane = threadIdx.x & 31;
  const int columns = (p.n + N - 1) / N, steps = (p.k + kStepK - 1) / kStepK;
  const bool residual = p.residual != nullptr;

  if (threadIdx.x == 0) {
    if (at_stage & 1023) __trap();
    for (int i = 0; i < STAGES; ++i) barrier_init(at_full + i * 8, 1), barrier_init(at_empty + i * 8, 8);
    barrier_init(at_residual, 1), barrier_init(at_left, 8);
    barrier_init_done();
  }
  __syncthreads();
  let_next_start();

  if (warp >= 8) {
    registers_down<40>();
    if (warp == 8 && lane == 0) {
      const int ahead = min(STAGES, steps), when = min(STAGES, steps - 1);
      auto load_w = [&](int slot, int step, int tile) {
        tile_load_2d(at_stage + slot * Shape::kStage + Shape::kXBytes, &w_map, at_full + slot * 8,
                     step * kStepK, tile % columns * N);
      };
      auto load_x = [&](int slot, int step, int tile) {
        tile_load_2d(at_stage + slot * Shape::kStage, &x_map, at_full + slot * 8, step * kStepK,
                     tile / columns * Shape::kRows);
      };
      for (int s = 0; s < ahead; ++s) {
        barrier_expect(at_full + s * 8, Shape::kStage);
        load_w(s, s, blockIdx.x);
      }
      wait_for_previous();
      // Before the row count is known: at worst these rows are not there, and nobody looks at them.
      for (int s = 0; s < ahead; ++s) load_x(s, s, blockIdx.x);
      const int tiles = columns * ((*p.rows + Shape::kRows - 1) / Shape::kRows);
      int count = 0, turn = 0;
      for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x, ++turn) {
        for (int s = 0; s < steps; ++s, ++count) {
          const int slot = count % STAGES;
          if (count >= STAGES && count >= ahead) barrier_wait(at_empty + slot * 8, (count / STAGES - 1) & 1);
          if (residual && s == when) {  // late enough that whoever finished the last tile has left its place
            if (turn > 0) barrier_wait(at_left, (turn - 1) & 1);
            barrier_expect(at_residual, Shape::kTile);
            for (int c = 0; c < N / 64; ++c) {
              tile_load_2d(at_tile + c * Shape::kPanel, &residual_map, at_residual,
                           tile % columns * N + c * 64, tile / columns * Shape::kRows);
            }
          }
          if (count < ahead) continue;
          barrier_expect(at_full + slot * 8, Shape::kStage);
          load_x(slot, s, tile);
          load_w(slot, s, tile);
        }
      }
      if (static_cast<int>(blockIdx.x) >=
          tiles) {  // what was fetched must land before the memory is given up
        for (int s = 0; s < ahead; ++s) barrier_wait(at_full + s * 8, 0);
      }
    }
    __syncwarp();
    wait_for_previous();
  } else {
    registers_up<232>();
    wait_for_previous();
    const int rows = alike(*p.rows), tiles = columns * ((rows + Shape::kRows - 1) / Shape::kRows), group = warp >> 2;
    float sums[N / 2];
    int count = 0, turn = 0;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x, ++turn) {
      const int tile_col = tile % columns * N, in_group = threadIdx.x & 127;
      float bias_ahead[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int c = in_group + i * 128;
        bias_ahead[i] = c < N && tile_col + c < p.n ? __ldg(p.bias + tile_col + c) : 0.0f;
      }
      for (int s = 0; s < steps; ++s, ++count) {
        const int slot = count % STAGES;
        barrier_wait(at_full + slot * 8, (count / STAGES) & 1);
        const uint64_t x = tile_descriptor(at_stage + slot * Shape::kStage + group * kStepK * 128);
        const uint64_t w = tile_descriptor(at_stage + slot * Shape::kStage + Shape::kXBytes);
        products_fence();
#pragma unroll
        for (int i = 0; i < 4; ++i) product_shared<T, N>(sums, x + i * 2, w + i * 2, (s | i) != 0);
        products_commit();
        if (s > 0) {
          products_wait<1>();
          if (lane == 0) barrier_arrive(at_empty + (count - 1) % STAGES * 8);
        }
      }
      float* const bias = bias_memory + (group * 2 + (turn & 1)) * N;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (in_group + i * 128 < N) bias[in_group + i * 128] = bias_ahead[i];
      }
      warpgroup_sync(1 + group);
      products_wait<0>();
      if (lane == 0) barrier_arrive(at_empty + (count - 1) % STAGES * 8);
      if (residual) barrier_wait(at_residual, turn & 1);

      const int row0 = tile / columns * Shape::kRows + warp * 16, r = lane >> 2, pair = (lane & 3) * 2;
#pragma unroll
      for (int c = 0; c < N / 64; ++c) {
        unsigned char* const place = tile_memory + c * Shape::kPanel + warp * 2048;
        uint32_t old_low[8], old_high[8];
        if (residual) {
#pragma unroll
          for (int j = 0; j < 8; ++j) {
            old_low[j] = *reinterpret_cast<const uint32_t*>(place + swizzled<8>(r, j) + pair * 2);
            old_high[j] = *reinterpret_cast<const uint32_t*>(place + swizzled<8>(r + 8, j) + pair * 2);
          }
          __syncwarp();
        }
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
          uint32_t packed[4];
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            const float* const a = sums + c * 32 + (j + h) * 4;
            const float2 b = *reinterpret_cast<const float2*>(bias + c * 64 + (j + h) * 8 + pair);
            float2 low = {activated<ACTIVATION>(a[0] + b.x), activated<ACTIVATION>(a[1] + b.y)};
            float2 high = {activated<ACTIVATION>(a[2] + b.x), activated<ACTIVATION>(a[3] + b.y)};
            if (residual) {
              const float2 was_low = unpack2<T>(old_low[j + h]), was_high = unpack2<T>(old_high[j + h]);
              low.x += was_low.x, low.y += was_low.y, high.x += was_high.x, high.y += was_high.y;
            }
            packed[2 * h] = pack2<T>(low.x, low.y), packed[2 * h + 1] = pack2<T>(high.x, high.y);
          }
          store_matrices(shared_address(place) + swizzled<8>(lane & 15, j + (lane >> 4)), packed[0],
                         packed[1], packed[2], packed[3]);
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int out_r = i * 4 + (lane >> 3), col = tile_col + c * 64 + (lane & 7) * 8;
          if (row0 + out_r < rows && col < p.n) {
            *reinterpret_cast<int4*>(static_cast<T*>(p.out) + (row0 + out_r) * p.out_row + col) =
                *reinterpret_cast<const int4*>(place + swizzled<8>(out_r, lane & 7));
          }
        }
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
