// SPDX-License-Identifier: Apache-2.0
// The ends of the fused MLP (mlp.cuh) for one warpgroup: rows are read and normalised into shared memory, and
// finished sums become outputs.
#pragma once

#include "hedgerow/kernels/cuda/hopper.cuh"
#include "hedgerow/kernels/cuda/linear/outlet.cuh"

namespace hedgerow::cuda {

struct MlpParams {
  const int32_t* rows;  // live row count, in device memory
  const void* x;
  void* out;
  int64_t x_row, out_row;  // elements
  const float *gamma, *beta, *bias1, *bias2;
  float eps;
  int hidden;
};

// threadIdx.x, asked for where it is used: what is computed from it is not kept in registers across the
// products.
__device__ __forceinline__ int thread_here() {
  int r;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(r));
  return r;
}

// Shared memory of a block, in bytes: normalised rows (two halves of 64 rows, panels of 64 columns), a ring
// of slots that weights pass through, vectors, barriers.
template <int DIM>
struct MlpShape {
  static_assert(DIM == 192 || DIM == 384);
  static constexpr int kThreads = 3 * 128;            // the third warpgroup feeds
  static constexpr int kStep = DIM == 192 ? 64 : 32;  // hidden columns a warpgroup has in hand
  static constexpr bool kKept = DIM == 192;           // its rows stay in registers
  static constexpr int kPanel = 64 * 128, kHalf = DIM / 64 * kPanel;
  static constexpr int kSlot = kStep * DIM * 2, kSlots = DIM == 192 ? 7 : 5;  // w1 or w2 of one step
  static constexpr int kBoxes1 = 6, kBoxes2 = 2;                              // copies that fill a slot
  static constexpr int kBox1Rows = 32, kBox2Rows = DIM / 2;
  static constexpr int kRing = 2 * kHalf, kVectors = kRing + kSlots * kSlot;
  static constexpr int kMostHidden = 4 * DIM;
  static constexpr int kBias2 = kMostHidden, kGamma = kBias2 + DIM, kBeta = kGamma + DIM;  // floats
  static constexpr int kBarriers = kVectors + (kBeta + DIM) * 4;
  static constexpr int kFound = kBarriers + (2 * kSlots + 1) / 2 * 16;  // what a warpgroup looks up
  static constexpr size_t kShared = kFound + 2 * 16;
  static_assert(kShared <= 227 * 1024 && kSlot % 1024 == 0 && kSlots * kSlot >= 2 * kHalf);
};

__device__ __forceinline__ void load_eight(float (&v)[8], const float* from) {
  const float4 a = reinterpret_cast<const float4*>(from)[0], b = reinterpret_cast<const float4*>(from)[1];
  v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

// 16 bytes, or zeros; asked for here and not where the compiler would rather have them.
__device__ __forceinline__ uint4 load_if(const void* from, bool wanted) {
  uint4 v;
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %5, 0;\n"
      "mov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n"
      "@p ld.global.v4.b32 {%0,%1,%2,%3}, [%4];\n}"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(from), "r"(static_cast<int>(wanted))
      : "memory");
  return v;
}

// T: of the weights; E: of the rows, in and out.
template <class T, class E, int DIM>
struct MlpRows {
  using Shape = MlpShape<DIM>;
  const MlpParams& p;
  unsigned char* memory;
  int rows;

  __device__ __forceinline__ const float* vector(int at) const {
    return reinterpret_cast<const float*>(memory + Shape::kVectors) + at;
  }
  // Where the 16-byte chunk c of row r lies in the half at `half`.
  static __device__ __forceinline__ int chunk(int r, int c) {
    return (c >> 3) * Shape::kPanel + static_cast<int>(swizzled<8>(r, c & 7));
  }

  // One lane's share of a row as it lies in memory: every fourth run of eight values.
  struct Raw {
    uint4 word[DIM / 32][sizeof(E) / 2];
    __device__ __forceinline__ void load(const E* from, bool live) {
#pragma unroll
      for (int j = 0; j < DIM / 32; ++j) {
#pragma unroll
        for (int h = 0; h < static_cast<int>(sizeof(E) / 2); ++h)
          word[j][h] = load_if(from + j * 32 + h * 4, live);
      }
    }
    __device__ __forceinline__ float operator()(int j, int e) const {
      const uint4& w = word[j][e * sizeof(E) / 16];
      const int at = sizeof(E) == 4 ? e % 4 : e / 2;
      const uint32_t v = at == 0 ? w.x : at == 1 ? w.y : at == 2 ? w.z : w.w;
      if constexpr (sizeof(E) == 4) {
        return __uint_as_float(v);
      } else {
        return e % 2 ? unpack2<E>(v).y : unpack2<E>(v).x;
      }
    }
  };

