// SPDX-License-Identifier: Apache-2.0
// How the rows of a small product reach shared memory through the block's own threads: copied, or
// layer-normalised on the way. They land as the warpgroup products want them, 64 values of k after another.
#pragma once

#include "hedgerow/kernels/cuda/hopper.cuh"
#include "hedgerow/kernels/cuda/linear/linear.cuh"

namespace hedgerow::cuda {

// By the copy engine (divided: and their deviation is taken on the way), or by threads.
enum class Source : uint8_t { fetched, divided, copied, normed, normed_f32 };

// What a small product is given. Strides in elements; `at_*` are places in the block's memory.
struct SmallParams {
  const int32_t* rows;  // live row count, in device memory
  const float* bias;    // padded with zeros to whole tiles
  const void* residual;
  void* out;
  const void* x;         // of copied or normalised rows
  const int32_t* index;  // which rows; null = in order
  const float *gamma, *beta;
  int64_t x_row, residual_row, out_row;
  float eps, one_over_k;
  int n, k, capacity, x_rows, stages;
  int at_w, at_finished, at_parts, at_norm, at_barriers;
  int ranks_log;  // of a cluster: parts of k
  uint8_t act;
  bool residual_f32, out_f32;
};

// ------------------------------------------------------------------------------------- instructions

__device__ __forceinline__ void push_async(uint32_t to, uint32_t bar, float a, float b) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%2, %3}, [%1];" ::"r"(to),
      "r"(bar), "f"(a), "f"(b)
      : "memory");
}
__device__ __forceinline__ void push_async(uint32_t to, uint32_t bar, float a, float b, float c, float d) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%2, %3, %4, %5}, [%1];" ::"r"(
          to),
      "r"(bar), "f"(a), "f"(b), "f"(c), "f"(d)
      : "memory");
}
// A load that stays where it is written: its latency passes while others pass theirs.
__device__ __forceinline__ int load_early(const int32_t* from) {
  int v;
  asm volatile("ld.global.s32 %0, [%1];" : "=r"(v) : "l"(from) : "memory");
  return v;
}
// As barrier_wait, for what other blocks of the cluster wrote.
__device__ __forceinline__ void barrier_wait_cluster(uint32_t bar, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@done bra.uni finished;\n"
      "bra.uni again;\n"
      "finished:\n}" ::"r"(bar),
      "r"(parity)
      : "memory");
}
__device__ __forceinline__ void load_shared_floats(float (&v)[4], uint32_t at) {
  asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];"
               : "=f"(v[0]), "=f"(v[1]), "=f"(v[2]), "=f"(v[3])
               : "r"(at)
               : "memory");
}
__device__ __forceinline__ void load_shared_floats(float (&v)[2], uint32_t at) {
  asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(v[0]), "=f"(v[1]) : "r"(at) : "memory");
}
template <int THREADS>
__device__ __forceinline__ void threads_sync(int id) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "n"(THREADS) : "memory");
}
template <int THREADS>
__device__ __forceinline__ void threads_arrive(int id) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "n"(THREADS) : "memory");
}

// ------------------------------------------------------------------------------------------ chunks

// Eight values: 16 bytes of T in `a`, or 32 bytes of f32 in both.
template <class T>
__device__ __forceinline__ void unpack_chunk(float (&v)[8], const uint4& a, const uint4& b) {
  if constexpr (std::is_same_v<T, float>) {
    v[0] = __uint_as_float(a.x), v[1] = __uint_as_float(a.y), v[2] = __uint_as_float(a.z),
    v[3] = __uint_as_float(a.w), v[4] = __uint_as_float(b.x), v[5] = __uint_as_float(b.y),
    v[6] = __uint_as_float(b.z), v[7] = __uint_as_float(b.w);
  } else {
    const float2 c = unpack2<T>(a.x), d = unpack2<T>(a.y), e = unpack2<T>(a.z), f = unpack2<T>(a.w);
    v[0] = c.x, v[1] = c.y, v[2] = d.x, v[3] = d.y, v[4] = e.x, v[5] = e.y, v[6] = f.x, v[7] = f.y;
  }
}

// Where row r of the tile reads from. The index may hold anything past the live rows.
__device__ __forceinline__ int64_t source_row(const SmallParams& p, int row) {
  return p.index ? min(max(__ldg(p.index + row), 0), p.x_rows - 1) : row;
}

// One over the deviation of R rows, by a warpgroup that sees the rows' tiles pass by: a few lanes per row, of
// which each takes whole chunks. One pass in f32: a mean as large as a hundred deviations costs three digits.
template <class T, int R>
struct Deviation {
  static constexpr int kLanes = 128 / R < 8 ? 128 / R : 8, kChunks = 8 / kLanes;
  const int lane, row;
  float sum[2] = {}, squares[2] = {};

  __device__ __forceinline__ explicit Deviation(int thread) : lane(thread % kLanes), row(thread / kLanes) {}
  __device__ __forceinline__ void take(uint32_t at_tile) {
    if (row >= R) return;
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const int4 chunk = load_shared(at_tile + swizzled<8>(row, lane + i * kLanes));
      const int words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float2 v = unpack2<T>(static_cast<uint32_t>(words[e]));
        sum[0] += v.x, sum[1] += v.y;
        squares[0] = fmaf(v.x, v.x, squares[0]), squares[1] = fmaf(v.y, v.y, squares[1]);
      }
    }
  }
  __device__ __forceinline__ void leave(float* to, const SmallParams& p) const {
    float total = sum[0] + sum[1], square = squares[0] + squares[1];
#pragma unroll
    for (int o = kLanes / 2; o; o >>= 1) {
      total += __shfl_xor_sync(0xffffffffu, total, o);
      square += __shfl_xor_sync(0xffffffffu, square, o);
    }
    const float mean = total * p.one_over_k;
    if (lane == 0 && row < R) to[row] = rsqrtf(fmaxf(fmaf(-mean, mean, square * p.one_over_k), 0.0f) + p.eps);
  }
};

