// SPDX-License-Identifier: Apache-2.0
// What every matrix-product kernel is given, and how a finished sum becomes an output.
#pragma once

#include "hedgerow/kernels/cuda/device.cuh"

namespace hedgerow::cuda {

struct LinearParams {
  const int32_t* rows;   // live row count, in device memory
  const float* bias;     // padded with zeros to whole tiles
  const void* residual;  // null = none
  void* out;
  int64_t residual_row, out_row;  // elements
  int n, k;
  bool residual_f32, out_f32;
  // int8 products only: units of the rows, f32, and of the outputs' weights, bf16.
  const float* x_units;
  const uint16_t* w_units;
  // e4m3 products only: what a sum is multiplied with. Where `out` is e4m3: what an output is multiplied
  // with.
  float unit, out_scale;
  bool out_e4m3;
  // Products of 16-bit rows only, null = none. What the rows of x sum up to (Product::x_moments): sums are
  // then divided by their deviations; where to leave the same of the outputs.
  const float2* x_moments;
  float2* moments;
  float eps;
  int capacity;  // rows
};

// Tiles that warpgroups take turns with (linear/pingpong.cuh) are two units of 64 rows high, or one. A low
// one takes 0.7 of a high one's time, measured: it reads as many weights for half the products. Tiles go
// round robin to the teams of blocks, high ones first; this is when the last team ends, in tenths of a high
// tile.
__host__ __device__ inline int turns_end(int units, int high, int columns, int teams) {
  const auto up = [](int a, int b) { return (a + b - 1) / b; };
  return 3 * up(high * columns, teams) + 7 * up((units - high) * columns, teams);
}
// How many rows of tiles are high: all, or so many that every team ends on low ones where that ends sooner.
__host__ __device__ inline int high_tiles(int units, int columns, int teams) {
  const int rounds = ((units * columns + teams - 1) / teams - 1) / 2;
  int best = units / 2, least = turns_end(units, best, columns, teams);
#pragma unroll
  for (int fewer = 0; fewer < 2; ++fewer) {  // the second may leave no remainder where the first does
    const int high = rounds - fewer < 0 ? 0 : (rounds - fewer) * teams / columns;
    if (high >= units / 2) continue;
    if (const int end = turns_end(units, high, columns, teams); end < least) best = high, least = end;
  }
  return best;
}

// x Phi(x) with Phi(-u) = 2^p(u), p fitted so that the error of the product stays below 7e-7 everywhere: five
// multiply-adds and one power, where erff would cost more than the matrix product around it.
__device__ __forceinline__ float gelu_erf(float x) {
  const float u = fabsf(x);
  float p = fmaf(-0.00047330930829048157f, u, 0.007084557320922613f);
  p = fmaf(p, u, -0.051827382296323776f);
  p = fmaf(p, u, -0.4599924385547638f);
  p = fmaf(p, u, -1.1507878303527832f);
  p = fmaf(p, u, -1.000037670135498f);
  return fmaf(-u, exp2_fast(p), fmaxf(x, 0.0f));
}
__device__ __forceinline__ float gelu_tanh(float x) {
  const float y = 0.7978845608028654f * fmaf(0.044715f * x * x, x, x);
  return x / (1.0f + exp2_fast(-2.0f * kLog2e * y));
}
// Activation as the contract numbers it: none, gelu_erf, gelu_tanh.
template <int kActivation>
__device__ __forceinline__ float activated(float x) {
  if constexpr (kActivation == 1) return gelu_erf(x);
  if constexpr (kActivation == 2) return gelu_tanh(x);
  return x;
}

// The same of several values, step by step over all of them, so that no step waits for the one before: where
// registers are scarce the compiler keeps the order in which this is written.
template <int kActivation, int N>
__device__ __forceinline__ void activate_all(float (&x)[N]) {
  if constexpr (kActivation == 1) {
    float p[N];
    const auto step = [&](float c) {
#pragma unroll
      for (int i = 0; i < N; ++i) p[i] = fmaf(p[i], fabsf(x[i]), c);
    };
#pragma unroll
    for (int i = 0; i < N; ++i) p[i] = -0.00047330930829048157f;
    step(0.007084557320922613f), step(-0.051827382296323776f), step(-0.4599924385547638f);
    step(-1.1507878303527832f), step(-1.000037670135498f);
#pragma unroll
    for (int i = 0; i < N; ++i) p[i] = exp2_fast(p[i]);
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] = fmaf(-fabsf(x[i]), p[i], fmaxf(x[i], 0.0f));
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] = activated<kActivation>(x[i]);
  }
}

// GELU of two f16 at once, times `scale` (two f16 of it), in the tanh form: within 2e-3 of the erf form, well
// below what factors of 8 bits leave uncertain, at half the price.
__device__ __forceinline__ uint32_t gelu_pair(uint32_t x, uint32_t half_scale) {
  uint32_t y;
  asm("{\n.reg .b32 s, t;\n"
      "mul.rn.f16x2 s, %1, %1;\n"
      "fma.rn.f16x2 t, s, %3, %4;\n"
      "mul.rn.f16x2 t, %1, t;\n"
      "tanh.approx.f16x2 t, t;\n"
      "mul.rn.f16x2 s, %1, %2;\n"
      "fma.rn.f16x2 %0, s, t, s;\n}"
      : "=r"(y)
      : "r"(x), "r"(half_scale), "r"(0x28912891u), "r"(0x3a623a62u));  // 0.0356774 and 0.7978846
  return y;
}

template <class T>
__device__ __forceinline__ float2 residual_at(const LinearParams& p, int64_t row, int col) {
  const int64_t i = row * p.residual_row + col;
  if (p.residual_f32) return *reinterpret_cast<const float2*>(static_cast<const float*>(p.residual) + i);
  return unpack2<T>(*reinterpret_cast<const uint32_t*>(static_cast<const T*>(p.residual) + i));
}

}  // namespace hedgerow::cuda
