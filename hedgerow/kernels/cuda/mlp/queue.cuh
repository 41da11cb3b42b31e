// SPDX-License-Identifier: Apache-2.0
// Queues the fused MLP. Included once per 16-bit type, which keeps the two compilations apart.
#pragma once

#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/mlp/mlp.cuh"

namespace hedgerow::cuda {

template <class T, class E, int ACTIVATION, int DIM>
cudaError_t queue_mlp(cudaStream_t stream, const MlpArgs& a, MlpTeam team) {
  using Shape_ = MlpShape<DIM>;
  const int hidden = a.w1->n, capacity = a.rows.row_capacity;
  CUtensorMap w1_map, w2_map;
  if (!matrix_map(w1_map, a.w1->dtype, a.w1->data.as(), hidden, DIM, DIM, Shape_::kBox1Rows) ||
      !matrix_map(w2_map, a.w2->dtype, a.w2->data.as(), DIM, hidden, hidden, Shape_::kBox2Rows,
                  Shape_::kStep * 2))
    return cudaErrorNotSupported;
  const MlpParams p = {a.rows.offsets + a.rows.batch,
                       a.x.data,
                       a.out.data,
                       a.x.strides[0],
                       a.out.strides[0],
                       a.norm_gamma.as<const float>(),
                       a.norm_beta.as<const float>(),
                       a.w1->bias.as<const float>(),
                       a.w2->bias.as<const float>(),
                       a.norm_eps,
                       hidden};
  const int ranks = team == MlpTeam::alone ? 1 : 2, band = team == MlpTeam::shared ? 128 : 64;
  const int room = device().multiprocessors / ranks, bands = (capacity + band - 1) / band;
  const int tiles = team == MlpTeam::split ? bands : std::min(room, bands - high_tiles(bands, 1, room));
  Shape shape;
  shape.block = Shape_::kThreads, shape.shared = Shape_::kShared, shape.cluster = ranks,
  shape.grid = tiles * ranks;
  return launch<mlp_rows<T, E, ACTIVATION, DIM>, Shape_::kShared>(stream, shape, w1_map, w2_map, p, team);
}

template <class T, class E>
cudaError_t queue_mlp(cudaStream_t stream, const MlpArgs& a, MlpTeam team) {
  const bool erf = a.act == Activation::gelu_erf;
  if (a.w1->k == 192)
    return erf ? queue_mlp<T, E, 1, 192>(stream, a, team) : queue_mlp<T, E, 2, 192>(stream, a, team);
  return erf ? queue_mlp<T, E, 1, 384>(stream, a, team) : queue_mlp<T, E, 2, 384>(stream, a, team);
}

template <class T>
cudaError_t queue_mlp(cudaStream_t stream, const MlpArgs& a, MlpTeam team) {
  return a.x.dtype == Dtype::f32 ? queue_mlp<T, float>(stream, a, team) : queue_mlp<T, T>(stream, a, team);
}

}  // namespace hedgerow::cuda
