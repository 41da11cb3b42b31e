// SPDX-License-Identifier: Apache-2.0
// How one warpgroup's tile leaves (linear/pingpong.cuh): bias, activation and residual in chunks of 64 rows x
// 128 bytes of shared memory. The copy engine brings the residual's chunk before it is needed and takes the
// result away from the same place while the next chunks are computed.
#pragma once

#include "hedgerow/kernels/cuda/hopper.cuh"
#include "hedgerow/kernels/cuda/linear/moments.cuh"

namespace hedgerow::cuda {

__device__ __forceinline__ float2 load_shared_pair(uint32_t at) {
  float2 v;
  asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(at) : "memory");
  return v;
}
__device__ __forceinline__ void store_shared_pair(uint32_t at, float2 v) {
  asm volatile("st.shared.v2.f32 [%0], {%1,%2};" ::"r"(at), "f"(v.x), "f"(v.y) : "memory");
}

__device__ __forceinline__ uint32_t load_shared_word(uint32_t at) {
  uint32_t v;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(v) : "r"(at) : "memory");
  return v;
}
__device__ __forceinline__ void store_shared_half(uint32_t at, uint16_t v) {
  asm volatile("st.shared.u16 [%0], %1;" ::"r"(at), "h"(v) : "memory");
}

// One warpgroup's way out: T is the type of the factors, E that of `out` and of the residual. Chunks of e4m3
// are 64 bytes wide, so that 192 columns are whole chunks.
template <class T, class E, int ACTIVATION, int N, class Shape, bool MOMENTS>
struct Outlet {
  static constexpr int kBytes = sizeof(E) == 1 ? 64 : 128;  // of a chunk's row
  static constexpr int kCols = kBytes / static_cast<int>(sizeof(E)), kAcross = N / kCols;
  static constexpr bool kMeasures = MOMENTS && sizeof(E) == 2 && ACTIVATION == 0;
  const CUtensorMap* out_map;
  const CUtensorMap* residual_map;
  const LinearParams& p;
  uint32_t at;         // chunks, bias, barriers
  uint32_t at_scales;  // of int8 products: bf16, of the columns
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