  // One warp normalises `passes` times 8 rows from row `first` of the 64 that begin at `row` into `half`.
  // Eight lanes hold the same chunks of the eight rows, so that neither memory sees a conflict; four lanes
  // share a row.
  __device__ __forceinline__ void normalise(unsigned char* half, int first, int passes, int row) const {
    constexpr bool kAhead = sizeof(E) == 2;  // the second pass is on its way while the first is computed
    const int lane = thread_here() & 31, q = lane >> 3;
    int r = first + (lane & 7);
    const E* from = static_cast<const E*>(p.x) + static_cast<int64_t>(row + r) * p.x_row + q * 8;
    Raw now, next;
    if (kAhead) next.load(from, row + r < rows);
#pragma unroll 1
    for (int pass = 0; pass < passes; ++pass, r += 8) {
      if (kAhead) {
        now = next;
      } else {
        now.load(from, row + r < rows);
      }
      from += 8 * p.x_row;
      if (kAhead) next.load(from, pass + 1 < passes && row + r + 8 < rows);
      float sum = 0, squares = 0;
#pragma unroll
      for (int j = 0; j < DIM / 32; ++j) {
        sum += ((now(j, 0) + now(j, 1)) + (now(j, 2) + now(j, 3))) +
               ((now(j, 4) + now(j, 5)) + (now(j, 6) + now(j, 7)));
      }
      sum += __shfl_xor_sync(0xffffffffu, sum, 8);
      sum += __shfl_xor_sync(0xffffffffu, sum, 16);
      const float mean = sum * (1.0f / DIM);
#pragma unroll
      for (int j = 0; j < DIM / 32; ++j) {
#pragma unroll
        for (int e = 0; e < 8; ++e) squares = fmaf(now(j, e) - mean, now(j, e) - mean, squares);
      }
      squares += __shfl_xor_sync(0xffffffffu, squares, 8);
      squares += __shfl_xor_sync(0xffffffffu, squares, 16);
      const float scale = rsqrtf(fmaf(squares, 1.0f / DIM, p.eps));
#pragma unroll
      for (int j = 0; j < DIM / 32; ++j) {
        const int c = q + j * 4;
        float gamma[8], beta[8], y[8];
        load_eight(gamma, vector(Shape::kGamma + c * 8)), load_eight(beta, vector(Shape::kBeta + c * 8));
#pragma unroll
        for (int e = 0; e < 8; ++e) y[e] = fmaf((now(j, e) - mean) * scale, gamma[e], beta[e]);
        *reinterpret_cast<uint4*>(half + chunk(r, c)) = make_uint4(
            pack2<T>(y[0], y[1]), pack2<T>(y[2], y[3]), pack2<T>(y[4], y[5]), pack2<T>(y[6], y[7]));
      }
    }
  }

  // The residual of one warp's 16 rows, COUNT blocks of 16 columns from block `first` on, comes to `place`
  // (laid out as a half). f32 rows are read where they are needed: their sectors are whole without a detour.
  template <int COUNT>
  __device__ __forceinline__ void fetch(unsigned char* place, int first, int row) const {
    if constexpr (sizeof(E) == 2) {
      const int thread = thread_here(), lane = thread & 31, own = (thread >> 5 & 3) * 16;
      const uint32_t to = shared_address(place);
#pragma unroll 3
      for (int i = lane; i < 16 * 2 * COUNT; i += 32) {
        const int r = own + i / (2 * COUNT), c = first * 2 + i % (2 * COUNT);
        copy16(to + chunk(r, c), static_cast<const E*>(p.x) + static_cast<int64_t>(row + r) * p.x_row + c * 8,
               row + r < rows);
      }
      copies_commit();
    }
  }

  // out = y + bias + residual for the same columns, after fetch().
  template <int COUNT>
  __device__ __forceinline__ void finish(const float (&y)[COUNT * 8], unsigned char* place, int first,
                                         int row) const {
    const int thread = thread_here(), lane = thread & 31, own = (thread >> 5 & 3) * 16, pair = (lane & 3) * 2;
    const float* const bias = vector(Shape::kBias2 + first * 16 + pair);
    if constexpr (sizeof(E) == 4) {
#pragma unroll
      for (int i = 0; i < COUNT * 4; ++i) {  // two neighbours each, of rows r, r + 8, r, r + 8
        const int r = row + own + (lane >> 2) + i % 2 * 8, col = first * 16 + i / 2 * 8 + pair;
        if (r >= rows) continue;
        const float2 add = *reinterpret_cast<const float2*>(bias + i / 2 * 8);
        const float2 old =
            *reinterpret_cast<const float2*>(static_cast<const float*>(p.x) + r * p.x_row + col);
        *reinterpret_cast<float2*>(static_cast<float*>(p.out) + r * p.out_row + col) =
            make_float2(y[2 * i] + add.x + old.x, y[2 * i + 1] + add.y + old.y);
      }
    } else {
      copies_wait<0>();
      __syncwarp();
      const uint32_t at = shared_address(place);
#pragma unroll
      for (int b = 0; b < COUNT; ++b) {
        const uint32_t to = at + chunk(own + (lane & 15), (first + b) * 2 + (lane >> 4));
        uint32_t was[4], sum[4];
        load_matrices(was, to);
#pragma unroll
        for (int h = 0; h < 4; ++h) {
          const float2 old = unpack2<E>(was[h]),
                       add = *reinterpret_cast<const float2*>(bias + b * 16 + h / 2 * 8);
          sum[h] = pack2<E>(y[b * 8 + 2 * h] + add.x + old.x, y[b * 8 + 2 * h + 1] + add.y + old.y);
        }
        store_matrices(to, sum[0], sum[1], sum[2], sum[3]);
      }
      __syncwarp();
#pragma unroll 3
      for (int i = lane; i < 16 * 2 * COUNT; i += 32) {
        const int r = own + i / (2 * COUNT), c = first * 2 + i % (2 * COUNT);
        if (row + r < rows)
          *reinterpret_cast<uint4*>(static_cast<E*>(p.out) + static_cast<int64_t>(row + r) * p.out_row +
                                    c * 8) = *reinterpret_cast<const uint4*>(place + chunk(r, c));
      }
      __syncwarp();
    }
  }
};

}  // namespace hedgerow::cuda
