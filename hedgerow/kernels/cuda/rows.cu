// SPDX-License-Identifier: Apache-2.0
// Ops on single rows: normalisation, patches, moving rows, scores. A warp per row wherever a row has more
// than a few values; rows past the live count are not touched.
#include <climits>

#include "hedgerow/kernels/cuda/device.cuh"
#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {
namespace {

constexpr int kWarps = 8;  // rows per block

int blocks_for(int64_t count, int per_block) { return static_cast<int>((count + per_block - 1) / per_block); }
Shape warp_per_row(const Ragged& rows) { return {blocks_for(rows.row_capacity, kWarps), kWarps * 32}; }
const int32_t* live(const Ragged& rows) { return rows.offsets + rows.batch; }

__device__ __forceinline__ int my_row() { return blockIdx.x * kWarps + (threadIdx.x >> 5); }

// A load of constants that stays in front of a wait which follows it.
__device__ __forceinline__ float4 load_early(const float* from) {
  float4 v;
  asm volatile("ld.global.nc.v4.f32 {%0,%1,%2,%3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "l"(from)
               : "memory");
  return v;
}

// `kQuads` groups of four values per lane; dim a multiple of 4. What does not depend on the kernel before is
// fetched before the wait, the row without waiting for the row count.
template <class In, class Out, int kQuads>
__global__ void __launch_bounds__(kWarps * 32)
    layer_norm_rows(const In* x, int64_t x_row, const int32_t* index, const float* gamma, const float* beta,
                    float eps, int dim, Out* out, int64_t out_row, const int32_t* rows, int capacity,
                    float out_scale, float* out_units) {
  const int lane = threadIdx.x & 31, row = my_row();
  let_next_start();
  float4 g[kQuads], b[kQuads];
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    const int at = (q * 32 + lane) * 4;
    if (at >= dim) continue;
    g[q] = load_early(gamma + at), b[q] = load_early(beta + at);
  }
  wait_for_previous();
  if (row >= capacity || (index && row >= *rows)) return;
  const int live_rows = *rows;
  const In* const from = x + (index ? index[row] : row) * x_row;
  float v[kQuads][4];
  float sum = 0;
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    const int at = (q * 32 + lane) * 4;
    if (at < dim) {
      if constexpr (std::is_same_v<In, float>) {
        const float4 f = *reinterpret_cast<const float4*>(from + at);
        v[q][0] = f.x, v[q][1] = f.y, v[q][2] = f.z, v[q][3] = f.w;
      } else {
        const uint2 u = *reinterpret_cast<const uint2*>(from + at);
        const float2 a = unpack2<In>(u.x), b = unpack2<In>(u.y);
        v[q][0] = a.x, v[q][1] = a.y, v[q][2] = b.x, v[q][3] = b.y;
      }
    } else {
      v[q][0] = v[q][1] = v[q][2] = v[q][3] = 0;
    }
    sum += (v[q][0] + v[q][1]) + (v[q][2] + v[q][3]);
  }
  const float mean = warp_sum(sum) / dim;
  float squares = 0;
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    if ((q * 32 + lane) * 4 < dim) {
#pragma unroll
      for (int e = 0; e < 4; ++e) v[q][e] -= mean, squares = fmaf(v[q][e], v[q][e], squares);
    }
  }
  const float scale = rsqrtf(warp_sum(squares) / dim + eps);
  if (row >= live_rows) return;
  Out* const to = out + row * out_row;
  float inverse = 0;  // steps in the row's unit
  if constexpr (std::is_same_v<Out, i8>) {
    float most = 0;
#pragma unroll
    for (int q = 0; q < kQuads; ++q) {
      if ((q * 32 + lane) * 4 >= dim) continue;
      most = fmaxf(most, fmaxf(fmaxf(fabsf(fmaf(v[q][0] * scale, g[q].x, b[q].x)), fabsf(fmaf(v[q][1] * scale, g[q].y, b[q].y))),
                               fmaxf(fabsf(fmaf(v[q][2] * scale, g[q].z, b[q].z)), fabsf(fmaf(v[q][3] * scale, g[q].w, b[q].w)))));
    }
    most = warp_max(most);
    inverse = most > 0 ? 127 / most : 0.0f;
    if (lane == 0) out_units[row] = most / 127;
  }
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    const int at = (q * 32 + lane) * 4;
    if (at >= dim) continue;
    const float4 y = {fmaf(v[q][0] * scale, g[q].x, b[q].x), fmaf(v[q][1] * scale, g[q].y, b[q].y),
                      fmaf(v[q][2] * scale, g[q].z, b[q].z), fmaf(v[q][3] * scale, g[q].w, b[q].w)};
    if constexpr (std::is_same_v<Out, float>) {
      *reinterpret_cast<float4*>(to + at) = y;
    } else if constexpr (std::is_same_v<Out, i8>) {
      *reinterpret_cast<uint32_t*>(to + at) =
          pack4_i8(y.x * inverse, y.y * inverse, y.z * inverse, y.w * inverse);
    } else if constexpr (std::is_same_v<Out, e4m3>) {
      *reinterpret_cast<uint32_t*>(to + at) =
          pack4_e4m3(y.x * out_scale, y.y * out_scale, y.z * out_scale, y.w * out_scale);
    } else {
      *reinterpret_cast<uint2*>(to + at) = make_uint2(pack2<Out>(y.x, y.y), pack2<Out>(y.z, y.w));
    }
  }
}

