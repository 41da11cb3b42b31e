// SPDX-License-Identifier: Apache-2.0
// GELU without exp and without division: gelu(x) = max(x, 0) - t q(t), t = |x|, where q(t) = 1 - Phi(t) is
// the tail of the normal distribution (or of its tanh approximation), one minimax polynomial on [0, end].
//
// Beyond `end` the tail is below 5e-7 and held constant. Absolute error against the true function: at most
// 1e-6 everywhere. Lanes do not see each other; NaN gives NaN. Included by files that are built once per
// level.
#pragma once

#include "hedgerow/kernels/cpu/simd.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {

constexpr int kGeluDegree = 14;

// Coefficients of q in powers of (t - end / 2), lowest first: Remez exchange for the error weight t + 0.1.
struct GeluTail {
  float end;
  float c[kGeluDegree + 1];
};
constexpr GeluTail kErfTail = {
    5.25f,
    {0.00433258946f, -0.0127246431f, 0.0166980209f, -0.0124887686f, 0.00542143316f, -0.000976028127f,
     -0.000304941994f, 0.00023354424f, -3.94220282e-05f, -1.25891867e-05f, 5.62670516e-06f, 1.17783299e-08f,
     -2.67150826e-07f, 1.56439915e-08f, 4.09878592e-09f}};
constexpr GeluTail kTanhTail = {
    5.0f,
    {0.00603377287f, -0.0175946916f, 0.0222855864f, -0.0154505871f, 0.00574725578f, -0.000556952966f,
     -0.000482984247f, 0.000227390988f, -2.4226569e-05f, -1.3257671e-05f, 5.09563633e-06f, -1.00175895e-07f,
     -2.40942424e-07f, 2.66253813e-08f, 2.2177296e-09f}};

HEDGEROW_INLINE Vec gelu(Vec x, const GeluTail& tail) {
  // min and max return their second operand when one is NaN.
  const Vec t = min(set1(tail.end), abs(x));
  const Vec u = sub(t, set1(0.5f * tail.end));
  Vec q = set1(tail.c[kGeluDegree]);
#pragma GCC unroll 16
  for (int i = kGeluDegree - 1; i >= 0; --i) q = fma(q, u, set1(tail.c[i]));
  return sub(max(zero(), x), mul(t, q));
}
HEDGEROW_INLINE Vec gelu_erf(Vec x) { return gelu(x, kErfTail); }
HEDGEROW_INLINE Vec gelu_tanh(Vec x) { return gelu(x, kTanhTail); }

}  // namespace hedgerow::cpu::HEDGEROW_LEVEL
