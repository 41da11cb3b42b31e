// SPDX-License-Identifier: Apache-2.0
// Ops on single rows: patches, moving rows, scores.
#include <climits>

#include "hedgerow/kernels/cuda/rows/rows.cuh"

namespace hedgerow::cuda {
namespace {

// `quads`: four values of a patch's line may be stored at a time; they are read so where a picture's pixels
// allow it.
template <class Out>
__global__ void __launch_bounds__(kWarps * 32)
    patchify_rows(const float* const* images, const int32_t* heights, const int32_t* widths, int patch,
                  int special, Out* out, int64_t out_row, Rows rows, int capacity, bool quads) {
  const int lane = threadIdx.x & 31, row = my_row();
  wait_for_previous();
  let_next_start();
  if (row >= capacity) return;
  const int live_rows = rows.total();
  int image = 0;  // the last one that begins at or before the row; 256 offsets are in flight together
  for (int first = 1; first < rows.batch; first += 256) {
    int begins[8];
#pragma unroll
    for (int u = 0; u < 8; ++u) {
      const int i = first + u * 32 + lane;
      begins[u] = i < rows.batch ? rows.offsets[i] : INT_MAX;
    }
#pragma unroll
    for (int u = 0; u < 8; ++u) image += __popc(__ballot_sync(0xffffffffu, begins[u] <= row));
  }
  if (row >= live_rows) return;
  const int place = row - rows.offsets[image] - special, values = 3 * patch * patch;
  Out* const to = out + row * out_row;
  if (place < 0) {
    for (int i = lane; i < values; i += 32) to[i] = from_float<Out>(0.0f);
    return;
  }
  const int height = heights[image], width = widths[image], across = width / patch;
  const float* const from =
      images[image] + static_cast<int64_t>(place / across) * patch * width + (place % across) * patch;
  if (quads && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
    const int per_line = patch / 4;
#pragma unroll 6
    for (int i = lane; i < values / 4; i += 32) {
      const int line = i / per_line, channel = line / patch, y = line - channel * patch;
      const float4 v = __ldcs(reinterpret_cast<const float4*>(
          from + (static_cast<int64_t>(channel) * height + y) * width + (i - line * per_line) * 4));
      if constexpr (std::is_same_v<Out, float>) {
        reinterpret_cast<float4*>(to)[i] = v;
      } else {
        reinterpret_cast<uint2*>(to)[i] = make_uint2(pack2<Out>(v.x, v.y), pack2<Out>(v.z, v.w));
      }
    }
    return;
  }
  for (int i = lane; i < values; i += 32) {
    const int x = i % patch, y = i / patch % patch, channel = i / (patch * patch);
    to[i] = from_float<Out>(from[(static_cast<int64_t>(channel) * height + y) * width + x]);
  }
}

// Rows of `words` 4-byte words (strides in words). Gather: out[i] = x[index[i]]; scatter: out[index[i]] =
// x[i].
template <bool kScatter>
__global__ void __launch_bounds__(kWarps * 32)
    move_rows(const uint32_t* x, int64_t x_row, const int32_t* index, uint32_t* out, int64_t out_row,
              int words, bool wide, const int32_t* rows) {
  const int lane = threadIdx.x & 31, row = my_row();
  wait_for_previous();
  let_next_start();
  if (row >= *rows) return;
  const int other = index[row];
  if (kScatter && other < 0) return;
  const uint32_t* const from = x + (kScatter ? row : other) * x_row;
  uint32_t* const to = out + (kScatter ? other : row) * out_row;
  if (wide) {
    for (int i = lane; i < words / 4; i += 32) {
      reinterpret_cast<int4*>(to)[i] =
          other < 0 ? make_int4(0, 0, 0, 0) : reinterpret_cast<const int4*>(from)[i];
    }
  } else {
    for (int i = lane; i < words; i += 32) to[i] = other < 0 ? 0 : from[i];
  }
}

// 16-bit rows of an odd number of values.
template <bool kScatter>
__global__ void __launch_bounds__(kWarps * 32)
    move_halves(const uint16_t* x, int64_t x_row, const int32_t* index, uint16_t* out, int64_t out_row,
                int count, const int32_t* rows) {
  const int lane = threadIdx.x & 31, row = my_row();
  wait_for_previous();
  let_next_start();
  if (row >= *rows) return;
  const int other = index[row];
  if (kScatter && other < 0) return;
  for (int i = lane; i < count; i += 32) {
    out[(kScatter ? other : row) * out_row + i] = other < 0 ? 0 : x[(kScatter ? row : other) * x_row + i];
  }
}

template <bool kScatter>
cudaError_t queue_move(cudaStream_t stream, const Tensor& x, const Tensor& index, const Tensor& out,
                       const Ragged& rows) {
  const int64_t cols = (x.rank > 1 ? x.extents[1] : 1) * (x.rank > 2 ? x.extents[2] : 1);
  const int bytes = bytes_of(x.dtype);
  const bool whole = cols * bytes % 4 == 0 && x.strides[0] * bytes % 4 == 0 &&
                     out.strides[0] * bytes % 4 == 0 &&
                     (reinterpret_cast<uintptr_t>(x.data) | reinterpret_cast<uintptr_t>(out.data)) % 4 == 0;
  if (!whole) {
    return launch<move_halves<kScatter>>(stream, warp_per_row(rows), x.as<const uint16_t>(), x.strides[0],
                                         index.as<const int32_t>(), out.as<uint16_t>(), out.strides[0],
                                         static_cast<int>(cols), live(rows));
  }
  const int64_t x_row = x.strides[0] * bytes / 4, out_row = out.strides[0] * bytes / 4;
  const int words = static_cast<int>(cols * bytes / 4);
  const bool wide = words % 4 == 0 && x_row % 4 == 0 && out_row % 4 == 0 &&
                    (reinterpret_cast<uintptr_t>(x.data) | reinterpret_cast<uintptr_t>(out.data)) % 16 == 0;
  return launch<move_rows<kScatter>>(stream, warp_per_row(rows), x.as<const uint32_t>(), x_row,
                                     index.as<const int32_t>(), out.as<uint32_t>(), out_row, words, wide,
                                     live(rows));
}

template <class T>
__global__ void __launch_bounds__(kWarps * 32) row_norms(const T* x, int64_t x_row, int64_t x_head, int heads,
                                                         int head_dim, float* out, const int32_t* rows) {
  const int lane = threadIdx.x & 31, row = my_row();
  wait_for_previous();
  let_next_start();
  if (row >= *rows) return;
  float sum = 0;
  for (int h = 0; h < heads; ++h) {
    for (int c = lane; c < head_dim; c += 32) {
      const float v = to_float(x[row * x_row + h * x_head + c]);
      sum = fmaf(v, v, sum);
    }
  }
  sum = warp_sum(sum);
  if (lane == 0) out[row] = sqrtf(sum);
}

__global__ void __launch_bounds__(256)
    head_scores(const float* probs, int64_t probs_row, int heads, const float* weight, float divisor,
                float* out, const int32_t* rows) {
  wait_for_previous();
  let_next_start();
  const int row = blockIdx.x * 256 + threadIdx.x;
  if (row >= *rows) return;
  float sum = 0;
  for (int h = 0; h < heads; ++h) sum += probs[row * probs_row + h];
  sum /= divisor;
  out[row] = weight ? sum * weight[row] : sum;
}

template <class T>
__global__ void __launch_bounds__(256)
    keep_log_probs(const T* x, int64_t x_row, float* out, const int32_t* rows) {
  wait_for_previous();
  let_next_start();
  const int row = blockIdx.x * 256 + threadIdx.x;
  if (row >= *rows) return;
  const float a = to_float(x[row * x_row]), b = to_float(x[row * x_row + 1]), top = fmaxf(a, b);
  out[row] = a - top - logf(expf(a - top) + expf(b - top));
}

template <class T>
__global__ void __launch_bounds__(kWarps * 32)
    directions(const T* x, int64_t x_row, int64_t x_head, int heads, int dim, float* out, int64_t out_row,
               const int32_t* rows) {
  const int lane = threadIdx.x & 31, row = my_row();
  wait_for_previous();
  let_next_start();
  if (row >= *rows) return;
  float squares = 0;
  for (int c = lane; c < dim; c += 32) {
    float sum = 0;
    for (int h = 0; h < heads; ++h) sum += to_float(x[row * x_row + h * x_head + c]);
    sum /= heads;
    out[row * out_row + c] = sum;
    squares = fmaf(sum, sum, squares);
  }
  const float length = sqrtf(warp_sum(squares));
  for (int c = lane; c < dim; c += 32)
    out[row * out_row + c] = length == 0 ? 0.0f : out[row * out_row + c] / length;
}

}  // namespace

cudaError_t patchify(cudaStream_t stream, const PatchifyArgs& a) {
  if (a.rows.row_capacity == 0) return cudaSuccess;
  const Rows rows{a.rows.offsets, a.rows.batch};
  return by_type(a.out.dtype, [&](auto out) {
    using Out = decltype(out);
    const bool quads = a.patch % 4 == 0 && reinterpret_cast<uintptr_t>(a.out.data) % 16 == 0 &&
                       a.out.strides[0] * bytes_of(a.out.dtype) % 16 == 0;
    return launch<patchify_rows<Out>>(stream, warp_per_row(a.rows), a.images, a.heights, a.widths, a.patch,
                                      a.special, a.out.as<Out>(), a.out.strides[0], rows, a.rows.row_capacity,
                                      quads);
  });
}

cudaError_t gather(cudaStream_t stream, const GatherArgs& a) {
  return a.rows.row_capacity == 0 ? cudaSuccess : queue_move<false>(stream, a.x, a.index, a.out, a.rows);
}
cudaError_t scatter(cudaStream_t stream, const ScatterArgs& a) {
  return a.rows.row_capacity == 0 ? cudaSuccess : queue_move<true>(stream, a.x, a.index, a.out, a.rows);
}

cudaError_t row_norm(cudaStream_t stream, const RowNormArgs& a) {
  if (a.rows.row_capacity == 0) return cudaSuccess;
  const bool heads = a.x.rank == 3;
  return by_type(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    return launch<row_norms<T>>(
        stream, warp_per_row(a.rows), a.x.as<const T>(), a.x.strides[0], heads ? a.x.strides[1] : int64_t{0},
        heads ? static_cast<int>(a.x.extents[1]) : 1, static_cast<int>(a.x.extents[heads ? 2 : 1]),
        a.out.as<float>(), live(a.rows));
  });
}

