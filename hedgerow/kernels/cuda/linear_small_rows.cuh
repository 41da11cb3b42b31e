// SPDX-License-Identifier: Apache-2.0
// How the rows of a small product reach shared memory through the block's own threads: copied, or
// layer-normalised on the way. They land as the warpgroup products want them, 64 values of k after another.
#pragma once

#include "hedgerow/kernels/cuda/hopper.cuh"

namespace hedgerow::cuda {

enum class Source : uint8_t { fetched, copied, normed, normed_f32 };  // by the copy engine; by threads

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
  int at_w, at_parts, at_norm, at_barriers;
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

// Layer norm of R rows by WARPS warps: a few lanes per row, the row in registers, two passes over it.
template <class T, class In, int R, int KSTEPS, int WARPS>
__device__ __forceinline__ void normalise_rows(const SmallParams& p, int row0, unsigned char* to,
                                               const float* norm) {
  constexpr int kLanes = WARPS * 32 / R > 8 ? WARPS * 32 / R : 8, kAtOnce = WARPS * 32 / kLanes;
  constexpr int kPasses = R / kAtOnce, kChunks = (KSTEPS * 8 + kLanes - 1) / kLanes;
  constexpr int kTogether = kPasses * kChunks <= 12 ? kPasses : 1;
  static_assert(kPasses * kAtOnce == R && kLanes <= 32);
  const int sub = threadIdx.x % kLanes, r0 = threadIdx.x / kLanes;
  const int chunks = p.k >> 3, padded = (p.k + 63) >> 6 << 3;
  const float* const gamma = norm;
  const float* const beta = norm + KSTEPS * 64;
#pragma unroll 1
  for (int pass = 0; pass < kPasses; pass += kTogether) {
    float v[kTogether][kChunks][8], mean[kTogether], scale[kTogether];
#pragma unroll
    for (int u = 0; u < kTogether; ++u) {
      const int row = row0 + r0 + (pass + u) * kAtOnce;
      const bool there = row < p.capacity;
      const In* const x = static_cast<const In*>(p.x) + (there ? source_row(p, row) * p.x_row : 0);
      uint4 raw[kChunks][2];
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const int chunk = c * kLanes + sub;
        raw[c][0] = raw[c][1] = make_uint4(0, 0, 0, 0);
        if (!there || chunk >= chunks) continue;
        const uint4* const from = reinterpret_cast<const uint4*>(x + chunk * 8);
        raw[c][0] = from[0];
        if constexpr (std::is_same_v<In, float>) raw[c][1] = from[1];
      }
#pragma unroll
      for (int c = 0; c < kChunks; ++c) unpack_chunk<In>(v[u][c], raw[c][0], raw[c][1]);
    }
    auto over_row = [&](float f) {
#pragma unroll
      for (int o = kLanes / 2; o; o >>= 1) f += __shfl_xor_sync(0xffffffffu, f, o);
      return f;
    };
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
        if (c * kLanes + sub >= chunks) continue;
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
      const int chunk = c * kLanes + sub;
      if (chunk >= padded) continue;
      const bool live = chunk < chunks;
      float g[8] = {}, b[8] = {};
      if (live) {
        *reinterpret_cast<float4*>(g) = *reinterpret_cast<const float4*>(gamma + chunk * 8);
        *reinterpret_cast<float4*>(g + 4) = *reinterpret_cast<const float4*>(gamma + chunk * 8 + 4);
        *reinterpret_cast<float4*>(b) = *reinterpret_cast<const float4*>(beta + chunk * 8);
        *reinterpret_cast<float4*>(b + 4) = *reinterpret_cast<const float4*>(beta + chunk * 8 + 4);
      }
#pragma unroll
      for (int u = 0; u < kTogether; ++u) {
        uint32_t y[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          y[e] = pack2<T>(fmaf(v[u][c][2 * e] * scale[u], g[2 * e], b[2 * e]),
                          fmaf(v[u][c][2 * e + 1] * scale[u], g[2 * e + 1], b[2 * e + 1]));
        }
        const int r = r0 + (pass + u) * kAtOnce;
        *reinterpret_cast<uint4*>(to + (chunk >> 3) * (R * 128) + swizzled<8>(r, chunk & 7)) =
            make_uint4(y[0], y[1], y[2], y[3]);
      }
    }
  }
}

}  // namespace hedgerow::cuda
