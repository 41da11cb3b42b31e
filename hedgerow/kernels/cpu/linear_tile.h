// SPDX-License-Identifier: Apache-2.0
// The inner loops of the matrix product: H rows x P panels of outputs held in registers, one multiply-add
// chain each.
//
// A "unit" is what one multiply-add consumes of a row: one f32, or a pair of bf16 where the level multiplies
// pairs. Every unit of x takes 4 bytes. A panel of weights is [units][kPanel]; x is copied to [units /
// kChunk][H][kChunk], one cache line per row and chunk, so that any height is read as one short stream with
// constant offsets.
#pragma once

#include "hedgerow/kernels/cpu/simd.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {

#if defined(__AVX512F__)
constexpr int kRegisters = 32, kVecs = 2, kMaxHeight = 14;
#elif defined(__AVX2__)
constexpr int kRegisters = 16, kVecs = 2, kMaxHeight = 6;
#else
constexpr int kRegisters = 16, kVecs = 4, kMaxHeight = 2;
#endif
constexpr int kPanel = kVecs * kLanes;  // outputs
constexpr int kChunk = 16;              // units: one cache line of x
constexpr int kMaxAtOnce = 4;           // panels

// How the weights of a dtype are stored and multiplied. kPairs: bf16 values 2u and 2u+1 make unit u.
struct F32Weights {
  static constexpr int kUnitBytes = 4 * kPanel;
  static constexpr bool kPairs = false;
  using X = float;
  using W = Vec;
  HEDGEROW_INLINE static W weights(const char* b, int v) {
    return load(reinterpret_cast<const float*>(b) + v * kLanes);
  }
  HEDGEROW_INLINE static W broadcast(const float* a) { return set1(*a); }
  HEDGEROW_INLINE static Vec step(W a, W b, Vec acc) { return fma(a, b, acc); }
};

#if defined(__AVX512BF16__)
struct Bf16Weights {
  static constexpr int kUnitBytes = 4 * kPanel;
  static constexpr bool kPairs = true;
  using X = uint16_t;
  using W = __m512bh;
  HEDGEROW_INLINE static W weights(const char* b, int v) { return (__m512bh)_mm512_loadu_si512(b + 64 * v); }
  HEDGEROW_INLINE static W broadcast(const float* a) { return (__m512bh)_mm512_set1_ps(*a); }
  HEDGEROW_INLINE static Vec step(W a, W b, Vec acc) { return _mm512_dpbf16_ps(acc, a, b); }
};
#else  // widen: x when it is copied, the weights when they are loaded
struct Bf16Weights {
  static constexpr int kUnitBytes = 2 * kPanel;
  static constexpr bool kPairs = false;
  using X = uint16_t;
  using W = Vec;
  HEDGEROW_INLINE static W weights(const char* b, int v) {
    return load(reinterpret_cast<const uint16_t*>(b) + v * kLanes);
  }
  HEDGEROW_INLINE static W broadcast(const float* a) { return set1(*a); }
  HEDGEROW_INLINE static Vec step(W a, W b, Vec acc) { return fma(a, b, acc); }
};
#endif

// acc [P][H][kPanel] (+)= a [units] x b [P panels, `panel_bytes` apart][units]; `fresh`: start from zero.
using TileFn = void (*)(const float* a, const char* b, int64_t panel_bytes, int units, float* acc,
                        bool fresh);

// Weights come from far away (L3, or memory at batch 1): ask for them this many bytes early. One row needs
// the whole bandwidth, so the panels it works on at once share the distance.
constexpr int kPrefetchBytes = 8192;

template <class Format, int H, int P>
void tile(const float* a, const char* b, int64_t panel_bytes, int units, float* acc, bool fresh) {
  constexpr int kV = P * kVecs;
  Vec c[H][kV];
#pragma GCC unroll 16
  for (int r = 0; r < H; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kV; ++v)
      c[r][v] = fresh ? zero() : load(acc + (v / kVecs * H + r) * kPanel + v % kVecs * kLanes);

  const auto step = [&](const float* x) __attribute__((always_inline)) {
    typename Format::W w[kV];
#pragma GCC unroll 16
    for (int v = 0; v < kV; ++v) w[v] = Format::weights(b + v / kVecs * panel_bytes, v % kVecs);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
      for (int i = 0; i < Format::kUnitBytes; i += 64)
        __builtin_prefetch(b + p * panel_bytes + kPrefetchBytes / P + i, 0, 3);
    b += Format::kUnitBytes;
#pragma GCC unroll 16
    for (int r = 0; r < H; ++r) {
      const typename Format::W xr = Format::broadcast(x + r * kChunk);
#pragma GCC unroll 16
      for (int v = 0; v < kV; ++v) c[r][v] = Format::step(xr, w[v], c[r][v]);
    }
  };
  for (; units >= kChunk; units -= kChunk, a += H * kChunk)
#pragma GCC unroll 2
    for (int u = 0; u < kChunk; ++u) step(a + u);
  for (int u = 0; u < units; ++u) step(a + u);

#pragma GCC unroll 16
  for (int r = 0; r < H; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kV; ++v) store(acc + (v / kVecs * H + r) * kPanel + v % kVecs * kLanes, c[r][v]);
}

// Few rows need several panels at once, else the chains are too few to hide the latency of a multiply-add.
constexpr int panels_at_once(int height) {
  const int most = height <= 2 ? 4 : 2;
  for (int p = most; p > 1; p /= 2)
    if ((height + 1) * p * kVecs + 1 <= kRegisters) return p;
  return 1;
}

template <class Format, int H>
struct TileTable {
  static TileFn one(int height) {
    return height == H ? tile<Format, H, 1> : TileTable<Format, H - 1>::one(height);
  }
  static TileFn several(int height) {
    return height == H ? tile<Format, H, panels_at_once(H)> : TileTable<Format, H - 1>::several(height);
  }
};
template <class Format>
struct TileTable<Format, 0> {
  static TileFn one(int) { return nullptr; }
  static TileFn several(int) { return nullptr; }
};

}  // namespace hedgerow::cpu::HEDGEROW_LEVEL
