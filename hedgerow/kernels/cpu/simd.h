// SPDX-License-Identifier: Apache-2.0
// One vector of f32 per instruction-set level, under one name and one set of functions.
//
// Included only by files that are built once per level. `Vec` has kLanes floats. A function with a count n
// touches the first n lanes only (n in [0, kLanes]); loads fill the rest with zero. Everything lies in the
// level's own namespace.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "hedgerow/kernels/cpu/level.h"

#ifndef HEDGEROW_LEVEL
#error "built once per level: define HEDGEROW_LEVEL"
#endif

namespace hedgerow::cpu::HEDGEROW_LEVEL {

#if defined(__AVX512F__)

constexpr int kLanes = 16;
using Vec = __m512;
using VecI = __m512i;  // int32 lanes
HEDGEROW_INLINE __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
HEDGEROW_INLINE Vec zero() { return _mm512_setzero_ps(); }
HEDGEROW_INLINE Vec set1(float a) { return _mm512_set1_ps(a); }
HEDGEROW_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
HEDGEROW_INLINE Vec load_n(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
HEDGEROW_INLINE void store(float* p, Vec a) { _mm512_storeu_ps(p, a); }
HEDGEROW_INLINE void store_n(float* p, Vec a, int n) { _mm512_mask_storeu_ps(p, first(n), a); }
HEDGEROW_INLINE Vec load(const uint16_t* p) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
HEDGEROW_INLINE Vec load_n(const uint16_t* p, int n) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), p)), 16));
}
HEDGEROW_INLINE __m256i to_bf16(Vec a) {  // nearest even; NaN stays NaN
#if defined(__AVX512BF16__)
  return (__m256i)_mm512_cvtneps_pbh(a);
#else
  const __m512i u = _mm512_castps_si512(a);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  __m512i r = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
  r = _mm512_mask_or_epi32(r, nan, _mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(r);
#endif
}
HEDGEROW_INLINE void store(uint16_t* p, Vec a) { _mm256_storeu_si256((__m256i*)p, to_bf16(a)); }
HEDGEROW_INLINE void store_n(uint16_t* p, Vec a, int n) { _mm256_mask_storeu_epi16(p, first(n), to_bf16(a)); }
HEDGEROW_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }  // a * b + c
HEDGEROW_INLINE Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
HEDGEROW_INLINE Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
HEDGEROW_INLINE Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
HEDGEROW_INLINE Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
HEDGEROW_INLINE Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
HEDGEROW_INLINE Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
HEDGEROW_INLINE Vec abs(Vec a) { return _mm512_abs_ps(a); }
HEDGEROW_INLINE Vec sqrt(Vec a) { return _mm512_sqrt_ps(a); }
HEDGEROW_INLINE Vec round(Vec a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
HEDGEROW_INLINE Vec scale2(Vec a, Vec e) { return _mm512_scalef_ps(a, e); }  // a * 2^floor(e); e far below: 0
HEDGEROW_INLINE Vec copysign(Vec magnitude, Vec sign) {
  const __m512i s = _mm512_set1_epi32(static_cast<int>(0x80000000u));
  return _mm512_castsi512_ps(
      _mm512_ternarylogic_epi32(s, _mm512_castps_si512(sign), _mm512_castps_si512(magnitude), 0xCA));
}

#elif defined(__AVX2__)

constexpr int kLanes = 8;
using Vec = __m256;
using VecI = __m256i;
HEDGEROW_INLINE __m256i first(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
HEDGEROW_INLINE Vec zero() { return _mm256_setzero_ps(); }
HEDGEROW_INLINE Vec set1(float a) { return _mm256_set1_ps(a); }
HEDGEROW_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
HEDGEROW_INLINE Vec load_n(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
HEDGEROW_INLINE void store(float* p, Vec a) { _mm256_storeu_ps(p, a); }
HEDGEROW_INLINE void store_n(float* p, Vec a, int n) { _mm256_maskstore_ps(p, first(n), a); }
HEDGEROW_INLINE Vec load(const uint16_t* p) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16));
}
HEDGEROW_INLINE Vec load_n(const uint16_t* p, int n) {
  uint16_t t[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  std::memcpy(t, p, 2 * static_cast<size_t>(n));
  return load(t);
}
HEDGEROW_INLINE __m128i to_bf16(Vec a) {
  const __m256i u = _mm256_castps_si256(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  __m256i r = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  r = _mm256_blendv_epi8(r, _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40)), nan);
  r = _mm256_packus_epi32(r, r);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(r, 0x08));
}
HEDGEROW_INLINE void store(uint16_t* p, Vec a) { _mm_storeu_si128((__m128i*)p, to_bf16(a)); }
HEDGEROW_INLINE void store_n(uint16_t* p, Vec a, int n) {
  uint16_t t[8];
  store(t, a);
  std::memcpy(p, t, 2 * static_cast<size_t>(n));
}
HEDGEROW_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
HEDGEROW_INLINE Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
HEDGEROW_INLINE Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
HEDGEROW_INLINE Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
HEDGEROW_INLINE Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
HEDGEROW_INLINE Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
HEDGEROW_INLINE Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
HEDGEROW_INLINE Vec abs(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
HEDGEROW_INLINE Vec sqrt(Vec a) { return _mm256_sqrt_ps(a); }
HEDGEROW_INLINE Vec round(Vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
HEDGEROW_INLINE Vec scale2(Vec a, Vec e) {  // e integral; below -126 the result is 0 (no subnormals)
  const Vec under = _mm256_cmp_ps(e, _mm256_set1_ps(-126.0f), _CMP_LT_OQ);
  const __m256i bits = _mm256_slli_epi32(
      _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_max_ps(e, _mm256_set1_ps(-126.0f))), _mm256_set1_epi32(127)),
      23);
  return _mm256_andnot_ps(under, _mm256_mul_ps(a, _mm256_castsi256_ps(bits)));
}
HEDGEROW_INLINE Vec copysign(Vec magnitude, Vec sign) {
  const Vec s = _mm256_set1_ps(-0.0f);
  return _mm256_or_ps(_mm256_and_ps(s, sign), _mm256_andnot_ps(s, magnitude));
}