// Any dim and alignment, three passes over the row.
template <class In, class Out>
__global__ void __launch_bounds__(kWarps * 32)
    layer_norm_any(const In* x, int64_t x_row, const int32_t* index, const float* gamma, const float* beta,
                   float eps, int dim, Out* out, int64_t out_row, const int32_t* rows, int, float out_scale, float* out_units) {
  const int lane = threadIdx.x & 31, row = my_row();
  wait_for_previous();
  let_next_start();
  if (row >= *rows) return;
  const In* const from = x + (index ? index[row] : row) * x_row;
  float sum = 0, squares = 0;
  for (int c = lane; c < dim; c += 32) sum += to_float(from[c]);
  const float mean = warp_sum(sum) / dim;
  for (int c = lane; c < dim; c += 32)
    squares = fmaf(to_float(from[c]) - mean, to_float(from[c]) - mean, squares);
  const float scale = rsqrtf(warp_sum(squares) / dim + eps);
  float inverse = 0;
  if constexpr (std::is_same_v<Out, i8>) {
    float most = 0;
    for (int c = lane; c < dim; c += 32)
      most = fmaxf(most, fabsf(fmaf((to_float(from[c]) - mean) * scale, gamma[c], beta[c])));
    most = warp_max(most);
    inverse = most > 0 ? 127 / most : 0.0f;
    if (lane == 0) out_units[row] = most / 127;
  }
  for (int c = lane; c < dim; c += 32) {
    const float y = fmaf((to_float(from[c]) - mean) * scale, gamma[c], beta[c]);
    if constexpr (std::is_same_v<Out, i8>)
      out[row * out_row + c] = static_cast<i8>(__float2int_rn(y * inverse));
    else if constexpr (std::is_same_v<Out, e4m3>)
      out[row * out_row + c].bits = static_cast<uint8_t>(pack2_e4m3(y * out_scale, 0.0f));
    else
      out[row * out_row + c] = from_float<Out>(y);
  }
}

