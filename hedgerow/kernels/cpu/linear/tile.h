// SPDX-License-Identifier: Apache-2.0
// The inner loops of the matrix product: H rows x P panels of outputs held in registers, one multiply-add
// chain each.
//
// A "step" is what one multiply-add consumes of a row: one f32, or a pair of bf16 where the level multiplies
// pairs. Every step of x takes 4 bytes. A panel of weights is [steps][kPanel]; x is copied to [steps /
// kChunk][H][kChunk], one cache line per row and chunk, so that any height is read as one short stream with
// constant offsets.
#pragma once

#include "hedgerow/kernels/cpu/simd.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {

#if defined(__AVX512F__)
constexpr bool kOperandsFromMemory = true;
constexpr int kRegisters = 32, kVecs = 2, kMaxHeight = 14;
#elif defined(__AVX2__)
constexpr bool kOperandsFromMemory = false;
constexpr int kRegisters = 16, kVecs = 2, kMaxHeight = 6;
#else
constexpr bool kOperandsFromMemory = false;
constexpr int kRegisters = 16, kVecs = 4, kMaxHeight = 2;
#endif
constexpr int kPanel = kVecs * kLanes;  // outputs
constexpr int kChunk = 16;              // steps: one cache line of x
constexpr int kAskEvery = 4;            // steps between two requests for weights ahead
constexpr int kMaxAtOnce = 4;           // panels

// How the weights of a dtype are stored and multiplied. kPairs: bf16 values 2u and 2u+1 make step u.
struct F32Weights {
  static constexpr int kStepBytes = 4 * kPanel;
  static constexpr bool kPairs = false, kFromMemory = kOperandsFromMemory;
  using X = float;
  using W = Vec;
  HEDGEROW_INLINE static W weights(const char* b, int v) {
    return load(reinterpret_cast<const float*>(b) + v * kLanes);
  }
  HEDGEROW_INLINE static W broadcast(const float* a) { return set1(*a); }
  HEDGEROW_INLINE static Vec multiply(W a, W b, Vec acc) { return accumulate(a, b, acc); }
};

#if defined(__AVX512BF16__)
struct Bf16Weights {
  static constexpr int kStepBytes = 4 * kPanel;
  static constexpr bool kPairs = true, kFromMemory = false;
  using X = uint16_t;
  using W = __m512bh;
  HEDGEROW_INLINE static W weights(const char* b, int v) { return (__m512bh)_mm512_loadu_si512(b + 64 * v); }
  HEDGEROW_INLINE static W broadcast(const float* a) { return (__m512bh)_mm512_set1_ps(*a); }
  HEDGEROW_INLINE static Vec multiply(W a, W b, Vec acc) { return _mm512_dpbf16_ps(acc, a, b); }
};
#else  // widen: x when it is copied, the weights when they are loaded
struct Bf16Weights {
  static constexpr int kStepBytes = 2 * kPanel;
  static constexpr bool kPairs = false, kFromMemory = kOperandsFromMemory;
  using X = uint16_t;
  using W = Vec;
  HEDGEROW_INLINE static W weights(const char* b, int v) {
    return load(reinterpret_cast<const uint16_t*>(b) + v * kLanes);
  }
  HEDGEROW_INLINE static W broadcast(const float* a) { return set1(*a); }
  HEDGEROW_INLINE static Vec multiply(W a, W b, Vec acc) { return accumulate(a, b, acc); }
};
#endif

enum class Finish : uint8_t { later, f32, bf16 };

// One tile: acc [P][H][kPanel] (+)= a [steps] x b [P panels, `panel_bytes` apart][steps].
struct TileArgs {
  const float* a;
  const char* b;
  int64_t panel_bytes;
  int steps;
  bool fresh;     // start from zero, not from acc
  Finish finish;  // later: leave the sums in acc; else add bias and residual and store rows of out
  float* acc;
  const float* bias;      // of the first output
  char* out;              // first output of the first row; asked for early in any case
  int64_t out_stride;     // bytes
  int out_bytes;          // of one row, all P panels
  const float* residual;  // may be null
  int64_t residual_stride;
  const char* ahead;    // weights that will be read later (in each of P panels) ...
  int ahead_lines;      // ... and how many lines of them to ask for per kAskEvery steps
  const char* next_x;   // rows that will be copied next, or null: brought near while this tile computes
  int64_t next_stride;  // bytes
};
using TileFn = void (*)(const TileArgs&);

HEDGEROW_INLINE void prefetch_to_write(const char* p) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*p));
#else
  __builtin_prefetch(p, 1, 3);
