// SPDX-License-Identifier: Apache-2.0
// Layer norm, to floats, e4m3 or int8.
#include "hedgerow/kernels/cuda/rows/rows.cuh"

namespace hedgerow::cuda {
namespace {

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
                    float out_scale, float* out_scales) {
  const int lane = threadIdx.x & 31, row = my_row();
  let_next_start();
  float4 g[kQuads], b[kQuads];
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    const int at = (q * 32 + lane) * 4;
    if (at >= dim) continue;
    g[q] = {1, 1, 1, 1}, b[q] = {0, 0, 0, 0};
    if (gamma) g[q] = load_early(gamma + at), b[q] = load_early(beta + at);
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
  float inverse = 0;  // steps of the row's scale
  if constexpr (std::is_same_v<Out, i8>) {
    float most = 0;
#pragma unroll
    for (int q = 0; q < kQuads; ++q) {
      if ((q * 32 + lane) * 4 >= dim) continue;
      most = fmaxf(most, fmaxf(fmaxf(fabsf(fmaf(v[q][0] * scale, g[q].x, b[q].x)),
                                     fabsf(fmaf(v[q][1] * scale, g[q].y, b[q].y))),
                               fmaxf(fabsf(fmaf(v[q][2] * scale, g[q].z, b[q].z)),
                                     fabsf(fmaf(v[q][3] * scale, g[q].w, b[q].w)))));
    }
    most = warp_max(most);
    inverse = most > 0 ? 127 / most : 0.0f;
    if (lane == 0) out_scales[row] = most / 127;
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
                   float eps, int dim, Out* out, int64_t out_row, const int32_t* rows, int, float out_scale,
                   float* out_scales) {
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
      most = fmaxf(most,
                   fabsf(fmaf((to_float(from[c]) - mean) * scale, gamma ? gamma[c] : 1, beta ? beta[c] : 0)));
    most = warp_max(most);
    inverse = most > 0 ? 127 / most : 0.0f;
    if (lane == 0) out_scales[row] = most / 127;
  }
  for (int c = lane; c < dim; c += 32) {
    const float y = fmaf((to_float(from[c]) - mean) * scale, gamma ? gamma[c] : 1, beta ? beta[c] : 0);
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
        live(a.rows), a.rows.row_capacity, 1 / a.out.scale, a.out_scales.as<float>());
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

}  // namespace hedgerow::cuda
