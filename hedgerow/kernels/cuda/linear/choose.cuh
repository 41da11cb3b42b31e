// SPDX-License-Identifier: Apache-2.0
// Which tile shape computes a product: chosen on the host from capacities alone, so that a captured graph
// serves every row count. Included once per 16-bit type, which keeps the two compilations apart.
#pragma once

#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/linear/mma.cuh"
#include "hedgerow/kernels/cuda/linear/pingpong.cuh"
#include "hedgerow/kernels/cuda/linear/plain.cuh"
#include "hedgerow/kernels/cuda/linear/split.cuh"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {

template <class T, int ACTIVATION>
cudaError_t queue_plain(cudaStream_t stream, const Product& a, const LinearParams& p) {
  const dim3 grid((p.n + 63) / 64, (a.rows.row_capacity + 63) / 64);
  return launch<linear_plain<T, ACTIVATION>>(stream, {grid, 256}, a.x.as<const T>(), a.x.strides[0],
                                             a.w->data.as<const T>(), p);
}

template <class T, int ACTIVATION>
cudaError_t queue_mma(cudaStream_t stream, const Product& a, const LinearParams& p) {
  const dim3 grid((p.n + 127) / 128, (a.rows.row_capacity + 127) / 128);
  return launch<linear_mma<T, ACTIVATION>, kMmaShared>(stream, {grid, 256, kMmaShared}, a.x.as<const T>(),
                                                       a.x.strides[0], a.w->data.as<const T>(), p);
}

template <class T, int ACTIVATION, int GROUPS, int N, int STAGES>
cudaError_t queue_tiles(cudaStream_t stream, const Product& a, const LinearParams& p, int ranks) {
  using Tile = LinearShape<GROUPS, N, STAGES>;
  CUtensorMap x_map, w_map;
  if (!matrix_map(x_map, a.x.dtype, a.x.data, a.rows.row_capacity, p.k, a.x.strides[0], Tile::kRows) ||
      !matrix_map(w_map, a.w->dtype, a.w->data.as(), p.n, p.k, p.k, N)) {
    return queue_mma<T, ACTIVATION>(stream, a, p);
  }
  const int tiles = ((a.rows.row_capacity + Tile::kRows - 1) / Tile::kRows) * ((p.n + N - 1) / N);
  Shape shape;
  shape.block = Tile::kThreads;
  shape.shared = Tile::kShared;
  shape.cluster = ranks;
  shape.grid = tiles * ranks;
  return launch<linear_split<T, ACTIVATION, GROUPS, N, STAGES>, Tile::kShared>(stream, shape, x_map, w_map,
                                                                               p);
}

// What the copy engine can't take.
template <class T, int ACTIVATION>
cudaError_t queue_unmapped(cudaStream_t stream, const Product& a, const LinearParams& p) {
  if (p.moments || p.x_moments) return cudaErrorNotSupported;
  if constexpr (sizeof(T) == 1)
    return cudaErrorInvalidValue;
  else
    return queue_tiles<T, ACTIVATION, 2, 128, 5>(stream, a, p, 1);
}

template <class T, int ACTIVATION, int N, int STAGES>
cudaError_t queue_pingpong(cudaStream_t stream, const Product& a, const LinearParams& p, Share share) {
  using Tile = PingPongShape<N, STAGES>;
  CUtensorMap x_map, w_map, out_map, residual_map;
  const int capacity = a.rows.row_capacity;
  if ((a.residual && a.residual.dtype != a.out.dtype) ||
      !matrix_map(x_map, a.x.dtype, a.x.data, capacity, p.k, a.x.strides[0], 64) ||
      !matrix_map(w_map, a.w->dtype, a.w->data.as(), p.n, p.k, p.k, N / 2) ||
      !matrix_map(out_map, a.out.dtype, a.out.data, capacity, p.n, a.out.strides[0], 64,
                  p.out_e4m3 ? 64 : 128)) {
    return queue_unmapped<T, ACTIVATION>(stream, a, p);
  }
  residual_map = out_map;  // not read where there is no residual
  if (a.residual &&
      !matrix_map(residual_map, a.out.dtype, a.residual.data, capacity, p.n, a.residual.strides[0], 64)) {
    return queue_unmapped<T, ACTIVATION>(stream, a, p);
  }
  const int ranks = share == Share::none ? 1 : 2, unit = share == Share::weights ? 128 : 64;
  const int columns = (p.n + N - 1) / N, across = share == Share::rows ? (columns + 1) / 2 : columns;
  const int room = device().multiprocessors / ranks, units = (capacity + unit - 1) / unit;
  const int tiles = (units - high_tiles(units, across, room)) * across;
  Shape shape;
  shape.block = Tile::kThreads, shape.shared = Tile::kShared, shape.cluster = ranks;
  shape.grid = (tiles < room ? tiles : room) * ranks;
  if (p.moments || p.x_moments) {
    if constexpr (std::is_same_v<T, f16>)
      return launch<linear_pingpong<T, ACTIVATION, N, STAGES, true>, Tile::kShared>(
          stream, shape, x_map, w_map, residual_map, out_map, p, share);
    return cudaErrorNotSupported;
  }
  return launch<linear_pingpong<T, ACTIVATION, N, STAGES, false>, Tile::kShared>(
      stream, shape, x_map, w_map, residual_map, out_map, p, share);
}

template <class T, int ACTIVATION>
cudaError_t queue_linear(cudaStream_t stream, const Product& a, const LinearParams& p, LinearPlan plan) {
  switch (plan.tile) {
    case LinearTile::split_64x64:
      return queue_tiles<T, ACTIVATION, 1, 64, 6>(stream, a, p, plan.split);
    case LinearTile::split_128x64:
      return queue_tiles<T, ACTIVATION, 2, 64, 6>(stream, a, p, plan.split);
    case LinearTile::split_128x128:
      return queue_tiles<T, ACTIVATION, 2, 128, 5>(stream, a, p, plan.split);
    case LinearTile::pingpong_192:
      return queue_pingpong<T, ACTIVATION, 192, 4>(stream, a, p, plan.share);
    case LinearTile::pingpong_128:
      return queue_pingpong<T, ACTIVATION, 128, 5>(stream, a, p, plan.share);
    case LinearTile::mma:
      return queue_mma<T, ACTIVATION>(stream, a, p);
    default:
      return queue_plain<T, ACTIVATION>(stream, a, p);
  }
}

template <class T>
cudaError_t queue_linear(cudaStream_t stream, const Product& a, const LinearParams& p, LinearPlan plan) {
  switch (a.act) {
    case Activation::none:
      return queue_linear<T, 0>(stream, a, p, plan);
    case Activation::gelu_erf:
      return queue_linear<T, 1>(stream, a, p, plan);
    default:
      return queue_linear<T, 2>(stream, a, p, plan);
  }
}

}  // namespace hedgerow::cuda
