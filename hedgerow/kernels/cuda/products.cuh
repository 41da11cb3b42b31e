// SPDX-License-Identifier: Apache-2.0
// Warpgroup products d[64 x N] (+)= a b for N a multiple of 8 up to 256; `add` 0 overwrites d. Every register
// of the sums must be named in the instruction, so the lists are spelt out once here, each by the one before
// it.
//
// 8-bit products: Hopper adds the 32 products of one e4m3 instruction and the sum so far with about 13 bits
// behind the leading one of the largest of them, cut off, not rounded: a thousandth of what rounding the
// factors to e4m3 costs, so sums are not moved to f32 registers of their own on the way (which would double
// the registers of a tile). int8 is exact.
#pragma once

#include <type_traits>

#include "hedgerow/kernels/cuda/device.cuh"

namespace hedgerow::cuda {

// clang-format off
#define HEDGEROW_NAMES_8 "%0,%1,%2,%3"
#define HEDGEROW_NAMES_16 HEDGEROW_NAMES_8 ",%4,%5,%6,%7"
#define HEDGEROW_NAMES_24 HEDGEROW_NAMES_16 ",%8,%9,%10,%11"
#define HEDGEROW_NAMES_32 HEDGEROW_NAMES_24 ",%12,%13,%14,%15"
#define HEDGEROW_NAMES_40 HEDGEROW_NAMES_32 ",%16,%17,%18,%19"
#define HEDGEROW_NAMES_48 HEDGEROW_NAMES_40 ",%20,%21,%22,%23"
#define HEDGEROW_NAMES_56 HEDGEROW_NAMES_48 ",%24,%25,%26,%27"
#define HEDGEROW_NAMES_64 HEDGEROW_NAMES_56 ",%28,%29,%30,%31"
#define HEDGEROW_NAMES_72 HEDGEROW_NAMES_64 ",%32,%33,%34,%35"
#define HEDGEROW_NAMES_80 HEDGEROW_NAMES_72 ",%36,%37,%38,%39"
#define HEDGEROW_NAMES_88 HEDGEROW_NAMES_80 ",%40,%41,%42,%43"
#define HEDGEROW_NAMES_96 HEDGEROW_NAMES_88 ",%44,%45,%46,%47"
#define HEDGEROW_NAMES_104 HEDGEROW_NAMES_96 ",%48,%49,%50,%51"
#define HEDGEROW_NAMES_112 HEDGEROW_NAMES_104 ",%52,%53,%54,%55"
#define HEDGEROW_NAMES_120 HEDGEROW_NAMES_112 ",%56,%57,%58,%59"
#define HEDGEROW_NAMES_128 HEDGEROW_NAMES_120 ",%60,%61,%62,%63"
#define HEDGEROW_NAMES_136 HEDGEROW_NAMES_128 ",%64,%65,%66,%67"
#define HEDGEROW_NAMES_144 HEDGEROW_NAMES_136 ",%68,%69,%70,%71"
#define HEDGEROW_NAMES_152 HEDGEROW_NAMES_144 ",%72,%73,%74,%75"
#define HEDGEROW_NAMES_160 HEDGEROW_NAMES_152 ",%76,%77,%78,%79"
#define HEDGEROW_NAMES_168 HEDGEROW_NAMES_160 ",%80,%81,%82,%83"
#define HEDGEROW_NAMES_176 HEDGEROW_NAMES_168 ",%84,%85,%86,%87"
#define HEDGEROW_NAMES_184 HEDGEROW_NAMES_176 ",%88,%89,%90,%91"
#define HEDGEROW_NAMES_192 HEDGEROW_NAMES_184 ",%92,%93,%94,%95"
#define HEDGEROW_NAMES_200 HEDGEROW_NAMES_192 ",%96,%97,%98,%99"
#define HEDGEROW_NAMES_208 HEDGEROW_NAMES_200 ",%100,%101,%102,%103"
#define HEDGEROW_NAMES_216 HEDGEROW_NAMES_208 ",%104,%105,%106,%107"
#define HEDGEROW_NAMES_224 HEDGEROW_NAMES_216 ",%108,%109,%110,%111"
#define HEDGEROW_NAMES_232 HEDGEROW_NAMES_224 ",%112,%113,%114,%115"
#define HEDGEROW_NAMES_240 HEDGEROW_NAMES_232 ",%116,%117,%118,%119"
#define HEDGEROW_NAMES_248 HEDGEROW_NAMES_240 ",%120,%121,%122,%123"
#define HEDGEROW_NAMES_256 HEDGEROW_NAMES_248 ",%124,%125,%126,%127"

// C: "+f" or "+r".
#define HEDGEROW_SUMS_8(C) C(d[0]), C(d[1]), C(d[2]), C(d[3])
#define HEDGEROW_SUMS_16(C) HEDGEROW_SUMS_8(C), C(d[4]), C(d[5]), C(d[6]), C(d[7])
#define HEDGEROW_SUMS_24(C) HEDGEROW_SUMS_16(C), C(d[8]), C(d[9]), C(d[10]), C(d[11])
#define HEDGEROW_SUMS_32(C) HEDGEROW_SUMS_24(C), C(d[12]), C(d[13]), C(d[14]), C(d[15])
#define HEDGEROW_SUMS_40(C) HEDGEROW_SUMS_32(C), C(d[16]), C(d[17]), C(d[18]), C(d[19])
#define HEDGEROW_SUMS_48(C) HEDGEROW_SUMS_40(C), C(d[20]), C(d[21]), C(d[22]), C(d[23])
#define HEDGEROW_SUMS_56(C) HEDGEROW_SUMS_48(C), C(d[24]), C(d[25]), C(d[26]), C(d[27])
#define HEDGEROW_SUMS_64(C) HEDGEROW_SUMS_56(C), C(d[28]), C(d[29]), C(d[30]), C(d[31])
#define HEDGEROW_SUMS_72(C) HEDGEROW_SUMS_64(C), C(d[32]), C(d[33]), C(d[34]), C(d[35])
#define HEDGEROW_SUMS_80(C) HEDGEROW_SUMS_72(C), C(d[36]), C(d[37]), C(d[38]), C(d[39])
#define HEDGEROW_SUMS_88(C) HEDGEROW_SUMS_80(C), C(d[40]), C(d[41]), C(d[42]), C(d[43])
#define HEDGEROW_SUMS_96(C) HEDGEROW_SUMS_88(C), C(d[44]), C(d[45]), C(d[46]), C(d[47])
#define HEDGEROW_SUMS_104(C) HEDGEROW_SUMS_96(C), C(d[48]), C(d[49]), C(d[50]), C(d[51])
#define HEDGEROW_SUMS_112(C) HEDGEROW_SUMS_104(C), C(d[52]), C(d[53]), C(d[54]), C(d[55])
#define HEDGEROW_SUMS_120(C) HEDGEROW_SUMS_112(C), C(d[56]), C(d[57]), C(d[58]), C(d[59])
#define HEDGEROW_SUMS_128(C) HEDGEROW_SUMS_120(C), C(d[60]), C(d[61]), C(d[62]), C(d[63])
#define HEDGEROW_SUMS_136(C) HEDGEROW_SUMS_128(C), C(d[64]), C(d[65]), C(d[66]), C(d[67])
#define HEDGEROW_SUMS_144(C) HEDGEROW_SUMS_136(C), C(d[68]), C(d[69]), C(d[70]), C(d[71])
#define HEDGEROW_SUMS_152(C) HEDGEROW_SUMS_144(C), C(d[72]), C(d[73]), C(d[74]), C(d[75])
#define HEDGEROW_SUMS_160(C) HEDGEROW_SUMS_152(C), C(d[76]), C(d[77]), C(d[78]), C(d[79])
#define HEDGEROW_SUMS_168(C) HEDGEROW_SUMS_160(C), C(d[80]), C(d[81]), C(d[82]), C(d[83])
#define HEDGEROW_SUMS_176(C) HEDGEROW_SUMS_168(C), C(d[84]), C(d[85]), C(d[86]), C(d[87])
#define HEDGEROW_SUMS_184(C) HEDGEROW_SUMS_176(C), C(d[88]), C(d[89]), C(d[90]), C(d[91])
#define HEDGEROW_SUMS_192(C) HEDGEROW_SUMS_184(C), C(d[92]), C(d[93]), C(d[94]), C(d[95])
#define HEDGEROW_SUMS_200(C) HEDGEROW_SUMS_192(C), C(d[96]), C(d[97]), C(d[98]), C(d[99])
#define HEDGEROW_SUMS_208(C) HEDGEROW_SUMS_200(C), C(d[100]), C(d[101]), C(d[102]), C(d[103])
#define HEDGEROW_SUMS_216(C) HEDGEROW_SUMS_208(C), C(d[104]), C(d[105]), C(d[106]), C(d[107])
#define HEDGEROW_SUMS_224(C) HEDGEROW_SUMS_216(C), C(d[108]), C(d[109]), C(d[110]), C(d[111])
#define HEDGEROW_SUMS_232(C) HEDGEROW_SUMS_224(C), C(d[112]), C(d[113]), C(d[114]), C(d[115])
#define HEDGEROW_SUMS_240(C) HEDGEROW_SUMS_232(C), C(d[116]), C(d[117]), C(d[118]), C(d[119])
#define HEDGEROW_SUMS_248(C) HEDGEROW_SUMS_240(C), C(d[120]), C(d[121]), C(d[122]), C(d[123])
#define HEDGEROW_SUMS_256(C) HEDGEROW_SUMS_248(C), C(d[124]), C(d[125]), C(d[126]), C(d[127])

// Both in shared memory; A, B, ADD: the numbers of the operands behind the sums.
#define HEDGEROW_PRODUCT(COLUMNS, A, B, ADD, KIND, TAIL, C) \
  if constexpr (N == COLUMNS) \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #ADD ", 0;\nwgmma.mma_async.sync.aligned.m64n" #COLUMNS KIND \
                 " {" HEDGEROW_NAMES_##COLUMNS "}, %" #A ", %" #B ", p" TAIL ";\n}" \
                 : HEDGEROW_SUMS_##COLUMNS(C) : "l"(a), "l"(b), "r"(add))
// a in registers.
#define HEDGEROW_PRODUCT_REGISTERS(COLUMNS, A0, A1, A2, A3, B, ADD, KIND, TAIL) \
  if constexpr (N == COLUMNS) \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #ADD ", 0;\nwgmma.mma_async.sync.aligned.m64n" #COLUMNS KIND \
                 " {" HEDGEROW_NAMES_##COLUMNS "}, {%" #A0 ",%" #A1 ",%" #A2 ",%" #A3 "}, %" #B ", p" TAIL ";\n}" \
                 : HEDGEROW_SUMS_##COLUMNS("+f") : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add))
#define HEDGEROW_PRODUCTS_REGISTERS(KIND, TAIL) \
  HEDGEROW_PRODUCT_REGISTERS(64, 32, 33, 34, 35, 36, 37, KIND, TAIL); \
  HEDGEROW_PRODUCT_REGISTERS(192, 96, 97, 98, 99, 100, 101, KIND, TAIL)
#define HEDGEROW_PRODUCTS(KIND, TAIL, C) \
  HEDGEROW_PRODUCT(8, 4, 5, 6, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(16, 8, 9, 10, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(32, 16, 17, 18, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(48, 24, 25, 26, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(64, 32, 33, 34, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(80, 40, 41, 42, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(96, 48, 49, 50, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(104, 52, 53, 54, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(112, 56, 57, 58, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(128, 64, 65, 66, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(144, 72, 73, 74, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(160, 80, 81, 82, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(176, 88, 89, 90, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(192, 96, 97, 98, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(208, 104, 105, 106, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(224, 112, 113, 114, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(240, 120, 121, 122, KIND, TAIL, C); \
  HEDGEROW_PRODUCT(256, 128, 129, 130, KIND, TAIL, C)
// clang-format on

// Both in shared memory, both with their K axis contiguous: 32 bytes of it, 16 or 32 values. T: f16, bf16,
// e4m3 (sums in f32), i8 (sums in int32).
template <class T, int N, class Sum>
__device__ __forceinline__ void product_shared(Sum (&d)[N / 2], uint64_t a, uint64_t b, int add) {
  if constexpr (std::is_same_v<T, f16>) {
    HEDGEROW_PRODUCTS("k16.f32.f16.f16", ", 1, 1, 0, 0", "+f");
  } else if constexpr (std::is_same_v<T, bf16>) {
    HEDGEROW_PRODUCTS("k16.f32.bf16.bf16", ", 1, 1, 0, 0", "+f");
  } else if constexpr (std::is_same_v<T, e4m3>) {
    HEDGEROW_PRODUCTS("k32.f32.e4m3.e4m3", ", 1, 1", "+f");
  } else {
    static_assert(std::is_same_v<Sum, int>);
    HEDGEROW_PRODUCTS("k32.s32.s8.s8", "", "+r");
  }
}

// a in registers, as one warp's 16 x 16 operand of multiply(): rows r and r + 8, then the same 8 further on
// along K; b in shared memory, its K axis contiguous.
template <class T, int N>
__device__ __forceinline__ void product_from_registers(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b,
                                                       int add) {
  if constexpr (std::is_same_v<T, f16>) {
    HEDGEROW_PRODUCTS_REGISTERS("k16.f32.f16.f16", ", 1, 1, 0");
  } else {
    HEDGEROW_PRODUCTS_REGISTERS("k16.f32.bf16.bf16", ", 1, 1, 0");
  }
}

// The same with b's N axis contiguous.
template <class T, int N = 64>
__device__ __forceinline__ void product_registers(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b,
                                                  int add) {
  if constexpr (std::is_same_v<T, f16>) {
    HEDGEROW_PRODUCTS_REGISTERS("k16.f32.f16.f16", ", 1, 1, 1");
  } else {
    HEDGEROW_PRODUCTS_REGISTERS("k16.f32.bf16.bf16", ", 1, 1, 1");
  }
}

}  // namespace hedgerow::cuda
