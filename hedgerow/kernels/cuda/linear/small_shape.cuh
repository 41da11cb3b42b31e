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
  static constexpr int kDeal = R >= 32 ? 4 : 2, kDeals = R / 2 / kDeal;
  template <int RANKS>
  static constexpr int kMostDeals = (kDeals + RANKS - 1) / RANKS;
};

// Which deal of a tile this thread's chunk of eight outputs belongs to, and who finishes a deal.
template <class Shape>
__device__ __forceinline__ int deal_of(int row, int chunk) {
  return Shape::kDeal == 4 ? row >> 3 : (row >> 3) * 2 + (chunk & 1);
}
template <class Shape>
__device__ __forceinline__ int owner_of(int deal, int ranks_log) {
  return (deal << ranks_log) / Shape::kDeals;
}

// Sends every deal to its owner and adds up what arrives here, in the order of the ranges of k.
template <class Shape, int RANKS, int N>
__device__ __forceinline__ void exchange_sums(float (&sums)[N], int rank, uint32_t at_parts,
                                              uint32_t at_sum) {
  constexpr int kDeal = Shape::kDeal, kMost = Shape::template kMostDeals<RANKS>;
  constexpr uint32_t kSlot = Shape::kMultipliers * kDeal * 4;
  const uint32_t mine = at_parts + threadIdx.x * (kDeal * 4);
#pragma unroll
  for (int u = 0; u < Shape::kDeals; ++u) {
    constexpr int kDeals = Shape::kDeals;
    const int owner = u * RANKS / kDeals, slot = u - (owner * kDeals + RANKS - 1) / RANKS;
    if (owner == rank) continue;
    const uint32_t to = in_block(mine + (rank * kMost + slot) * kSlot, owner), bar = in_block(at_sum, owner);
    if constexpr (kDeal == 4) {
      push_async(to, bar, sums[4 * u], sums[4 * u + 1], sums[4 * u + 2], sums[4 * u + 3]);
    } else {
      push_async(to, bar, sums[2 * u], sums[2 * u + 1]);
    }
  }
  barrier_wait_cluster(at_sum, 0);
#pragma unroll
  for (int u = 0; u < Shape::kDeals; ++u) {
    constexpr int kDeals = Shape::kDeals;
    const int owner = u * RANKS / kDeals, slot = u - (owner * kDeals + RANKS - 1) / RANKS;
    if (owner != rank) continue;
    float total[kDeal] = {};
#pragma unroll
    for (int r = 0; r < RANKS; ++r) {
      float part[kDeal];
#pragma unroll
      for (int e = 0; e < kDeal; ++e) part[e] = sums[u * kDeal + e];
      if (r != rank) load_shared_floats(part, mine + (r * kMost + slot) * kSlot);
#pragma unroll
      for (int e = 0; e < kDeal; ++e) total[e] += part[e];
    }
#pragma unroll
    for (int e = 0; e < kDeal; ++e) sums[u * kDeal + e] = total[e];
  }
}

}  // namespace hedgerow::cuda