// Starts copies of `steps` tiles of 64 values from step `begin` on; the caller waits for them.
template <class T, int R, int THREADS>
__device__ __forceinline__ void copy_rows(const SmallParams& p, int row0, int begin, int steps,
                                          uint32_t at_x) {
  const int c = threadIdx.x & 7, chunks = p.k >> 3;
#pragma unroll
  for (int i = 0; i < (R * 8 + THREADS - 1) / THREADS; ++i) {
    const int r = (threadIdx.x >> 3) + i * (THREADS / 8), row = row0 + r;
    if (r >= R) break;
    const bool there = row < p.capacity;
    const T* const x = static_cast<const T*>(p.x) + (there ? source_row(p, row) * p.x_row : 0);
#pragma unroll 4
    for (int s = 0; s < steps; ++s) {
      const int chunk = (begin + s) * 8 + c;
      const bool live = there && chunk < chunks;
      copy16(at_x + s * (R * 128) + swizzled<8>(r, c), x + (live ? chunk * 8 : 0), live);
    }
  }
  copies_commit();
}

// Layer norm of R rows of exactly KSTEPS * 64 values by WARPS warps: a few lanes per row, the row in
// registers, two passes over it. Rows that are not there repeat the last one: nobody looks at them.
template <class T, class In, int R, int KSTEPS, int WARPS>
__device__ __forceinline__ void normalise_rows(const SmallParams& p, int row0, unsigned char* to,
                                               const float* norm) {
  constexpr int kLanes = WARPS * 32 / R > 8 ? WARPS * 32 / R : 8, kAtOnce = WARPS * 32 / kLanes;
  constexpr int kAll = KSTEPS * 8, kPasses = R / kAtOnce, kChunks = (kAll + kLanes - 1) / kLanes;
  constexpr int kTogether = kPasses * kChunks <= 12 ? kPasses : 1;
  constexpr bool kRagged = kAll % kLanes != 0;  // the last chunk is not every lane's
  static_assert(kPasses * kAtOnce == R && kLanes <= 32);
  const int sub = threadIdx.x % kLanes, r0 = threadIdx.x / kLanes;
  const bool whole = !kRagged || (kChunks - 1) * kLanes + sub < kAll;
  auto over_row = [&](float f) {
#pragma unroll
    for (int o = kLanes / 2; o; o >>= 1) f += __shfl_xor_sync(0xffffffffu, f, o);
    return f;
  };
#pragma unroll 1
  for (int pass = 0; pass < kPasses; pass += kTogether) {
    float v[kTogether][kChunks][8], mean[kTogether], scale[kTogether];
#pragma unroll
    for (int u = 0; u < kTogether; ++u) {
      const int row = min(row0 + r0 + (pass + u) * kAtOnce, p.capacity - 1);
      const uint4* const x =
          reinterpret_cast<const uint4*>(static_cast<const In*>(p.x) + source_row(p, row) * p.x_row);
      constexpr int kWords = sizeof(In) / 2;  // of 16 bytes in a chunk
      uint4 raw[kChunks][2] = {};
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        if (kRagged && c == kChunks - 1 && !whole) continue;
        raw[c][0] = x[(c * kLanes + sub) * kWords];
        if constexpr (kWords == 2) raw[c][1] = x[(c * kLanes + sub) * kWords + 1];
      }
#pragma unroll
      for (int c = 0; c < kChunks; ++c) unpack_chunk<In>(v[u][c], raw[c][0], raw[c][1]);
    }
#pragma unroll
    for (int u = 0; u < kTogether; ++u) {
      float sum = 0;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const float* const e = v[u][c];
        sum += ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7]));
      }
      mean[u] = over_row(sum) * p.one_over_k;
    }
#pragma unroll
    for (int u = 0; u < kTogether; ++u) {
      float squares[2] = {};
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        if (kRagged && c == kChunks - 1 && !whole) continue;
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          v[u][c][e] -= mean[u];
          squares[e & 1] = fmaf(v[u][c][e], v[u][c][e], squares[e & 1]);
        }
      }
      scale[u] = rsqrtf(over_row(squares[0] + squares[1]) * p.one_over_k + p.eps);
    }
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      if (kRagged && c == kChunks - 1 && !whole) continue;
      const int chunk = c * kLanes + sub;
      const float4* const gamma = reinterpret_cast<const float4*>(norm + chunk * 8);
      const float4* const beta = reinterpret_cast<const float4*>(norm + KSTEPS * 64 + chunk * 8);
      const float4 g0 = gamma[0], g1 = gamma[1], b0 = beta[0], b1 = beta[1];
#pragma unroll
      for (int u = 0; u < kTogether; ++u) {
        const float* const e = v[u][c];
        const float f = scale[u];
        const int r = r0 + (pass + u) * kAtOnce;
        *reinterpret_cast<uint4*>(to + (chunk >> 3) * (R * 128) + swizzled<8>(r, chunk & 7)) =
            make_uint4(pack2<T>(fmaf(e[0] * f, g0.x, b0.x), fmaf(e[1] * f, g0.y, b0.y)),
                       pack2<T>(fmaf(e[2] * f, g0.z, b0.z), fmaf(e[3] * f, g0.w, b0.w)),
                       pack2<T>(fmaf(e[4] * f, g1.x, b1.x), fmaf(e[5] * f, g1.y, b1.y)),
                       pack2<T>(fmaf(e[6] * f, g1.z, b1.z), fmaf(e[7] * f, g1.w, b1.w)));
      }
    }
  }
}

}  // namespace hedgerow::cuda
