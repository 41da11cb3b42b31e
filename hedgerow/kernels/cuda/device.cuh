// SPDX-License-Identifier: Apache-2.0
// The few machine instructions that the kernels are made of, one function each: copies that do not wait,
// barriers in shared memory, tensor-core products of one warp, and the start of a kernel while the one before
// it ends.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <limits>
#include <type_traits>

namespace hedgerow::cuda {

using f16 = __half;
using bf16 = __nv_bfloat16;
struct e4m3 {
  uint8_t bits;
};
using i8 = int8_t;

constexpr float kLog2e = 1.4426950408889634f;
constexpr float kInf = std::numeric_limits<float>::infinity();

// ------------------------------------------------------------------------------------------------ warps

// What all threads of a warp, here as a whole, have alike - said so that the compiler sees it too: branches
// on it are no divergence, and addresses and descriptors that follow from it are computed once a warp, in
// uniform registers.
template <class V>
__device__ __forceinline__ V alike(V v) {
  return __shfl_sync(0xffffffffu, v, 0);
}
__device__ __forceinline__ int warp_index() { return alike(static_cast<int>(threadIdx.x >> 5)); }

// ---------------------------------------------------------------------------------------------- numbers

template <class T>
__device__ __forceinline__ uint32_t pack2(float lo, float hi) {
  uint32_t r;
  if constexpr (std::is_same_v<T, f16>) {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  } else {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  }
  return r;
}
template <class T>
__device__ __forceinline__ float2 unpack2(uint32_t v) {
  if constexpr (std::is_same_v<T, f16>) {
    return __half22float2(*reinterpret_cast<const __half2*>(&v));
  } else {
    return make_float2(__uint_as_float(v << 16), __uint_as_float(v & 0xffff0000u));
  }
}
__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(f16 v) { return __half2float(v); }
__device__ __forceinline__ float to_float(bf16 v) { return __bfloat162float(v); }
template <class T>
__device__ __forceinline__ T from_float(float v) {
  if constexpr (std::is_same_v<T, float>) return v;
  if constexpr (std::is_same_v<T, f16>) return __float2half_rn(v);
  if constexpr (std::is_same_v<T, bf16>) return __float2bfloat16_rn(v);
}
// Two values to nearest even; what is larger than 448 becomes 448. Chips before 8.9 never get here.
__device__ __forceinline__ uint16_t pack2_e4m3(float lo, float hi) {
  uint16_t r = 0;
#if __CUDA_ARCH__ >= 890
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(r) : "f"(hi), "f"(lo));
#endif
  return r;
}
// Of two f16.
__device__ __forceinline__ uint16_t narrow2_e4m3(uint32_t pair) {
  uint16_t r = 0;
#if __CUDA_ARCH__ >= 890
  asm("cvt.rn.satfinite.e4m3x2.f16x2 %0, %1;" : "=h"(r) : "r"(pair));
#endif
  return r;
}
__device__ __forceinline__ uint32_t pack4_e4m3(float a, float b, float c, float d) {
  return pack2_e4m3(a, b) | static_cast<uint32_t>(pack2_e4m3(c, d)) << 16;
}
__device__ __forceinline__ uint32_t pack4_i8(float a, float b, float c, float d) {
  const uint32_t low = __byte_perm(__float2int_rn(a), __float2int_rn(b), 0x0040);
  return __byte_perm(low, __byte_perm(__float2int_rn(c), __float2int_rn(d), 0x0040), 0x5410);
}
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// ------------------------------------------------------------------------ programmatic dependent launch

// Waits for the kernel before this one to have finished; nothing it wrote may be touched earlier. Every
// kernel calls it in every thread, so that "the one before" includes all that came earlier still.
__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// Lets the next kernel take the room this one leaves, up to its own wait.
__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// ---------------------------------------------------------------------------------------- shared memory

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
// 16 bytes from global to shared without waiting; zeros where `valid` is false (the source is not read then).
__device__ __forceinline__ void copy16(uint32_t to, const void* from, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N>
__device__ __forceinline__ void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
__device__ __forceinline__ void clear_shared(uint32_t address) {
  asm volatile("st.shared.v4.b32 [%0], {%1,%1,%1,%1};" ::"r"(address), "r"(0) : "memory");
}
__device__ __forceinline__ int4 load_shared(uint32_t address) {
  int4 v;
  asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address)
               : "memory");
  return v;
}
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
// Where the 16-byte chunk `c` of row `r` lies in a tile of rows of `kChunks` chunks, so that eight rows of
// one column of chunks meet eight different bank groups. With 8 chunks it is the tensor cores' 128-byte
// swizzle.
template <int kChunks>
__device__ __forceinline__ uint32_t swizzled(int r, int c) {
  static_assert(kChunks == 4 || kChunks % 8 == 0);
  const int mixed = kChunks == 4 ? c ^ ((r >> 1) & 3) : c ^ (r & 7);
  return static_cast<uint32_t>((r * kChunks + mixed) * 16);
}

// ---------------------------------------------------------------------------------- one warp's products

// d[16x8] += a[16x16] b[16x8]
template <class T>
__device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<T, f16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// ------------------------------------------------------------------------------------------- reductions

__device__ __forceinline__ float quad_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
  return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}
__device__ __forceinline__ float quad_sum(float v) {
  v += __shfl_xor_sync(0xffffffffu, v, 1);
  return v + __shfl_xor_sync(0xffffffffu, v, 2);
}
__device__ __forceinline__ float warp_sum(float v) {
  for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
  for (int o = 16; o; o >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
  return v;
}
// The same sum in every thread of the block, in a fixed order. `slots` holds one float per warp.
__device__ __forceinline__ float block_sum(float v, float* slots) {
  v = warp_sum(v);
  __syncthreads();
  if ((threadIdx.x & 31) == 0) slots[threadIdx.x >> 5] = v;
  __syncthreads();
  float total = 0;
  for (int w = 0; w < static_cast<int>(blockDim.x >> 5); ++w) total += slots[w];
  return total;
}

// A packed batch as a kernel sees it.
struct Rows {
  const int32_t* offsets;
  int batch;
  __device__ __forceinline__ int total() const { return offsets[batch]; }
  // The sequence that owns row i: the last one that begins at or before it.
  __device__ __forceinline__ int owner(int i) const {
    int lo = 0, hi = batch;
    while (hi - lo > 1) {
      const int mid = (lo + hi) >> 1;
      if (offsets[mid] <= i)
        lo = mid;
      else
        hi = mid;
    }
    return lo;
  }
};

}  // namespace hedgerow::cuda
