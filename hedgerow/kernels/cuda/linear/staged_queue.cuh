// SPDX-License-Identifier: Apache-2.0
// Queues a product in staged tiles (linear/staged.cuh). Included once per 16-bit type, which keeps the
// compilations apart.
#pragma once

#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/linear/staged.cuh"

namespace hedgerow::cuda {

template <class T, int ACTIVATION, int GROUPS, int N, bool SHORT>
cudaError_t queue_staged(cudaStream_t stream, const Product& a, const LinearParams& p) {
  using Tile = StagedShape<GROUPS, N, ACTIVATION == 0, SHORT>;
  CUtensorMap x_map, w_map, residual_map;
  const int capacity = a.rows.row_capacity;
  if (a.out.dtype != a.x.dtype || (a.residual && (!Tile::kResidual || a.residual.dtype != a.x.dtype)) ||
      !matrix_map(x_map, a.x.dtype, a.x.data, capacity, p.k, a.x.strides[0], Tile::kRows) ||
      !matrix_map(w_map, a.w->dtype, a.w->data.as(), p.n, p.k, p.k, N))
    return cudaErrorNotSupported;
  residual_map = x_map;  // not read where there is no residual
  if (a.residual && !matrix_map(residual_map, a.x.dtype, a.residual.data, capacity, p.n,
                                a.residual.strides[0], Tile::kRows))
    return cudaErrorNotSupported;
  const int tiles = ((capacity + Tile::kRows - 1) / Tile::kRows) * ((p.n + N - 1) / N);
  const int room = device().multiprocessors * Tile::kPerMultiprocessor;
  Shape shape;
  shape.block = Tile::kThreads, shape.shared = Tile::kShared;
  shape.grid = tiles < room ? tiles : room;
  return launch<linear_staged<T, ACTIVATION, GROUPS, N, SHORT>, Tile::kShared>(stream, shape, x_map, w_map,
                                                                               residual_map, p);
}

template <class T, int ACTIVATION, int GROUPS, int N>
cudaError_t queue_staged(cudaStream_t stream, const Product& a, const LinearParams& p) {
  if constexpr (GROUPS == 1 && N == 48) {
    if (p.k <= 192 || p.n <= 192) return queue_staged<T, ACTIVATION, GROUPS, N, true>(stream, a, p);
  }
  return queue_staged<T, ACTIVATION, GROUPS, N, false>(stream, a, p);
}

template <class T, int I = 0>
cudaError_t linear_staged_any(cudaStream_t stream, const Product& a, const LinearParams& p,
                              const LinearPlan& plan) {
  if constexpr (I < kStagedTileCount) {
    constexpr StagedTile kTile = kStagedTiles[I];
    constexpr int kGroups = kTile.groups, kCols = kTile.cols;
    if (plan.groups != kGroups || plan.cols != kCols) return linear_staged_any<T, I + 1>(stream, a, p, plan);
    if (a.act == Activation::none) return queue_staged<T, 0, kGroups, kCols>(stream, a, p);
    if constexpr (kTile.takes(Activation::gelu_erf)) {
      if (a.act == Activation::gelu_erf) return queue_staged<T, 1, kGroups, kCols>(stream, a, p);
    }
    if constexpr (kTile.takes(Activation::gelu_tanh)) return queue_staged<T, 2, kGroups, kCols>(stream, a, p);
  }
  return cudaErrorNotSupported;
}

}  // namespace hedgerow::cuda
