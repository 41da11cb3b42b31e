// SPDX-License-Identifier: Apache-2.0
// The products of the fused MLP (mlp.cuh) for one warpgroup, and the activation between them.
#pragma once

#include "hedgerow/kernels/cuda/mlp/rows.cuh"

namespace hedgerow::cuda {

// What tile_descriptor() makes of an address in shared memory, in two words of which only the lower one
// varies: whole ones would take two registers each where none is left. BYTES: of a row, 128 or 64.
template <int BYTES>
__device__ __forceinline__ uint64_t descriptor_of(uint32_t low) {
  constexpr uint32_t kHigh = (BYTES == 128 ? 1u << 30 : 2u << 30) | BYTES * 8 >> 4;
  uint64_t d;
  asm("mov.b64 %0, {%1, %2};" : "=l"(d) : "r"(low), "r"(kHigh));
  return d;
}
__device__ __forceinline__ uint32_t descriptor_low(uint32_t address) { return 1u << 16 | address >> 4; }

// The products and the activation between them.
template <class T, int ACTIVATION, int DIM>
struct MlpProducts {
  using Shape = MlpShape<DIM>;
  static constexpr int kPlaces = DIM / 192;
  float sums[kPlaces][96];
  float scores[Shape::kStep / 2];
  uint32_t hidden[Shape::kStep / 16][4];
  uint32_t kept[Shape::kKept ? DIM / 16 : 1][4];

  __device__ __forceinline__ void keep(uint32_t half) {
    if constexpr (Shape::kKept) {
      const int thread = thread_here(), lane = thread & 31, r = (thread >> 5 & 3) * 16 + (lane & 15);
#pragma unroll
      for (int k = 0; k < DIM / 16; ++k)
        load_matrices(kept[k], half + k / 4 * Shape::kPanel + swizzled<8>(r, k % 4 * 2 + (lane >> 4)));
    }
  }
  // scores = rows w1^T
  __device__ __forceinline__ void first(uint32_t half, uint32_t slot) {
    const uint32_t low = descriptor_low(slot);
    uint32_t low_rows = descriptor_low(half);
    asm volatile("" : "+r"(low_rows));  // else all 24 would be kept across the loop
#pragma unroll
    for (int k = 0; k < DIM / 16; ++k) {
      const uint64_t w = descriptor_of<128>(low + (k / 4 * (Shape::kSlot / (DIM / 64)) >> 4) + k % 4 * 2);
      if constexpr (Shape::kKept) {
        product_from_registers<T, Shape::kStep>(scores, kept[k], w, k != 0);
      } else {
        const uint64_t x = descriptor_of<128>(low_rows + (k / 4 * Shape::kPanel >> 4) + k % 4 * 2);
        product_shared<T, Shape::kStep>(scores, x, w, k != 0);
      }
    }
  }
  __device__ __forceinline__ void activate(uint32_t bias) {
#pragma unroll
    for (int s = 0; s < Shape::kStep / 16; ++s) {
      const float2 low = load_shared_pair(bias + s * 64), high = load_shared_pair(bias + s * 64 + 32);
      float y[8];
#pragma unroll
      for (int h = 0; h < 8; ++h)
        y[h] = scores[s * 8 + h] + (h < 4 ? h % 2 ? low.y : low.x : h % 2 ? high.y : high.x);
      activate_all<ACTIVATION>(y);
#pragma unroll
      for (int h = 0; h < 4; ++h) hidden[s][h] = pack2<T>(y[2 * h], y[2 * h + 1]);
    }
  }
  __device__ __forceinline__ void keep_hidden() {
#pragma unroll
    for (int s = 0; s < Shape::kStep / 16; ++s) keep_registers(hidden[s]);
  }
  // sums += hidden w2^T
  __device__ __forceinline__ void second(uint32_t slot) {
    const uint32_t low = descriptor_low(slot);
#pragma unroll
    for (int s = 0; s < Shape::kStep / 16; ++s) {
#pragma unroll
      for (int i = 0; i < kPlaces; ++i) {
        const uint64_t w = descriptor_of<Shape::kStep * 2>(low + (i * (Shape::kSlot / 2) >> 4) + s * 2);
        product_from_registers<T, 192>(sums[i], hidden[s], w, 1);
      }
    }
  }
};

}  // namespace hedgerow::cuda
