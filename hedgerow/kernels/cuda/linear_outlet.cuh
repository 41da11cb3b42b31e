// SPDX-License-Identifier: Apache-2.0
// How one warpgroup's tile leaves (linear_pingpong.cuh): bias, activation and residual in chunks of 64 rows x
// 128 bytes of shared memory. The copy engine brings the residual's chunk before it is needed and takes the
// result away from the same place while the next chunks are computed.
#pragma once

#include "hedgerow/kernels/cuda/hopper.cuh"
#include "hedgerow/kernels/cuda/linear.cuh"

namespace hedgerow::cuda {

__device__ __forceinline__ float2 load_shared_pair(uint32_t at) {
  float2 v;
  asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(at) : "memory");
  return v;
}
__device__ __forceinline__ void store_shared_pair(uint32_t at, float2 v) {
  asm volatile("st.shared.v2.f32 [%0], {%1,%2};" ::"r"(at), "f"(v.x), "f"(v.y) : "memory");
}

// One warpgroup's way out: E is the type of `out` and of the residual.
template <class T, class E, int ACTIVATION, int N, class Shape>
struct Outlet {
  static constexpr int kCols = 128 / static_cast<int>(sizeof(E)), kAcross = N / kCols;  // of a chunk
  const CUtensorMap* out_map;
  const CUtensorMap* residual_map;
  const LinearParams& p;
  uint32_t at;  // chunks, bias, barriers
  int group, rows;

  __device__ __forceinline__ uint32_t ready(int c) const {
    return at + Shape::kReady + c % Shape::kChunks * 8;
  }
  __device__ __forceinline__ void fetch(int c, int row, int col) const {
    barrier_expect(ready(c), Shape::kChunk);
    tile_load_2d(at + c % Shape::kChunks * Shape::kChunk, residual_map, ready(c), col + c % kAcross * kCols,
                 row + c / kAcross * 64);
  }
  // The residual's first chunks, once the tile before has left.
  __device__ __forceinline__ void fetch_first(int row, int col, bool high) const {
    stores_wait_read<0>();
    for (int c = 0; c < Shape::kChunks && c < (high ? 2 : 1) * kAcross; ++c) fetch(c, row, col);
  }

  // Half a tile, 64 rows: chunks kFirst, kFirst + 1, ... of `count`.
  template <int kFirst>
  __device__ __forceinline__ void finish(const float (&sums)[N / 2], int row, int col, int count,
                                         uint32_t& parity) const {
    constexpr int kBelow = kFirst / kAcross * 64;
    const int t = threadIdx.x & 127, lane = t & 31, pair = (lane & 3) * 2;
    const uint32_t at_bias = at + Shape::kBias + pair * 4;
    // Of columns 0 to 15 in this thread's chunk; those 16 i further on are at place ^ i * 32 (or, f32, 64).
    const uint32_t place =
        at + (sizeof(E) == 4 ? swizzled<8>((t >> 5) * 16 + (lane >> 2), pair >> 2) + (pair & 2) * 4
                             : swizzled<8>((t >> 5) * 16 + (lane & 15), lane >> 4));
    const int live = rows - row - kBelow;
#pragma unroll
    for (int j = 0; j < kAcross; ++j) {
      const int c = kFirst + j;
      const uint32_t chunk = c % Shape::kChunks * Shape::kChunk;
      if (p.residual) {
        barrier_wait(ready(c), parity >> c % Shape::kChunks & 1);
        parity ^= 1u << c % Shape::kChunks;
      }
      // What the next columns need is read before these are stored: it would wait for them.
      constexpr int kAhead = ACTIVATION == 0 ? 2 : 1;
      float2 add[kAhead][2];
      uint32_t was[kAhead][4] = {};
      auto ask = [&](int i) {
        if (i >= kCols / 16) return;
        add[i % kAhead][0] = load_shared_pair(at_bias + (j * kCols + i * 16) * 4);
        add[i % kAhead][1] = load_shared_pair(at_bias + (j * kCols + i * 16 + 8) * 4);
        if (sizeof(E) == 2 && p.residual) load_matrices(was[i % kAhead], (place ^ i * 32) + chunk);
      };
#pragma unroll
      for (int i = 0; i < kAhead; ++i) ask(i);
#pragma unroll
      for (int i = 0; i < kCols / 16; ++i) {
        float y[8];  // of rows r, r + 8, r, r + 8: two neighbours each
#pragma unroll
        for (int h = 0; h < 8; ++h)
          y[h] = sums[(j * (kCols / 16) + i) * 8 + h] +
                 (h % 2 ? add[i % kAhead][h / 4].y : add[i % kAhead][h / 4].x);
        activate_all<ACTIVATION>(y);
        if constexpr (sizeof(E) == 4) {
          ask(i + kAhead);
#pragma unroll
          for (int h = 0; h < 4; ++h) {
            const uint32_t to = (place ^ (i * 64 + h / 2 * 32)) + chunk + h % 2 * 1024;
            if (p.residual) {
              const float2 old = load_shared_pair(to);
              y[2 * h] += old.x, y[2 * h + 1] += old.y;
            }
            store_shared_pair(to, {y[2 * h], y[2 * h + 1]});
          }
        } else {
          if (p.residual) {
#pragma unroll
            for (int h = 0; h < 4; ++h) {
              const float2 old = unpack2<T>(was[i % kAhead][h]);
              y[2 * h] += old.x, y[2 * h + 1] += old.y;
            }
          }
          ask(i + kAhead);
          store_matrices((place ^ i * 32) + chunk, pack2<T>(y[0], y[1]), pack2<T>(y[2], y[3]),
                         pack2<T>(y[4], y[5]), pack2<T>(y[6], y[7]));
        }
      }
      fence_shared_for_async();
      warpgroup_sync(1 + group);
      const int chunk_col = col + j * kCols;
      if (t == 0) {
        if (live >= 64) tile_store_2d(out_map, at + chunk, chunk_col, row + kBelow);
        stores_commit();
        // Two stores may be on their way: the place of the next chunk but one is free when all meet again.
        stores_wait_read<2>();
        if (p.residual && c >= 2 && c + 2 < count) fetch(c + 2, row, col);
      }
      if (live > 0 && live < 64) {
        const int piece_col = chunk_col + (t & 7) * (16 / static_cast<int>(sizeof(E)));
#pragma unroll 1
        for (int i = t >> 3; i < live && piece_col < p.n; i += 16) {
          const float4 v = load_shared_cluster(at + chunk + swizzled<8>(i, t & 7));
          *reinterpret_cast<float4*>(static_cast<E*>(p.out) +
                                     static_cast<int64_t>(row + kBelow + i) * p.out_row + piece_col) = v;
        }
      }
    }
  }
};

}  // namespace hedgerow::cuda
