// SPDX-License-Identifier: Apache-2.0
// Matrix products on Hopper's warpgroup instructions. One warp feeds a ring of tiles through the copy engine,
// one or two warpgroups multiply, each 64 rows by N columns.
//
//  - The row count is read on the device. Blocks walk over the tiles that exist, so a batch that lost half of
//  its rows
//    costs half, in the same launch.
//  - Weights do not depend on the kernel before: the first tiles of them are fetched before waiting for it.
//  - Few rows: a cluster shares one tile, each block takes a range of k, and the sums meet in shared memory,
//  always added
//    in the same order.
#pragma once

#include "hedgerow/kernels/cuda/hopper.cuh"
#include "hedgerow/kernels/cuda/linear/linear.cuh"

namespace hedgerow::cuda {

constexpr int kStepK = 64;

template <int GROUPS, int N, int STAGES>
struct LinearShape {
  static constexpr int kRows = 64 * GROUPS;
  static constexpr int kXBytes = kRows * kStepK * 2, kWBytes = N * kStepK * 2, kStage = kXBytes + kWBytes;
  static constexpr int kStaging = GROUPS * 4 * 2048;  // one 16 x 64 tile per warp, for whole-line stores
  static constexpr int kSumStride = N + 8;            // of the sums that a cluster exchanges
  static constexpr size_t kShared = static_cast<size_t>(STAGES) * kStage + kStaging + 2 * STAGES * 8;
  static constexpr int kPerMultiprocessor = kShared <= 113 * 1024 ? 2 : 1;
  static constexpr int kThreads = GROUPS * 128 + 32;
  static constexpr int kAtOnce = 2;  // groups of 8 columns whose last reads are in flight together
  static_assert(kRows * kSumStride * 4 <= STAGES * kStage);
};

// One warp's 16 x 64 sums to memory, kTiles groups of 8 columns at a time. `bias`, `residual` and `out` are
// read and written only inside the live rows.
template <class T, int ACTIVATION, int kTiles>
__device__ __forceinline__ void finish_chunk(const float* sums, const LinearParams& p, int row0, int col0,
                                             int rows, unsigned char* staging) {
  const int lane = threadIdx.x & 31, row = row0 + (lane >> 2), pair = (lane & 3) * 2;
#pragma unroll
  for (int j0 = 0; j0 < 8; j0 += kTiles) {
    float2 bias[kTiles], low[kTiles], high[kTiles];
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      const int col = col0 + (j0 + j) * 8 + pair;
      bias[j] = __ldg(reinterpret_cast<const float2*>(p.bias + col));
      low[j] = high[j] = {0.0f, 0.0f};
      if (p.residual && col < p.n) {
        if (row < rows) low[j] = residual_at<T>(p, row, col);
        if (row + 8 < rows) high[j] = residual_at<T>(p, row + 8, col);
      }
    }
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      const float* const s = sums + (j0 + j) * 4;
      low[j].x += activated<ACTIVATION>(s[0] + bias[j].x),
          low[j].y += activated<ACTIVATION>(s[1] + bias[j].y);
      high[j].x += activated<ACTIVATION>(s[2] + bias[j].x),
          high[j].y += activated<ACTIVATION>(s[3] + bias[j].y);
    }
    if (p.out_f32) {
      float* const to = static_cast<float*>(p.out) + row * p.out_row + col0 + j0 * 8 + pair;
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
        if (col0 + (j0 + j) * 8 >= p.n) break;
        if (row < rows) *reinterpret_cast<float2*>(to + j * 8) = low[j];
        if (row + 8 < rows) *reinterpret_cast<float2*>(to + 8 * p.out_row + j * 8) = high[j];
      }
      continue;
    }