  // Chunk c, the j-th of its half, which begins `below` rows down the tile: sum_at(i), i < kCols / 2, are its
  // sums.
  template <class SumAt>
  __device__ __forceinline__ void leave_chunk(SumAt&& sum_at, int c, int j, int below, int row, int col,
                                              int count, const float (&row_scales)[2], Moments& moments,
                                              uint32_t& parity) const {
    constexpr bool kWhole = std::is_same_v<T, i8>;
    const int t = threadIdx.x & 127, lane = t & 31, pair = (lane & 3) * 2;
    const uint32_t at_bias = at + Shape::kBias + pair * 4;
    // Of columns 0 to 15 in this thread's chunk; those 16 i further on are at place ^ i * 32 (f32 64, e4m3
    // 16).
    const uint32_t place =
        at + (sizeof(E) == 4   ? swizzled<8>((t >> 5) * 16 + (lane >> 2), pair >> 2) + (pair & 2) * 4
              : sizeof(E) == 2 ? swizzled<8>((t >> 5) * 16 + (lane & 15), lane >> 4)
                               : swizzled<4>((t >> 5) * 16 + (lane >> 2), 0) + pair);
    const int live = rows - row - below;
    const uint32_t chunk = c % Shape::kChunks * Shape::kChunk;
    if (p.residual) {
      barrier_wait(ready(c), parity >> c % Shape::kChunks & 1);
      parity ^= 1u << c % Shape::kChunks;
    }
    // What the next columns need is read before these are stored: it would wait for them.
    constexpr int kAhead = ACTIVATION == 0 ? 2 : 1;
    float2 add[kAhead][2];
    uint32_t col_scales[kAhead][2] = {};
    uint32_t was[kAhead][4] = {};
    auto ask = [&](int i) {
      if (i >= kCols / 16) return;
      add[i % kAhead][0] = load_shared_pair(at_bias + (j * kCols + i * 16) * 4);
      add[i % kAhead][1] = load_shared_pair(at_bias + (j * kCols + i * 16 + 8) * 4);
      if constexpr (kWhole) {
        const uint32_t from = at_scales + (j * kCols + i * 16 + pair) * 2;
        col_scales[i % kAhead][0] = load_shared_word(from),
                       col_scales[i % kAhead][1] = load_shared_word(from + 16);
      }
      if (sizeof(E) == 2 && p.residual) load_matrices(was[i % kAhead], (place ^ i * 32) + chunk);
    };
#pragma unroll
    for (int i = 0; i < kAhead; ++i) ask(i);
#pragma unroll
    for (int i = 0; i < kCols / 16; ++i) {
      float y[8];  // of rows r, r + 8, r, r + 8: two neighbours each
#pragma unroll
      for (int h = 0; h < 8; ++h) {
        const float sum = static_cast<float>(sum_at(i * 8 + h));
        const float bias = h % 2 ? add[i % kAhead][h / 4].y : add[i % kAhead][h / 4].x;
        if constexpr (kWhole) {
          const float2 outputs = unpack2<bf16>(col_scales[i % kAhead][h / 4]);
          y[h] = fmaf(sum * row_scales[h / 2 % 2], h % 2 ? outputs.y : outputs.x, bias);
        } else {
          y[h] = MOMENTS                   ? fmaf(sum, row_scales[h / 2 % 2], bias)
                 : std::is_same_v<T, e4m3> ? fmaf(sum, p.scale, bias)
                                           : sum + bias;
        }
      }
      constexpr bool kPairs = sizeof(T) == 1 && ACTIVATION != 0;
      uint32_t pairs[4];  // y as f16, activated
      if constexpr (kPairs) {
        const float scale = sizeof(E) == 1 ? 0.5f * p.out_scale : 0.5f;
#pragma unroll
        for (int h = 0; h < 4; ++h)
          pairs[h] = gelu_pair(pack2<f16>(y[2 * h], y[2 * h + 1]), pack2<f16>(scale, scale));
      } else {
        activate_all<ACTIVATION>(y);
      }
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
      } else if constexpr (sizeof(E) == 1) {
        ask(i + kAhead);
#pragma unroll
        for (int h = 0; h < 4; ++h) {
          store_shared_half((place ^ i * 16) + chunk + h / 2 * 8 + h % 2 * 512,
                            kPairs ? narrow2_e4m3(pairs[h])
                                   : pack2_e4m3(y[2 * h] * p.out_scale, y[2 * h + 1] * p.out_scale));
        }
      } else {
        if (p.residual) {
#pragma unroll
          for (int h = 0; h < 4; ++h) {
            const float2 old = unpack2<E>(was[i % kAhead][h]);
            if constexpr (kPairs) {
              const float2 own = unpack2<f16>(pairs[h]);
              pairs[h] = pack2<f16>(own.x + old.x, own.y + old.y);
            } else {
              y[2 * h] += old.x, y[2 * h + 1] += old.y;
            }
          }
        }
        if constexpr (kMeasures) {
          if (p.moments && col + j * kCols < p.n) {
            Moments::take(moments.low, y[0], y[1]), Moments::take(moments.low, y[4], y[5]);
            Moments::take(moments.high, y[2], y[3]), Moments::take(moments.high, y[6], y[7]);
          }
        }
        ask(i + kAhead);
        if constexpr (kPairs)
          store_matrices((place ^ i * 32) + chunk, pairs[0], pairs[1], pairs[2], pairs[3]);
        else
          store_matrices((place ^ i * 32) + chunk, pack2<E>(y[0], y[1]), pack2<E>(y[2], y[3]),
                         pack2<E>(y[4], y[5]), pack2<E>(y[6], y[7]));
      }
    }
    fence_shared_for_async();
    warpgroup_sync(1 + group);
    const int chunk_col = col + j * kCols;
    if (t == 0) {
      if (live >= 64) tile_store_2d(out_map, at + chunk, chunk_col, row + below);
      stores_commit();
      // Two stores may be on their way: the place of the next chunk but one is free when all meet again.
      stores_wait_read<2>();
      if (p.residual && c >= 2 && c + 2 < count) fetch(c + 2, row, col);
    }
    if (live > 0 && live < 64) {
      constexpr int kPieces = kBytes / 16;
      const int piece = t % kPieces, piece_col = chunk_col + piece * (16 / static_cast<int>(sizeof(E)));
#pragma unroll 1
      for (int i = t / kPieces; i < live && piece_col < p.n; i += 128 / kPieces) {
        const float4 v = load_shared_cluster(at + chunk + swizzled<kPieces>(i, piece));
        *reinterpret_cast<float4*>(static_cast<E*>(p.out) +
                                   static_cast<int64_t>(row + below + i) * p.out_row + piece_col) = v;
      }
    }
  }

  // Half a tile, 64 rows: chunks kFirst, kFirst + 1, ... of `count`.
  // `own`: what the warp's rows are multiplied with, those of the upper half in lanes 0 to 15, of the lower
  // in the others.
  template <int kFirst, class Sum>
  __device__ __forceinline__ void finish(const Sum (&sums)[N / 2], int row, int col, int count, float own,
                                         uint32_t& parity) const {
    constexpr int kBelow = kFirst / kAcross * 64;
    const int t = threadIdx.x & 127, lane = t & 31;
    float row_scales[2] = {};  // of rows r and r + 8; a row that is not there has that of the last one
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if constexpr (std::is_same_v<T, i8>)
        row_scales[i] = p.x_scales[min(row + kBelow + (t >> 5) * 16 + (lane >> 2) + 8 * i, rows - 1)];
      else if constexpr (MOMENTS)
        row_scales[i] = __shfl_sync(0xffffffffu, own, kBelow / 4 + (lane >> 2) + 8 * i);
    }
    Moments moments;
