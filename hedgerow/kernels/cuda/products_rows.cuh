// SPDX-License-Identifier: Apache-2.0
// Warpgroup products of few columns, d[64 x N] += a[64 x 16] b[16 x N], as linear_small.cuh multiplies: the 64
// are outputs, the N are rows of activations. Wider ones are in products.cuh.
#pragma once

#include "hedgerow/kernels/cuda/hopper.cuh"

namespace hedgerow::cuda {

// clang-format off
#define HEDGEROW_PRODUCT_ROWS_8(TYPE) \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %6, 0;\n" \
      "wgmma.mma_async.sync.aligned.m64n8k16.f32." TYPE "." TYPE " " \
      "{%0,%1,%2,%3}, " \
      "%4, %5, p, 1, 1, 0, 0;\n}" : \
      "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) \
      : "l"(a), "l"(b), "r"(add))

#define HEDGEROW_PRODUCT_ROWS_16(TYPE) \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %10, 0;\n" \
      "wgmma.mma_async.sync.aligned.m64n16k16.f32." TYPE "." TYPE " " \
      "{%0,%1,%2,%3,%4,%5,%6,%7}, " \
      "%8, %9, p, 1, 1, 0, 0;\n}" : \
      "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]) \
      : "l"(a), "l"(b), "r"(add))

#define HEDGEROW_PRODUCT_ROWS_32(TYPE) \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n" \
      "wgmma.mma_async.sync.aligned.m64n32k16.f32." TYPE "." TYPE " " \
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, " \
      "%16, %17, p, 1, 1, 0, 0;\n}" : \
      "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]) \
      : "l"(a), "l"(b), "r"(add))

#define HEDGEROW_PRODUCT_ROWS_104(TYPE) \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %54, 0;\n" \
      "wgmma.mma_async.sync.aligned.m64n104k16.f32." TYPE "." TYPE " " \
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25," \
      "%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49," \
      "%50,%51}, " \
      "%52, %53, p, 1, 1, 0, 0;\n}" : \
      "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
      "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
      "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
      "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), \
      "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), \
      "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]) \
      : "l"(a), "l"(b), "r"(add))

// clang-format on

// d (+)= a b, both in shared memory, both with their K axis contiguous; `add` 0 overwrites d.
template <class T, int N>
__device__ __forceinline__ void product_rows(float (&d)[N / 2], uint64_t a, uint64_t b, int add) {
  if constexpr (N == 64 || N == 128) {
    product_shared<T, N>(d, a, b, add);
  } else if constexpr (std::is_same_v<T, f16>) {
    if constexpr (N == 8) HEDGEROW_PRODUCT_ROWS_8("f16");
    if constexpr (N == 16) HEDGEROW_PRODUCT_ROWS_16("f16");
    if constexpr (N == 32) HEDGEROW_PRODUCT_ROWS_32("f16");
    if constexpr (N == 104) HEDGEROW_PRODUCT_ROWS_104("f16");
  } else {
    if constexpr (N == 8) HEDGEROW_PRODUCT_ROWS_8("bf16");
    if constexpr (N == 16) HEDGEROW_PRODUCT_ROWS_16("bf16");
    if constexpr (N == 32) HEDGEROW_PRODUCT_ROWS_32("bf16");
    if constexpr (N == 104) HEDGEROW_PRODUCT_ROWS_104("bf16");
  }
}

}  // namespace hedgerow::cuda
