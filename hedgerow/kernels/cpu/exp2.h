// SPDX-License-Identifier: Apache-2.0
// 2^x for a softmax: x at most about 0. Far below (and for -inf) the result is exactly 0, never subnormal;
// NaN stays NaN.
//
// 2^x = 2^floor(x) p(f), f = x - floor(x) in [0, 1]. p is the minimax polynomial with p(0) = 1, so that the
// largest logit gets exactly 1. Relative error: degree 5, 1.5e-7; degree 3, 9e-5 (1/40 of a bf16 rounding).
#pragma once

#include "hedgerow/kernels/cpu/simd.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {

// Below 2^kNothing a key counts as unseen: far less than the last bit of any sum whose largest term is 1.
constexpr float kNothing = -100.0f;

template <int degree>
HEDGEROW_INLINE Vec exp2_polynomial(Vec f) {
  static_assert(degree == 3 || degree == 5);
  if constexpr (degree == 3) {
    Vec p = fma(set1(0x1.3baaaap-4f), f, set1(0x1.d23788p-3f));
    p = fma(p, f, set1(0x1.63e65ap-1f));
    return fma(p, f, set1(1.0f));
  }
  Vec p = fma(set1(0x1.e974fcp-10f), f, set1(0x1.277854p-7f));
  p = fma(p, f, set1(0x1.c91ce6p-5f));
  p = fma(p, f, set1(0x1.ebdb56p-3f));
  p = fma(p, f, set1(0x1.62e4bap-1f));
  return fma(p, f, set1(1.0f));
}

template <int degree>
HEDGEROW_INLINE Vec exp2_below_zero(Vec x) {
#if defined(__AVX512F__)
  const __mmask16 seen = _mm512_cmp_ps_mask(x, set1(kNothing), _CMP_NLT_UQ);
  const Vec f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  return _mm512_maskz_scalef_ps(seen, exp2_polynomial<degree>(f), x);
#elif defined(__AVX2__)
  const Vec e = _mm256_floor_ps(x);
  const Vec p = exp2_polynomial<degree>(sub(x, e));
  const Vec power = scale2(p, max(set1(kNothing), e));
  return _mm256_and_ps(power, _mm256_cmp_ps(x, set1(kNothing), _CMP_NLT_UQ));
#else
  if (x < kNothing) return 0;
  if (x != x) return x;
  const Vec e = __builtin_floorf(x);
  return scale2(exp2_polynomial<degree>(x - e), e);
#endif
}

}  // namespace hedgerow::cpu::HEDGEROW_LEVEL
