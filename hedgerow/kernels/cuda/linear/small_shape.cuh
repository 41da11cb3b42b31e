// SPDX-License-Identifier: Apache-2.0
// The shape of a small tile (linear/small.cuh), and how the blocks that share one add up their sums.
#pragma once

#include "hedgerow/kernels/cuda/linear/small_rows.cuh"

namespace hedgerow::cuda {

template <int R, int GROUPS, int WARPS>
struct SmallShape {
  static constexpr int kOutputs = 64 * GROUPS, kMultipliers = 128 * GROUPS;
  static constexpr int kThreads = WARPS * 32 + 32;  // the last warp feeds
  static constexpr int kWStage = kOutputs * 128, kXStage = R * 128;
  static constexpr int kStride = kOutputs + 4;  // floats per row of the finished tile in shared memory
  // A small finished tile has memory of its own, so that a warp need not wait for the others' products.
  static constexpr int kFinished = R * kStride * 4;
  static constexpr bool kApart = R <= 32;
  static constexpr int kRounds = (R + 15) / 16;  // eight outputs per thread and round
  // What a cluster deals out: this many sums of every thread at a time.
  static constexpr int kUnit = R >= 32 ? 4 : 2, kUnits = R / 2 / kUnit;
  template <int RANKS>
  static constexpr int kMostUnits = (kUnits + RANKS - 1) / RANKS;
};

// Which unit of a tile this thread's chunk of eight outputs belongs to, and who finishes a unit.
template <class Shape>
__device__ __forceinline__ int unit_of(int row, int chunk) {
  return Shape::kUnit == 4 ? row >> 3 : (row >> 3) * 2 + (chunk & 1);
}
template <class Shape>
__device__ __forceinline__ int owner_of(int unit, int ranks_log) {
  return (unit << ranks_log) / Shape::kUnits;
}

// Sends every unit to its owner and adds up what arrives here, in the order of the ranges of k.
template <class Shape, int RANKS, int N>
__device__ __forceinline__ void exchange_sums(float (&sums)[N], int rank, uint32_t at_parts,
                                              uint32_t at_sum) {
  constexpr int kUnit = Shape::kUnit, kMost = Shape::template kMostUnits<RANKS>;
  constexpr uint32_t kSlot = Shape::kMultipliers * kUnit * 4;
  const uint32_t mine = at_parts + threadIdx.x * (kUnit * 4);
#pragma unroll
  for (int u = 0; u < Shape::kUnits; ++u) {
    constexpr int kUnits = Shape::kUnits;
    const int owner = u * RANKS / kUnits, slot = u - (owner * kUnits + RANKS - 1) / RANKS;
    if (owner == rank) continue;
    const uint32_t to = in_block(mine + (rank * kMost + slot) * kSlot, owner), bar = in_block(at_sum, owner);
    if constexpr (kUnit == 4) {
      push_async(to, bar, sums[4 * u], sums[4 * u + 1], sums[4 * u + 2], sums[4 * u + 3]);
    } else {
      push_async(to, bar, sums[2 * u], sums[2 * u + 1]);
    }
  }
  barrier_wait_cluster(at_sum, 0);
#pragma unroll
  for (int u = 0; u < Shape::kUnits; ++u) {
    constexpr int kUnits = Shape::kUnits;
    const int owner = u * RANKS / kUnits, slot = u - (owner * kUnits + RANKS - 1) / RANKS;
    if (owner != rank) continue;
    float total[kUnit] = {};
#pragma unroll
    for (int r = 0; r < RANKS; ++r) {
      float part[kUnit];
#pragma unroll
      for (int e = 0; e < kUnit; ++e) part[e] = sums[u * kUnit + e];
      if (r != rank) load_shared_floats(part, mine + (r * kMost + slot) * kSlot);
#pragma unroll
      for (int e = 0; e < kUnit; ++e) total[e] += part[e];
    }
#pragma unroll
    for (int e = 0; e < kUnit; ++e) sums[u * kUnit + e] = total[e];
  }
}

}  // namespace hedgerow::cuda
