// SPDX-License-Identifier: Apache-2.0
// Queues small products: which compiled tile serves a plan, and where its pieces lie in a block's memory.
// Included once per 16-bit type.
#pragma once

#include <algorithm>

#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/linear/small.cuh"
#include "hedgerow/kernels/cuda/linear/small_queue.h"

namespace hedgerow::cuda {

template <class T, Source SOURCE, int R, int GROUPS, int KSTEPS, int WARPS>
cudaError_t queue_small_tile(cudaStream_t stream, const Product& a, const LinearPlan& plan) {
  using Tile = SmallShape<R, GROUPS, WARPS>;
  constexpr bool kDivided = SOURCE == Source::divided, kFetched = SOURCE == Source::fetched || kDivided;
  constexpr bool kNormed = KSTEPS > 0;
  const int all_steps = (a.w->k + 63) / 64;
  const int row_tiles = (a.rows.row_capacity + R - 1) / R,
            columns = (a.w->n + Tile::kOutputs - 1) / Tile::kOutputs;
  const int wanted = kNormed || kDivided ? 1 : std::min({plan.split, all_steps, Tile::kUnits});
  const int ranks = wanted >= 8 ? 8 : wanted >= 4 ? 4 : wanted >= 2 ? 2 : 1;
  const int steps = (all_steps + ranks - 1) / ranks, rows_bytes = kFetched ? 0 : steps * Tile::kXStage;
  const int stage = Tile::kWStage + (kFetched ? Tile::kXStage : 0);

  SmallParams p = {};
  const int room = kSmallRoom - rows_bytes - (Tile::kApart ? Tile::kFinished : 0);
  p.stages = std::min(std::max(room / stage, 2), steps);
  const auto log = [](int x) { return x >= 8 ? 3 : x >= 4 ? 2 : x >= 2 ? 1 : 0; };
  p.ranks_log = log(ranks);
  p.at_w = kFetched ? p.stages * Tile::kXStage : rows_bytes;
  p.at_finished = p.at_w + p.stages * Tile::kWStage;
  p.at_parts = Tile::kApart ? p.at_finished + Tile::kFinished : std::max(p.at_finished, Tile::kFinished);
  p.at_norm =
      p.at_parts +
      (ranks > 1 ? ranks * ((Tile::kUnits + ranks - 1) / ranks) * Tile::kMultipliers * Tile::kUnit * 4 : 0);
  p.at_barriers = p.at_norm + KSTEPS * 64 * 8 + (kDivided ? R * 4 : 0);
  p.rows = a.rows.offsets + a.rows.batch, p.bias = a.w->bias.as<const float>();
  p.residual = a.residual.data, p.residual_row = a.residual.strides[0],
  p.residual_f32 = a.residual.dtype == Dtype::f32;
  p.out = a.out.data, p.out_row = a.out.strides[0], p.out_f32 = a.out.dtype == Dtype::f32;
  p.x = a.x.data, p.x_row = a.x.strides[0], p.x_rows = static_cast<int>(a.x.extents[0]);
  p.index = a.index.as<const int32_t>();
  p.gamma = a.norm_gamma.as<const float>(), p.beta = a.norm_beta.as<const float>(), p.eps = a.norm_eps,
  p.one_over_k = 1.0f / static_cast<float>(a.w->k);
  p.n = a.w->n, p.k = a.w->k, p.capacity = a.rows.row_capacity, p.act = static_cast<uint8_t>(a.act);

  constexpr int kMost = 227 * 1024;
  Shape shape;
  shape.grid = dim3(columns * ranks, row_tiles);
  shape.block = Tile::kThreads;
  shape.shared = p.at_barriers + 8 + 16 * p.stages;
  shape.cluster = ranks;
  CUtensorMap x_map, w_map;
  if (shape.shared > kMost || (kNormed && p.k != KSTEPS * 64)) return cudaErrorNotSupported;
  if (!matrix_map(w_map, a.w->dtype, a.w->data.as(), p.n, p.k, p.k, Tile::kOutputs))
    return cudaErrorNotSupported;
  x_map = w_map;  // not read where threads bring the rows
  if (kFetched && !matrix_map(x_map, a.x.dtype, a.x.data, p.capacity, p.k, p.x_row, R))
    return cudaErrorNotSupported;

  return launch<linear_small<T, SOURCE, R, GROUPS, KSTEPS, WARPS>, kMost>(stream, shape, x_map, w_map, p);
}

constexpr int tile_case(int rows, int groups) { return rows * 10 + groups; }

template <class T>
cudaError_t queue_small(cudaStream_t stream, const Product& a, const LinearPlan& plan) {
  constexpr Source kFetched = Source::fetched;
  if (a.index) return queue_small_tile<T, Source::copied, 16, 1, 0, 4>(stream, a, plan);
  switch (tile_case(plan.rows, plan.groups)) {
    case tile_case(8, 1):
      return queue_small_tile<T, kFetched, 8, 1, 0, 4>(stream, a, plan);
    case tile_case(16, 1):
      return queue_small_tile<T, kFetched, 16, 1, 0, 4>(stream, a, plan);
    case tile_case(32, 1):
      return queue_small_tile<T, kFetched, 32, 1, 0, 4>(stream, a, plan);
    case tile_case(64, 1):
      return queue_small_tile<T, kFetched, 64, 1, 0, 4>(stream, a, plan);
    case tile_case(104, 1):
      return queue_small_tile<T, kFetched, 104, 1, 0, 4>(stream, a, plan);
    case tile_case(64, 2):
      return queue_small_tile<T, kFetched, 64, 2, 0, 8>(stream, a, plan);
    case tile_case(104, 2):
      return queue_small_tile<T, kFetched, 104, 2, 0, 8>(stream, a, plan);
    case tile_case(128, 2):
      return queue_small_tile<T, kFetched, 128, 2, 0, 8>(stream, a, plan);
  }
  return cudaErrorNotSupported;
}

template <class T>
cudaError_t queue_small_divided(cudaStream_t stream, const Product& a, const LinearPlan& plan) {
  constexpr Source kDivided = Source::divided;
  switch (tile_case(plan.rows, plan.groups)) {
    case tile_case(8, 1):
      return queue_small_tile<T, kDivided, 8, 1, 0, 8>(stream, a, plan);
    case tile_case(16, 1):
      return queue_small_tile<T, kDivided, 16, 1, 0, 8>(stream, a, plan);
    case tile_case(32, 1):
      return queue_small_tile<T, kDivided, 32, 1, 0, 8>(stream, a, plan);
    case tile_case(64, 1):
      return queue_small_tile<T, kDivided, 64, 1, 0, 8>(stream, a, plan);
    case tile_case(104, 1):
      return queue_small_tile<T, kDivided, 104, 1, 0, 8>(stream, a, plan);
    case tile_case(64, 2):
      return queue_small_tile<T, kDivided, 64, 2, 0, 12>(stream, a, plan);
  }
  return cudaErrorNotSupported;
}

// Warps that normalise: as many as keep a thread's share of the rows in its registers.
template <int R, int KSTEPS>
constexpr int kNormWarps = R* KSTEPS >= 192 ? 8 : 4;

template <class T, Source SOURCE, int KSTEPS>
cudaError_t queue_small_norm(cudaStream_t stream, const Product& a, const LinearPlan& plan) {
  switch (tile_case(plan.rows, plan.groups)) {
    case tile_case(8, 1):
      return queue_small_tile<T, SOURCE, 8, 1, KSTEPS, kNormWarps<8, KSTEPS>>(stream, a, plan);
    case tile_case(16, 1):
      return queue_small_tile<T, SOURCE, 16, 1, KSTEPS, kNormWarps<16, KSTEPS>>(stream, a, plan);
    case tile_case(32, 1):
      return queue_small_tile<T, SOURCE, 32, 1, KSTEPS, kNormWarps<32, KSTEPS>>(stream, a, plan);
  }
  if constexpr (KSTEPS <= 6) {
    switch (tile_case(plan.rows, plan.groups)) {
      case tile_case(64, 1):
        return queue_small_tile<T, SOURCE, 64, 1, KSTEPS, 8>(stream, a, plan);
      case tile_case(32, 2):
        return queue_small_tile<T, SOURCE, 32, 2, KSTEPS, 8>(stream, a, plan);
      case tile_case(64, 2):
        return queue_small_tile<T, SOURCE, 64, 2, KSTEPS, 8>(stream, a, plan);
    }
  }
  return cudaErrorNotSupported;
}

template <class T, Source SOURCE>
cudaError_t queue_small_norm(cudaStream_t stream, const Product& a, const LinearPlan& plan) {
  switch (a.w->k) {
    case 192:
      return queue_small_norm<T, SOURCE, 3>(stream, a, plan);
    case 384:
      return queue_small_norm<T, SOURCE, 6>(stream, a, plan);
    case 768:
      return queue_small_norm<T, SOURCE, 12>(stream, a, plan);
  }
  return cudaErrorNotSupported;
}

}  // namespace hedgerow::cuda