#pragma unroll
    for (int j = 0; j < kAcross; ++j)
      leave_chunk([&](int i) { return sums[j * (kCols / 2) + i]; }, kFirst + j, j, kBelow, row, col, count,
                  row_scales, moments, parity);
    if constexpr (kMeasures) {
      if (p.moments)
        moments.leave(p.moments, p.n >> 6, col >> 6, kAcross - 1, row + kBelow + (t >> 5) * 16, rows);
    }
  }

  // The whole tile by one piece of code, the sums moved up to it chunk by chunk. With an activation in every
  // chunk's own code a launch took 17 us longer inside a pass than in a loop of its own, however many rows it
  // had: between two launches a pass's other kernels drive so many instructions from the caches. At 12,000
  // rows of ViT-B (MOMENTS) the moves cost more than that.
  template <class Sum>
  __device__ __forceinline__ void finish_by_turns(Sum (&sums)[2][N / 2], int row, int col, int count,
                                                  float own, uint32_t& parity) const {
    const auto at_place = [&](int i) -> Sum& { return sums[i / (N / 2)][i % (N / 2)]; };
    Moments none;
    int j = 0, below = 0;
#pragma unroll 1
    for (int c = 0; c < count; ++c) {
      float row_scales[2] = {};
      if constexpr (MOMENTS) {
#pragma unroll
        for (int i = 0; i < 2; ++i)
          row_scales[i] = __shfl_sync(0xffffffffu, own, below / 4 + ((threadIdx.x & 31) >> 2) + 8 * i);
      }
      leave_chunk([&](int i) { return at_place(i); }, c, j, below, row, col, count, row_scales, none, parity);
#pragma unroll
      for (int i = 0; i + kCols / 2 < N; ++i) at_place(i) = at_place(i + kCols / 2);
      if (++j == kAcross) j = 0, below += 64;
    }
  }
};

}  // namespace hedgerow::cuda
