// SPDX-License-Identifier: Apache-2.0
// Matrix products on Hopper's warpgroup instructions. One warp feeds a ring of tiles through the copy engine, one or two
// warpgroups multiply, each 64 rows by N columns.
//
//  - The row count is read on the device. Blocks walk over the tiles that exist, so a batch that lost half of its rows
//    costs half, in the same launch.
//  - Weights do not depend on the kernel before: the first tiles of them are fetched before waiting for it.
//  - Few rows: a cluster of blocks shares one tile, each takes a range of k, and the sums meet in shared memory, always
//    added in the same order.
#pragma once

#include "hedgerow/kernels/cuda/hopper.cuh"
#include "hedgerow/kernels/cuda/linear.cuh"

namespace hedgerow::cuda {

constexpr int kStepK = 64;

template <int GROUPS, int N, int STAGES, bool SPLIT>
struct LinearShape {
  static constexpr int kRows = 64 * GROUPS, kThreads = GROUPS * 128 + 32;
  static constexpr int kXBytes = kRows * kStepK * 2, kWBytes = N * kStepK * 2, kStage = kXBytes + kWBytes;
  static constexpr int kStaging = SPLIT ? 0 : GROUPS * 4 * 2048;  // one 16 x 64 tile per warp, for whole-line stores
  static constexpr int kSumStride = N + 8;                        // of the sums that a cluster exchanges
  static constexpr size_t kShared = static_cast<size_t>(STAGES) * kStage + kStaging + 2 * STAGES * 8;
  static constexpr int kPerMultiprocessor = kShared <= 113 * 1024 ? 2 : 1;
  static_assert(!SPLIT || kRows * kSumStride * 4 <= STAGES * kStage);
};

__device__ __forceinline__ void barrier_expect_more(uint32_t bar, uint32_t bytes) {
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}

template <class T, int ACTIVATION, int GROUPS, int N, int STAGES, bool SPLIT>
__global__ void __launch_bounds__(LinearShape<GROUPS, N, STAGES, SPLIT>::kThreads,
                                  LinearShape<GROUPS, N, STAGES, SPLIT>::kPerMultiprocessor)
    linear_wgmma(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map,
                 const __grid_constant__ LinearParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = LinearShape<GROUPS, N, STAGES, SPLIT>;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t at_stage = shared_address(memory), at_full = at_stage + STAGES * Shape::kStage + Shape::kStaging;
  const uint32_t at_empty = at_full + STAGES * 8;
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;

  const int rank = SPLIT ? static_cast<int>(cluster_rank()) : 0, ranks = SPLIT ? static_cast<int>(cluster_size()) : 1;
  const int first_tile = blockIdx.x / ranks, tile_step = gridDim.x / ranks;
  const int columns = (p.n + N - 1) / N, all_steps = (p.k + kStepK - 1) / kStepK;
  const int step_begin = all_steps * rank / ranks, steps = all_steps * (rank + 1) / ranks - step_begin;

  if (threadIdx.x == 0) {
    if (at_stage & 1023) __trap();
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(at_full + i * 8, 1);
      barrier_init(at_empty + i * 8, GROUPS * 4);
    }
    barrier_init_done();
  }
  __syncthreads();
  let_next_start();

  float sums[N / 2];
  int tiles = 0;
  if (warp == GROUPS * 4) {
    if (lane == 0) {
      const int ahead = min(STAGES, steps);
      auto load_w = [&](int slot, int step, int tile) {
        tile_load_2d(at_stage + slot * Shape::kStage + Shape::kXBytes, &w_map, at_full + slot * 8,
                     (step_begin + step) * kStepK, (tile % columns) * N);
      };
      for (int s = 0; s < ahead; ++s) {
        barrier_expect_more(at_full + s * 8, Shape::kWBytes);
        load_w(s, s, first_tile);
      }
      wait_for_previous();
      tiles = columns * ((*p.rows + Shape::kRows - 1) / Shape::kRows);
      int count = 0;
      for (int tile = first_tile; tile < tiles; tile += tile_step) {
        for (int s = 0; s < steps; ++s, ++count) {
          const int slot = count % STAGES;
          if (count >= STAGES) barrier_wait(at_empty + slot * 8, (count / STAGES - 1) & 1);
          const bool loaded = count < ahead;
          barrier_expect(at_full + slot * 8, Shape::kXBytes + (loaded ? 0 : Shape::kWBytes));
          tile_load_2d(at_stage + slot * Shape::kStage, &x_map, at_full + slot * 8, (step_begin + s) * kStepK,
                       (tile / columns) * Shape::kRows);
          if (!loaded) load_w(slot, s, tile);
        }
      }
      if (first_tile >= tiles) {  // nothing to do: what was fetched must land before the memory is given up
        for (int s = 0; s < ahead; ++s) {
          barrier_arrive(at_full + s * 8);
          barrier_wait(at_full + s * 8, 0);
        }
      }
    }
    __syncwarp();
    wait_for_previous();
    tiles = columns * ((*p.rows + Shape::kRows - 1) / Shape::kRows);
  } else {
    wait_for_previous();
    const int rows = *p.rows, group = warp >> 2;
    tiles = columns * ((rows + Shape::kRows - 1) / Shape::kRows);
    int count = 0;
    for (int tile = first_tile; tile < tiles; tile += tile_step) {
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
          if (lane == 0) barrier_arrive(at_empty + ((count - 1) % STAGES) * 8);
        }
      }
      products_wait<0>();
      if (lane == 0) barrier_arrive(at_empty + ((count - 1) % STAGES) * 8);
      if constexpr (SPLIT) break;  // the cluster finishes below

