// SPDX-License-Identifier: Apache-2.0
// The peak loop of one level (Level::peak). The chains outnumber latency x throughput (4 cycles x 2 a cycle
// for an f32 multiply-add, 6 x 2 for dpbf16), so the multipliers set the pace; with the two factors they fit
// the level's registers.
#include "hedgerow/kernels/cpu/simd.h"

namespace hedgerow::cpu {
namespace HEDGEROW_LEVEL {
namespace {

#if defined(__AVX512F__)
constexpr int kChains = 16;
#else
constexpr int kChains = 12;
#endif

double f32_loop(int64_t rounds) {
  Vec sum[kChains];
  for (int c = 0; c < kChains; ++c) sum[c] = set1(static_cast<float>(c));
  Vec a = set1(0.999f), b = set1(0.001f);
  for (int64_t r = 0; r < rounds; ++r) {
    // The factors pass through the loop as unknowns: nothing here can be computed ahead or widened across
    // chains.
#if defined(__AVX2__)
    asm volatile("" : "+v"(a), "+v"(b));
#else
    asm volatile("" : "+x"(a), "+x"(b));
#endif
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sum[c] = fma(sum[c], a, b);
  }
  volatile float sink = 0;
  for (int c = 0; c < kChains; ++c) sink = sink + reduce_add(sum[c]);
  return 2.0 * kLanes * kChains * static_cast<double>(rounds);
}

#if defined(__AVX512BF16__)
double bf16_loop(int64_t rounds) {
  Vec sum[kChains];
  for (int c = 0; c < kChains; ++c) sum[c] = zero();
  __m512i a = _mm512_set1_epi16(0x3f80), b = _mm512_set1_epi16(0x3a83);
  for (int64_t r = 0; r < rounds; ++r) {
    asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sum[c] = _mm512_dpbf16_ps(sum[c], (__m512bh)a, (__m512bh)b);
  }
  volatile float sink = 0;
  for (int c = 0; c < kChains; ++c) sink = sink + reduce_add(sum[c]);
  return 4.0 * kLanes * kChains * static_cast<double>(rounds);
}
#else
double bf16_loop(int64_t rounds) { return f32_loop(rounds); }
#endif

double peak(Dtype dtype, int64_t rounds) noexcept {
  return dtype == Dtype::bf16 ? bf16_loop(rounds) : f32_loop(rounds);
}

}  // namespace
}  // namespace HEDGEROW_LEVEL

void HEDGEROW_FILL(peak)(Level& level) { level.peak = HEDGEROW_LEVEL::peak; }

}  // namespace hedgerow::cpu