cudaError_t head_score(cudaStream_t stream, const HeadScoreArgs& a) {
  if (a.rows.row_capacity == 0) return cudaSuccess;
  return launch<head_scores>(stream, {blocks_for(a.rows.row_capacity, 256), 256}, a.probs.as<const float>(),
                             a.probs.strides[0], static_cast<int>(a.probs.extents[1]),
                             a.weight.as<const float>(), a.divisor, a.out.as<float>(), live(a.rows));
}

cudaError_t keep_log_prob(cudaStream_t stream, const KeepLogProbArgs& a) {
  if (a.rows.row_capacity == 0) return cudaSuccess;
  return by_type(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    return launch<keep_log_probs<T>>(stream, {blocks_for(a.rows.row_capacity, 256), 256}, a.x.as<const T>(),
                                     a.x.strides[0], a.out.as<float>(), live(a.rows));
  });
}

cudaError_t direction(cudaStream_t stream, const DirectionArgs& a) {
  if (a.rows.row_capacity == 0) return cudaSuccess;
  const bool heads = a.x.rank == 3;
  return by_type(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    return launch<directions<T>>(
        stream, warp_per_row(a.rows), a.x.as<const T>(), a.x.strides[0], heads ? a.x.strides[1] : int64_t{0},
        heads ? static_cast<int>(a.x.extents[1]) : 1, static_cast<int>(a.x.extents[heads ? 2 : 1]),
        a.out.as<float>(), a.out.strides[0], live(a.rows));
  });
}

}  // namespace hedgerow::cuda