      const int row0 = (tile / columns) * Shape::kRows + warp * 16, row = row0 + (lane >> 2);
      unsigned char* const staging = memory + STAGES * Shape::kStage + warp * 2048;
#pragma unroll
      for (int c = 0; c < N / 64; ++c) {
        const int col0 = (tile % columns) * N + c * 64;
        if (col0 >= p.n || row0 >= rows) break;
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
          uint32_t packed[4];
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            const int col = col0 + (j + h) * 8 + (lane & 3) * 2;
            float* const a = sums + c * 32 + (j + h) * 4;
            const float2 bias = __ldg(reinterpret_cast<const float2*>(p.bias + col));
            float2 low = {activated<ACTIVATION>(a[0] + bias.x), activated<ACTIVATION>(a[1] + bias.y)};
            float2 high = {activated<ACTIVATION>(a[2] + bias.x), activated<ACTIVATION>(a[3] + bias.y)};
            if (p.residual && col < p.n) {
              if (row < rows) {
                const float2 r = residual_at<T>(p, row, col);
                low.x += r.x, low.y += r.y;
              }
              if (row + 8 < rows) {
                const float2 r = residual_at<T>(p, row + 8, col);
                high.x += r.x, high.y += r.y;
              }
            }
            if (p.out_f32) {
              float* const to = static_cast<float*>(p.out) + row * p.out_row + col;
              if (row < rows && col < p.n) *reinterpret_cast<float2*>(to) = low;
              if (row + 8 < rows && col < p.n) *reinterpret_cast<float2*>(to + 8 * p.out_row) = high;
            }
            packed[2 * h] = pack2<T>(low.x, low.y), packed[2 * h + 1] = pack2<T>(high.x, high.y);
          }
          if (!p.out_f32) {
            const uint32_t to = shared_address(staging) + swizzled<8>(lane & 15, j + (lane >> 4));
            store_matrices(to, packed[0], packed[1], packed[2], packed[3]);
          }
        }
        if (!p.out_f32) {
          __syncwarp();
#pragma unroll
          for (int i = lane; i < 16 * 8; i += 32) {
            const int r = row0 + (i >> 3), col = col0 + (i & 7) * 8;
            if (r < rows && col < p.n) {
              *reinterpret_cast<int4*>(static_cast<T*>(p.out) + r * p.out_row + col) =
                  *reinterpret_cast<const int4*>(staging + swizzled<8>(i >> 3, i & 7));
            }
          }
          __syncwarp();
        }
      }
    }
  }

  if constexpr (SPLIT) {
    if (first_tile >= tiles) return;  // the whole cluster leaves together
    const int rows = *p.rows, row_base = (first_tile / columns) * Shape::kRows, col_base = (first_tile % columns) * N;
    float* const mine = reinterpret_cast<float*>(memory);
    __syncthreads();  // every product of this block has read its tiles
    if (warp < GROUPS * 4) {
#pragma unroll
      for (int j = 0; j < N / 8; ++j) {
        float* const to = mine + (warp * 16 + (lane >> 2)) * Shape::kSumStride + j * 8 + (lane & 3) * 2;
        *reinterpret_cast<float2*>(to) = {sums[4 * j], sums[4 * j + 1]};
        *reinterpret_cast<float2*>(to + 8 * Shape::kSumStride) = {sums[4 * j + 2], sums[4 * j + 3]};
      }
    }
    cluster_sync();
    const int from = Shape::kRows * rank / ranks, to = Shape::kRows * (rank + 1) / ranks;
    for (int i = threadIdx.x; i < (to - from) * (N / 4); i += Shape::kThreads) {
      const int r = from + i / (N / 4), c = (i % (N / 4)) * 4, row = row_base + r, col = col_base + c;
      if (row >= rows || col >= p.n) continue;
      float4 v = *reinterpret_cast<const float4*>(p.bias + col);
      const uint32_t at = shared_address(mine + r * Shape::kSumStride + c);
      for (int k = 0; k < ranks; ++k) {
        const float4 part = load_shared_cluster(in_block(at, k));
        v.x += part.x, v.y += part.y, v.z += part.z, v.w += part.w;
      }
      v.x = activated<ACTIVATION>(v.x), v.y = activated<ACTIVATION>(v.y);
      v.z = activated<ACTIVATION>(v.z), v.w = activated<ACTIVATION>(v.w);
      if (p.residual) {
        const float2 a = residual_at<T>(p, row, col), b = residual_at<T>(p, row, col + 2);
        v.x += a.x, v.y += a.y, v.z += b.x, v.w += b.y;
      }
      if (p.out_f32) {
        *reinterpret_cast<float4*>(static_cast<float*>(p.out) + row * p.out_row + col) = v;
      } else {
        *reinterpret_cast<uint2*>(static_cast<T*>(p.out) + row * p.out_row + col) =
            make_uint2(pack2<T>(v.x, v.y), pack2<T>(v.z, v.w));
      }
    }
    cluster_sync();  // nobody leaves while others read here
  }
#endif
}

}  // namespace hedgerow::cuda
