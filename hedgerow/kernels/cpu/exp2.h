// SPDX-License-Identifier: Apache-2.0
// 2^x for a softmax: x at most about 0, 2^0 is exactly 1, NaN stays NaN. Never subnormal: far below, and
// for -inf, the result is nothing beside 1 (0, or 2^-126 with AVX-512, where an exact 0 would cost a
// compare). Keys that must weigh exactly nothing never get here.
//
// AVX-512: 2^x = 2^e 2^(i/32) p(f), x = e + i/32 + f, |f| <= 1/64, by a table in two registers. Rounding and
// the table use the adders and shuffles, which idle while products run: 4 uses of the multipliers, not 8 as
// with a plain polynomial. Others: 2^floor(x) times a polynomial of degree 5. Relative error 1.5e-7;
// `coarse`, for a result that is rounded to bf16: 7e-5.
#pragma once

#include "hedgerow/kernels/cpu/simd.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {

#if defined(__AVX512F__)

// bits(2^(i/32)) - (i << 18): adding (32 e + i) << 18 then gives the bits of 2^(e + i/32).
alignas(64) constexpr uint32_t kExp2Table[32] = {
    0x3f800000, 0x3f7ecd87, 0x3f7daac3, 0x3f7c980f, 0x3f7b95c2, 0x3f7aa43a, 0x3f79c3d3, 0x3f78f4f0,
    0x3f7837f0, 0x3f778d3a, 0x3f76f532, 0x3f767043, 0x3f75fed7, 0x3f75a15b, 0x3f75583f, 0x3f7523f6,
    0x3f7504f3, 0x3f74fbaf, 0x3f7508a4, 0x3f752c4d, 0x3f75672a, 0x3f75b9be, 0x3f76248c, 0x3f76a81e,
    0x3f7744fd, 0x3f77fbb8, 0x3f78ccdf, 0x3f79b907, 0x3f7ac0c7, 0x3f7be4ba, 0x3f7d257d, 0x3f7e83b3};

template <bool coarse>
HEDGEROW_INLINE Vec exp2_below_zero(Vec x) {
  const Vec magic = set1(0x1.8p18f);  // the last bit of a number of this size is 1/32
  x = max(set1(-126.0f), x);          // in this order: keeps NaN
  const Vec t = add(x, magic);
  const Vec f = sub(x, sub(t, magic));
  const __m512i n = _mm512_castps_si512(t);  // 32 e + i in the low bits; the table looks at the lowest five
  const __m512i entry =
      _mm512_permutex2var_epi32(_mm512_load_si512(kExp2Table), n, _mm512_load_si512(kExp2Table + 16));
  const Vec power = _mm512_castsi512_ps(_mm512_add_epi32(entry, _mm512_slli_epi32(n, 18)));
  const Vec slope = coarse ? set1(0x1.62e0a2p-1f) : fma(f, set1(0x1.ebfbdep-3f), set1(0x1.62e584p-1f));
  return fma(mul(power, f), slope, power);
}

#else

// Below 2^kNothing a key counts as unseen.
constexpr float kNothing = -126.0f;

template <bool coarse>
HEDGEROW_INLINE Vec exp2_below_zero(Vec x) {
#if defined(__AVX2__)
  const Vec e = _mm256_floor_ps(x);
#else
  if (x < kNothing) return 0;
  if (x != x) return x;
  const Vec e = __builtin_floorf(x);
#endif
  const Vec f = sub(x, e);
  Vec p = fma(set1(0x1.e974fcp-10f), f, set1(0x1.277854p-7f));
  p = fma(p, f, set1(0x1.c91ce6p-5f));
  p = fma(p, f, set1(0x1.ebdb56p-3f));
  p = fma(p, f, set1(0x1.62e4bap-1f));
  p = fma(p, f, set1(1.0f));
#if defined(__AVX2__)
  return _mm256_and_ps(scale2(p, max(set1(kNothing), e)), _mm256_cmp_ps(x, set1(kNothing), _CMP_NLT_UQ));
#else
  return scale2(p, e);
#endif
}

#endif

}  // namespace hedgerow::cpu::HEDGEROW_LEVEL