#pragma unroll
    for (int j = 0; j < kTiles; j += 2) {
      store_matrices(shared_address(staging) + swizzled<8>(lane & 15, j0 + j + (lane >> 4)),
                     pack2<T>(low[j].x, low[j].y), pack2<T>(high[j].x, high[j].y),
                     pack2<T>(low[j + 1].x, low[j + 1].y), pack2<T>(high[j + 1].x, high[j + 1].y));
    }
  }
  if (p.out_f32) return;
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int r = row0 + i * 4 + (lane >> 3), col = col0 + (lane & 7) * 8;
    if (r < rows && col < p.n) {
      *reinterpret_cast<int4*>(static_cast<T*>(p.out) + r * p.out_row + col) =
          *reinterpret_cast<const int4*>(staging + swizzled<8>(i * 4 + (lane >> 3), lane & 7));
    }
  }
  __syncwarp();
}

// Adds up a tile that a cluster computed in parts; this block finishes its share of the rows.
template <class T, int ACTIVATION, class Shape, int N, int RANKS>
__device__ __forceinline__ void finish_split(const LinearParams& p, const float* mine, int row0, int col0,
                                             int rows, int rank) {
  constexpr int kQuads = N / 4, kBatch = 4, kShare = Shape::kRows / RANKS, count = kShare * kQuads;
  const int from = kShare * rank;
  for (int i0 = threadIdx.x; i0 < count; i0 += kBatch * Shape::kThreads) {
    float4 v[kBatch];
    float2 a[kBatch], b[kBatch];
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {  // everything that has latency first
      const int i = i0 + u * Shape::kThreads, r = from + i / kQuads, c = (i % kQuads) * 4;
      a[u] = b[u] = {0.0f, 0.0f}, v[u] = {0.0f, 0.0f, 0.0f, 0.0f};
      if (i >= count || row0 + r >= rows || col0 + c >= p.n) continue;
      if (p.residual)
        a[u] = residual_at<T>(p, row0 + r, col0 + c), b[u] = residual_at<T>(p, row0 + r, col0 + c + 2);
      v[u] = __ldg(reinterpret_cast<const float4*>(p.bias + col0 + c));
      const uint32_t at = shared_address(mine + r * Shape::kSumStride + c);
      float4 part[RANKS];
#pragma unroll
      for (int k = 0; k < RANKS; ++k) part[k] = load_shared_cluster(in_block(at, k));
#pragma unroll
      for (int k = 0; k < RANKS; ++k) {
        v[u].x += part[k].x, v[u].y += part[k].y, v[u].z += part[k].z, v[u].w += part[k].w;
      }
    }
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      const int i = i0 + u * Shape::kThreads, r = from + i / kQuads, c = (i % kQuads) * 4;
      if (i >= count || row0 + r >= rows || col0 + c >= p.n) continue;
      const float4 y = {activated<ACTIVATION>(v[u].x) + a[u].x, activated<ACTIVATION>(v[u].y) + a[u].y,
                        activated<ACTIVATION>(v[u].z) + b[u].x, activated<ACTIVATION>(v[u].w) + b[u].y};
      const int64_t at = (row0 + r) * p.out_row + col0 + c;
      if (p.out_f32) {
        *reinterpret_cast<float4*>(static_cast<float*>(p.out) + at) = y;
      } else {
        *reinterpret_cast<uint2*>(static_cast<T*>(p.out) + at) =
            make_uint2(pack2<T>(y.x, y.y), pack2<T>(y.z, y.w));
      }
    }
  }
}