#endif
}

template <class Format, int H, int P>
void tile(const TileArgs& t) {
  constexpr int kV = P * kVecs;
  constexpr int kRowsPerChunk = 3;  // whose outputs are asked for while a chunk is multiplied
  constexpr int kOutLines = P * kPanel * 4 >= 64 ? P * kPanel * 4 / 64 : 1;
  Vec c[H][kV];
  if (t.fresh) {
#pragma GCC unroll 16
    for (int r = 0; r < H; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kV; ++v) c[r][v] = zero();
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < H; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kV; ++v) c[r][v] = load(t.acc + (v / kVecs * H + r) * kPanel + v % kVecs * kLanes);
  }

  const char* b = t.b;
  const int64_t panel_bytes = t.panel_bytes;
  const auto step = [&](const float* x) __attribute__((always_inline)) {
    typename Format::W w[kV];
#pragma GCC unroll 16
    for (int v = 0; v < kV; ++v) w[v] = Format::weights(b + v / kVecs * panel_bytes, v % kVecs);
    b += Format::kStepBytes;
#pragma GCC unroll 16
    for (int r = 0; r < H; ++r) {
      if constexpr (Format::kFromMemory && P == 1)
        if (r % 3 == 1) {
#pragma GCC unroll 16
          for (int v = 0; v < kV; ++v) c[r][v] = accumulate_from(x + r * kChunk, w[v], c[r][v]);
          continue;
        }
      const typename Format::W xr = Format::broadcast(x + r * kChunk);
#pragma GCC unroll 16
      for (int v = 0; v < kV; ++v) c[r][v] = Format::multiply(xr, w[v], c[r][v]);
    }
  };

  const float* a = t.a;
  const char *out = t.out, *next_x = t.next_x, *ahead = t.ahead;
  int out_rows = t.out_bytes > 0 ? H : 0, steps = t.steps;
  const int64_t out_stride = t.out_stride, out_step = t.out_bytes / kOutLines;
  const int64_t ahead_bytes = int64_t{t.ahead_lines} * 64;
  for (; steps >= kChunk; steps -= kChunk, a += H * kChunk) {
    if (out_rows > 0) {
      out_rows -= kRowsPerChunk;
#pragma GCC unroll 4
      for (int i = 0; i < kRowsPerChunk; ++i, out += out_stride)
#pragma GCC unroll 16
        for (int j = 0; j < kOutLines; ++j) prefetch_to_write(out + j * out_step);
    }
    if (next_x) {
      const char* row = next_x;
      for (int r = 0; r < H; ++r, row += t.next_stride) __builtin_prefetch(row, 0, 2);
      next_x += 64;
    }
    for (int u = 0; u < kChunk; u += kAskEvery, ahead += ahead_bytes) {
      // The first request is made in any case: most tiles have just one, and a branch for it costs more.
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) __builtin_prefetch(ahead + p * panel_bytes, 0, 2);
      for (int64_t i = 64; i < ahead_bytes; i += 64)
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) __builtin_prefetch(ahead + p * panel_bytes + i, 0, 2);
#pragma GCC unroll 4
      for (int i = 0; i < kAskEvery; ++i) step(a + u + i);
    }
  }
  for (int u = 0; u < steps; ++u) step(a + u);

  if (t.finish == Finish::later) {
#pragma GCC unroll 16
    for (int r = 0; r < H; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kV; ++v) store(t.acc + (v / kVecs * H + r) * kPanel + v % kVecs * kLanes, c[r][v]);
    return;
  }
  Vec bias[kV];
#pragma GCC unroll 16
  for (int v = 0; v < kV; ++v) bias[v] = load(t.bias + v * kLanes);
  char* to = t.out;
  const auto store_rows = [&](auto* first, const float* residual) __attribute__((always_inline)) {
#pragma GCC unroll 16
    for (int r = 0; r < H; ++r, to += t.out_stride) {
      auto* row = reinterpret_cast<decltype(first)>(to);
#pragma GCC unroll 16
      for (int v = 0; v < kV; ++v) {
        Vec y = add(c[r][v], bias[v]);
        if (residual) y = add(y, load(residual + v * kLanes));
        store(row + v * kLanes, y);
      }
      if (residual) residual += t.residual_stride;
    }
  };
  if (t.finish == Finish::bf16)
    store_rows(static_cast<uint16_t*>(nullptr), nullptr);
  else if (t.residual)
    store_rows(static_cast<float*>(nullptr), t.residual);
  else
    store_rows(static_cast<float*>(nullptr), nullptr);
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