template <class In, class Out>
cudaError_t queue_layer_norm(cudaStream_t stream, const LayerNormArgs& a) {
  const int dim = static_cast<int>(a.x.extents[1]), quads = (dim + 127) / 128;
  const auto aligned = [](const Tensor& t) {  // a vector's stride is one value
    return reinterpret_cast<uintptr_t>(t.data) % 16 == 0 &&
           (t.rank == 1 || t.strides[0] * bytes_of(t.dtype) % 16 == 0);
  };
  const auto queue = [&](auto kernel_constant) {
    return launch<decltype(kernel_constant)::value>(
        stream, warp_per_row(a.rows), a.x.as<const In>(), a.x.strides[0], a.index.as<const int32_t>(),
        a.gamma.as<const float>(), a.beta.as<const float>(), a.eps, dim, a.out.as<Out>(), a.out.strides[0],
        live(a.rows), a.rows.row_capacity, 1 / a.out.unit, a.out_units.as<float>());
  };
  if (dim % 4 == 0 && aligned(a.x) && aligned(a.out) && aligned(a.gamma) && aligned(a.beta)) {
    if (quads <= 2)
      return queue(
          std::integral_constant<decltype(&layer_norm_rows<In, Out, 2>), layer_norm_rows<In, Out, 2>>{});
    if (quads <= 3)
      return queue(
          std::integral_constant<decltype(&layer_norm_rows<In, Out, 3>), layer_norm_rows<In, Out, 3>>{});
    if (quads <= 6)
      return queue(
          std::integral_constant<decltype(&layer_norm_rows<In, Out, 6>), layer_norm_rows<In, Out, 6>>{});
    if (quads <= 12) {
      return queue(
          std::integral_constant<decltype(&layer_norm_rows<In, Out, 12>), layer_norm_rows<In, Out, 12>>{});
    }
  }
  return queue(std::integral_constant<decltype(&layer_norm_any<In, Out>), layer_norm_any<In, Out>>{});
}

// `quads`: four values of a patch's line may be stored at a time; they are read so where a picture's pixels allow it.
template <class Out>
__global__ void __launch_bounds__(kWarps * 32)
    patchify_rows(const float* const* images, const int32_t* heights, const int32_t* widths, int patch,
                  int special, Out* out, int64_t out_row, Rows rows, bool quads) {
  const int lane = threadIdx.x & 31, row = my_row();
  wait_for_previous();
  let_next_start();
  if (row >= rows.total()) return;
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
  const int64_t cols = x.rank == 1 ? 1 : x.extents[1];
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
    unit_rows(const T* x, int64_t x_row, int64_t x_head, int heads, int dim, float* out, int64_t out_row,
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

// Calls f with a value of the type that `d` names: float, f16 or bf16.
template <class F>
cudaError_t by_type(Dtype d, F&& f) {
  switch (d) {
    case Dtype::f16:
      return f(f16{});
    case Dtype::bf16:
      return f(bf16{});
    default:
      return f(float{});
  }
}

}  // namespace

cudaError_t layer_norm(cudaStream_t stream, const LayerNormArgs& a) {
  if (a.rows.row_capacity == 0) return cudaSuccess;
  return by_type(a.x.dtype, [&](auto in) {
    if (a.out.dtype == Dtype::e4m3) return queue_layer_norm<decltype(in), e4m3>(stream, a);
    if (a.out.dtype == Dtype::i8) return queue_layer_norm<decltype(in), i8>(stream, a);
    return by_type(a.out.dtype,
                   [&](auto out) { return queue_layer_norm<decltype(in), decltype(out)>(stream, a); });
  });
}

cudaError_t patchify(cudaStream_t stream, const PatchifyArgs& a) {
  if (a.rows.row_capacity == 0) return cudaSuccess;
  const Rows rows{a.rows.offsets, a.rows.batch};
  return by_type(a.out.dtype, [&](auto out) {
    using Out = decltype(out);
    const bool quads = a.patch % 4 == 0 && reinterpret_cast<uintptr_t>(a.out.data) % 16 == 0 &&
                       a.out.strides[0] * bytes_of(a.out.dtype) % 16 == 0;
    return launch<patchify_rows<Out>>(stream, warp_per_row(a.rows), a.images, a.heights, a.widths, a.patch, a.special,
                                      a.out.as<Out>(), a.out.strides[0], rows, quads);
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

cudaError_t unit_row(cudaStream_t stream, const UnitRowArgs& a) {
  if (a.rows.row_capacity == 0) return cudaSuccess;
  const bool heads = a.x.rank == 3;
  return by_type(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    return launch<unit_rows<T>>(
        stream, warp_per_row(a.rows), a.x.as<const T>(), a.x.strides[0], heads ? a.x.strides[1] : int64_t{0},
        heads ? static_cast<int>(a.x.extents[1]) : 1, static_cast<int>(a.x.extents[heads ? 2 : 1]),
        a.out.as<float>(), a.out.strides[0], live(a.rows));
  });
}

}  // namespace hedgerow::cuda