template <class T, int ACTIVATION, int GROUPS, int N, int STAGES>
__global__ void __launch_bounds__(LinearShape<GROUPS, N, STAGES>::kThreads,
                                  LinearShape<GROUPS, N, STAGES>::kPerMultiprocessor)
    linear_split(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map,
                 const __grid_constant__ LinearParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = LinearShape<GROUPS, N, STAGES>;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t at_stage = shared_address(memory),
                 at_full = at_stage + STAGES * Shape::kStage + Shape::kStaging;
  const uint32_t at_empty = at_full + STAGES * 8;
  const int warp = warp_index(), lane = threadIdx.x & 31;

  const int ranks = alike(static_cast<int>(cluster_size())), rank = alike(static_cast<int>(cluster_rank()));
  const int columns = (p.n + N - 1) / N, all_steps = (p.k + kStepK - 1) / kStepK;
  const int step_begin = all_steps * rank / ranks, steps = all_steps * (rank + 1) / ranks - step_begin;
  // Neighbouring tiles share their rows.
  const int first_tile = blockIdx.x / ranks, tile_step = gridDim.x / ranks;
  auto row_of = [&](int tile) { return tile / columns * Shape::kRows; };
  auto tiles_in = [&](int rows) { return columns * ((rows + Shape::kRows - 1) / Shape::kRows); };

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
  int rows = 0;
  if (warp >= GROUPS * 4) {
    if (warp == GROUPS * 4 && elected()) {
      prefetch_map(&x_map), prefetch_map(&w_map);
      const int ahead = min(STAGES, steps), k_begin = step_begin * kStepK;
      auto load_x = [&](int slot, int k, int row) {
        tile_load_2d(at_stage + slot * Shape::kStage, &x_map, at_full + slot * 8, k, row);
      };
      auto load_w = [&](int slot, int k, int col) {
        tile_load_2d(at_stage + slot * Shape::kStage + Shape::kXBytes, &w_map, at_full + slot * 8, k, col);
      };
      int row = row_of(first_tile), col = first_tile % columns * N;
      for (int s = 0; s < ahead; ++s) {
        barrier_expect(at_full + s * 8, Shape::kStage);
        load_w(s, k_begin + s * kStepK, col);
      }
      wait_for_previous();
      // Before the row count is known: at worst these rows are not there, and nobody looks at them.
      for (int s = 0; s < ahead; ++s) load_x(s, k_begin + s * kStepK, row);
      rows = *p.rows;
      const int tiles = tiles_in(rows);
      int s = ahead, slot = ahead % STAGES;
      uint32_t phase = ahead == STAGES ? 0 : 1;  // of the slot's last products, which must be over
      for (int tile = first_tile; tile < tiles; tile += tile_step, s = 0) {
        if (tile != first_tile) row = row_of(tile), col = tile % columns * N;
#pragma unroll 1
        for (; s < steps; ++s) {
          barrier_wait(at_empty + slot * 8, phase);
          barrier_expect(at_full + slot * 8, Shape::kStage);
          load_x(slot, k_begin + s * kStepK, row), load_w(slot, k_begin + s * kStepK, col);
          if (++slot == STAGES) slot = 0, phase ^= 1;
        }
      }
      if (first_tile >= tiles) {  // what was fetched must land before the memory is given up
        for (int i = 0; i < ahead; ++i) barrier_wait(at_full + i * 8, 0);
      }
    }
    __syncwarp();
    wait_for_previous();
    rows = *p.rows;
  } else {
    wait_for_previous();
    rows = alike(*p.rows);
    const int tiles = tiles_in(rows), group = warp >> 2;
    auto release = [&](int slot) {
      if (lane == 0) barrier_arrive(at_empty + slot * 8);
    };
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
          release((count - 1) % STAGES);
        }
      }
      products_wait<0>();
      release((count - 1) % STAGES);
      if (ranks > 1) break;  // the cluster finishes below
      const int row0 = row_of(tile) + warp * 16;
#pragma unroll
      for (int c = 0; c < N / 64; ++c) {
        const int col0 = tile % columns * N + c * 64;
        if (col0 >= p.n || row0 >= rows) break;
        finish_chunk<T, ACTIVATION, Shape::kAtOnce>(sums + c * 32, p, row0, col0, rows,
                                                    memory + STAGES * Shape::kStage + warp * 2048);
      }
    }
  }

  if (ranks == 1 || first_tile >= tiles_in(rows)) return;  // the whole cluster leaves together
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
  const int row0 = row_of(first_tile), col0 = first_tile % columns * N;
  if (ranks == 2) finish_split<T, ACTIVATION, Shape, N, 2>(p, mine, row0, col0, rows, rank);
  if (ranks == 4) finish_split<T, ACTIVATION, Shape, N, 4>(p, mine, row0, col0, rows, rank);
  if (ranks == 8) finish_split<T, ACTIVATION, Shape, N, 8>(p, mine, row0, col0, rows, rank);
  cluster_sync();  // nobody leaves while others read here
#endif
}

}  // namespace hedgerow::cuda
