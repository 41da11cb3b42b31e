// SPDX-License-Identifier: Apache-2.0
// Vectors of codes: kLanes outputs of four columns each, and what a product of them needs. Included only by
// files that are built once per level, as simd.h.
#pragma once

#include <utility>

#include "hedgerow/kernels/cpu/simd.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {

#if defined(__AVX512F__)

using Bytes = __m512i;
HEDGEROW_INLINE Bytes load_bytes(const uint8_t* p) { return _mm512_loadu_si512(p); }
HEDGEROW_INLINE Bytes byte_mask(int value) { return _mm512_set1_epi8(static_cast<char>(value)); }
HEDGEROW_INLINE Bytes both(Bytes a, Bytes b) { return _mm512_and_si512(a, b); }
template <int kLeft>
HEDGEROW_INLINE Bytes shifted(Bytes a) {  // left by kLeft, right by -kLeft; bits of neighbours come along
  if constexpr (kLeft > 0) return _mm512_slli_epi16(a, kLeft);
  if constexpr (kLeft < 0) return _mm512_srli_epi16(a, -kLeft);
  return a;
}
// (a & mask) | b
HEDGEROW_INLINE Bytes masked_or(Bytes a, Bytes mask, Bytes b) {
  return _mm512_ternarylogic_epi32(a, mask, b, 0xEA);
}
HEDGEROW_INLINE VecI whole(int a) { return _mm512_set1_epi32(a); }
HEDGEROW_INLINE Vec to_float(VecI a) { return _mm512_cvtepi32_ps(a); }
HEDGEROW_INLINE VecI sum_of(VecI a, VecI b) { return _mm512_add_epi32(a, b); }
HEDGEROW_INLINE Vec load_f16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
HEDGEROW_INLINE VecI load_u8(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
HEDGEROW_INLINE VecI load_i8(const uint8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
// sums + codes (unsigned) x four columns of x (signed), exact.
template <bool kEightBits>
HEDGEROW_INLINE VecI dot4(VecI sums, Bytes codes, VecI x) {
#if defined(__AVX512VNNI__)
  return _mm512_dpbusd_epi32(sums, codes, x);
#else
  const VecI ones = _mm512_set1_epi16(1);
  if constexpr (kEightBits) {  // in halves, whose pairs of products fit 16 bits
    const Bytes low = byte_mask(15);
    const VecI a = _mm512_madd_epi16(_mm512_maddubs_epi16(both(codes, low), x), ones);
    const VecI b = _mm512_madd_epi16(_mm512_maddubs_epi16(both(shifted<-4>(codes), low), x), ones);
    return sum_of(sums, sum_of(a, _mm512_slli_epi32(b, 4)));
  }
  return sum_of(sums, _mm512_madd_epi16(_mm512_maddubs_epi16(codes, x), ones));
#endif
}
// a * b + c, rounded once, on every level.
HEDGEROW_INLINE Vec fused(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }

#elif defined(__AVX2__)

using Bytes = __m256i;
HEDGEROW_INLINE Bytes load_bytes(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
HEDGEROW_INLINE Bytes byte_mask(int value) { return _mm256_set1_epi8(static_cast<char>(value)); }
HEDGEROW_INLINE Bytes both(Bytes a, Bytes b) { return _mm256_and_si256(a, b); }
template <int kLeft>
HEDGEROW_INLINE Bytes shifted(Bytes a) {
  if constexpr (kLeft > 0) return _mm256_slli_epi16(a, kLeft);
  if constexpr (kLeft < 0) return _mm256_srli_epi16(a, -kLeft);
  return a;
}
HEDGEROW_INLINE Bytes masked_or(Bytes a, Bytes mask, Bytes b) { return _mm256_or_si256(both(a, mask), b); }
HEDGEROW_INLINE VecI whole(int a) { return _mm256_set1_epi32(a); }
HEDGEROW_INLINE Vec to_float(VecI a) { return _mm256_cvtepi32_ps(a); }
HEDGEROW_INLINE VecI sum_of(VecI a, VecI b) { return _mm256_add_epi32(a, b); }
HEDGEROW_INLINE Vec load_f16(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
HEDGEROW_INLINE VecI load_u8(const uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
HEDGEROW_INLINE VecI load_i8(const uint8_t* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
template <bool kEightBits>
HEDGEROW_INLINE VecI dot4(VecI sums, Bytes codes, VecI x) {
  const VecI ones = _mm256_set1_epi16(1);
  if constexpr (kEightBits) {
    const Bytes low = byte_mask(15);
    const VecI a = _mm256_madd_epi16(_mm256_maddubs_epi16(both(codes, low), x), ones);
    const VecI b = _mm256_madd_epi16(_mm256_maddubs_epi16(both(shifted<-4>(codes), low), x), ones);
    return sum_of(sums, sum_of(a, _mm256_slli_epi32(b, 4)));
  }
  return sum_of(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), ones));
}
HEDGEROW_INLINE Vec fused(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }

#else

using Bytes = uint32_t;
HEDGEROW_INLINE Bytes load_bytes(const uint8_t* p) {
  uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}
HEDGEROW_INLINE Bytes byte_mask(int value) { return static_cast<uint32_t>(value) * 0x01010101u; }
HEDGEROW_INLINE Bytes both(Bytes a, Bytes b) { return a & b; }
template <int kLeft>
HEDGEROW_INLINE Bytes shifted(Bytes a) {
  if constexpr (kLeft > 0) return a << kLeft;
  if constexpr (kLeft < 0) return a >> -kLeft;
  return a;
}
HEDGEROW_INLINE Bytes masked_or(Bytes a, Bytes mask, Bytes b) { return (a & mask) | b; }
HEDGEROW_INLINE VecI whole(int a) { return a; }
HEDGEROW_INLINE Vec to_float(VecI a) { return static_cast<float>(a); }
HEDGEROW_INLINE VecI sum_of(VecI a, VecI b) { return a + b; }
HEDGEROW_INLINE Vec load_f16(const uint16_t* p) { return f16_to_f32(*p); }
HEDGEROW_INLINE VecI load_u8(const uint8_t* p) { return *p; }
HEDGEROW_INLINE VecI load_i8(const uint8_t* p) { return static_cast<int8_t>(*p); }
template <bool kEightBits>
HEDGEROW_INLINE VecI dot4(VecI sums, Bytes codes, VecI x) {
  for (int i = 0; i < 4; ++i)
    sums += static_cast<int>(codes >> (8 * i) & 255u) *
            static_cast<int8_t>(static_cast<uint32_t>(x) >> (8 * i) & 255u);
  return sums;
}
HEDGEROW_INLINE Vec fused(Vec a, Vec b, Vec c) { return __builtin_fmaf(a, b, c); }

#endif

HEDGEROW_INLINE Vec negative(Vec a) { return sub(set1(-0.0f), a); }
HEDGEROW_INLINE VecI columns4(const int8_t* x) {
  int32_t v;
  std::memcpy(&v, x, 4);
  return whole(v);
}

constexpr int kQuantVecs = kQuantPanel / kLanes;  // vectors of 32 outputs
constexpr int kVecBytes = 4 * kLanes;

// f(std::integral_constant 0 .. n-1), unrolled; the index is a constant.
template <int... I, class F>
HEDGEROW_INLINE void each_of(F&& f, std::integer_sequence<int, I...>) {
  (f.template operator()<I>(), ...);
}
template <int kCount, class F>
HEDGEROW_INLINE void each(F&& f) {
  each_of(f, std::make_integer_sequence<int, kCount>());
}

}  // namespace hedgerow::cpu::HEDGEROW_LEVEL