#else  // scalar: one lane, compiled without contraction, so fma is a rounded product and a rounded sum

constexpr int kLanes = 1;
using Vec = float;
using VecI = int32_t;
HEDGEROW_INLINE Vec zero() { return 0; }
HEDGEROW_INLINE Vec set1(float a) { return a; }
HEDGEROW_INLINE Vec load(const float* p) { return *p; }
HEDGEROW_INLINE Vec load_n(const float* p, int n) { return n ? *p : 0; }
HEDGEROW_INLINE void store(float* p, Vec a) { *p = a; }
HEDGEROW_INLINE void store_n(float* p, Vec a, int n) {
  if (n) *p = a;
}
HEDGEROW_INLINE Vec load(const uint16_t* p) { return bf16_to_f32(*p); }
HEDGEROW_INLINE Vec load_n(const uint16_t* p, int n) { return n ? bf16_to_f32(*p) : 0; }
HEDGEROW_INLINE void store(uint16_t* p, Vec a) { *p = f32_to_bf16(a); }
HEDGEROW_INLINE void store_n(uint16_t* p, Vec a, int n) {
  if (n) *p = f32_to_bf16(a);
}
HEDGEROW_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
HEDGEROW_INLINE Vec add(Vec a, Vec b) { return a + b; }
HEDGEROW_INLINE Vec sub(Vec a, Vec b) { return a - b; }
HEDGEROW_INLINE Vec mul(Vec a, Vec b) { return a * b; }
HEDGEROW_INLINE Vec div(Vec a, Vec b) { return a / b; }
HEDGEROW_INLINE Vec max(Vec a, Vec b) { return a > b ? a : b; }
HEDGEROW_INLINE Vec min(Vec a, Vec b) { return a < b ? a : b; }
HEDGEROW_INLINE Vec abs(Vec a) { return __builtin_fabsf(a); }
HEDGEROW_INLINE Vec sqrt(Vec a) { return __builtin_sqrtf(a); }
HEDGEROW_INLINE Vec round(Vec a) { return __builtin_rintf(a); }
HEDGEROW_INLINE Vec scale2(Vec a, Vec e) {
  if (e < -126.0f) return 0;
  const uint32_t bits = static_cast<uint32_t>(static_cast<int>(e) + 127) << 23;
  float s;
  __builtin_memcpy(&s, &bits, 4);
  return a * s;
}
HEDGEROW_INLINE Vec copysign(Vec magnitude, Vec sign) { return __builtin_copysignf(magnitude, sign); }

#endif

// acc + a * b into the same register. Where sums fill the registers GCC, left to itself, moves them about
// from step to step and keeps some in memory, on the longest chain.
HEDGEROW_INLINE Vec accumulate(Vec a, Vec b, Vec acc) {
#if defined(__AVX512F__)
  asm("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
  return acc;
#elif defined(__AVX2__)
  asm("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
  return acc;
#else
  return fma(a, b, acc);
#endif
}

// acc + *a * b. As one instruction it costs a load a product but no register and fewer places in a
// processor's front end: best for some rows of a tile, not for all.
HEDGEROW_INLINE Vec accumulate_from(const float* a, Vec b, Vec acc) {
#if defined(__AVX512F__)
  asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(b), "m"(*a));
  return acc;
#else
  return accumulate(set1(*a), b, acc);
#endif
}

// Sum of all lanes in one fixed tree: lane i + lane i + half, again and again.
#if defined(__AVX2__)
HEDGEROW_INLINE float reduce_add(__m128 a) {
  a = _mm_add_ps(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}
HEDGEROW_INLINE float reduce_add(__m256 a) {
  return reduce_add(_mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)));
}
#endif
#if defined(__AVX512F__)
HEDGEROW_INLINE float reduce_add(__m512 a) {
  return reduce_add(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)));
}
#elif !defined(__AVX2__)
HEDGEROW_INLINE float reduce_add(Vec a) { return a; }
#endif

// The largest of all lanes; of those behind lane 0, what is no number counts for nothing.
HEDGEROW_INLINE float reduce_max(Vec a) {
  alignas(64) float lanes[kLanes];
  store(lanes, a);
  float most = lanes[0];
  for (float lane : lanes) most = lane > most ? lane : most;
  return most;
}

// `a` with every lane from n on taken from `rest`. For tails only.
HEDGEROW_INLINE Vec keep_first(Vec a, int n, Vec rest) {
#if defined(__AVX512F__)
  return _mm512_mask_blend_ps(first(n), rest, a);
#elif defined(__AVX2__)
  return _mm256_blendv_ps(rest, a, _mm256_castsi256_ps(first(n)));
#else
  return n ? a : rest;
#endif
}

// f<T>() for the type that holds a value of this dtype: float, or the bits of a bf16. The checks let no other
// in.
template <class F>
HEDGEROW_INLINE auto by_type(Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::f32:
      return f.template operator()<float>();
    case Dtype::bf16:
      return f.template operator()<uint16_t>();
    case Dtype::f16:
    case Dtype::i32:
    case Dtype::u8:
    case Dtype::e4m3:
    case Dtype::i8:
      break;
  }
  __builtin_trap();
}

}  // namespace hedgerow::cpu::HEDGEROW_LEVEL
