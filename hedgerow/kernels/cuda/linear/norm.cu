// SPDX-License-Identifier: Apache-2.0
// A product that reads its rows through an index or layer-normalises them first, for the shapes, dtypes and
// machines that linear/small.cuh does not take: a block per row, a warp per output, nothing clever.
#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/linear/linear.cuh"
#include "hedgerow/kernels/cuda/linear/small_queue.h"

namespace hedgerow::cuda {
namespace {

constexpr int kWarps = 8, kMostK = 12 * 1024 - 64;  // a row of f32 in 48 KiB

struct Rowwise {
  LinearParams p;
  const void *x, *w;
  const int32_t* index;
  const float *gamma, *beta;
  int64_t x_row;
  float eps;
  int act;
  bool divided;
};

template <class T, class In>
__global__ void __launch_bounds__(kWarps * 32) linear_row(const __grid_constant__ Rowwise a) {
  extern __shared__ float y[];
  __shared__ float slots[kWarps];
  wait_for_previous();
  let_next_start();
  const LinearParams& p = a.p;
  const int64_t row = blockIdx.x;
  if (row >= *p.rows) return;
  const In* const x = static_cast<const In*>(a.x) + (a.index ? a.index[row] : row) * a.x_row;
  float mean = 0, scale = 1;
  if (a.gamma || a.divided) {
    float sum = 0, squares = 0;
    for (int c = threadIdx.x; c < p.k; c += kWarps * 32) sum += to_float(x[c]);
    mean = block_sum(sum, slots) / p.k;
    for (int c = threadIdx.x; c < p.k; c += kWarps * 32)
      squares = fmaf(to_float(x[c]) - mean, to_float(x[c]) - mean, squares);
    scale = rsqrtf(block_sum(squares, slots) / p.k + a.eps);
  }
  for (int c = threadIdx.x; c < p.k; c += kWarps * 32) {
    const float v = to_float(x[c]);
    y[c] = a.divided ? v * scale
           : a.gamma ? to_float(from_float<T>(fmaf((v - mean) * scale, a.gamma[c], a.beta[c])))
                     : v;
  }
  __syncthreads();
  const int lane = threadIdx.x & 31;
  for (int col = threadIdx.x >> 5; col < p.n; col += kWarps) {
    const T* const w = static_cast<const T*>(a.w) + static_cast<int64_t>(col) * p.k;
    float sum = 0;
    for (int c = lane; c < p.k; c += 32) sum = fmaf(y[c], to_float(w[c]), sum);
    sum = warp_sum(sum) + p.bias[col];
    float v = a.act == 1 ? activated<1>(sum) : a.act == 2 ? activated<2>(sum) : sum;
    if (p.residual) {
      const int64_t at = row * p.residual_row + col;
      v += p.residual_f32 ? static_cast<const float*>(p.residual)[at]
                          : to_float(static_cast<const T*>(p.residual)[at]);
    }
    __syncwarp();  // every lane has read a residual that may be the output
    if (lane != 0) continue;
    if (p.out_f32) {
      static_cast<float*>(p.out)[row * p.out_row + col] = v;
    } else {
      static_cast<T*>(p.out)[row * p.out_row + col] = from_float<T>(v);
    }
  }
}

template <class T>
cudaError_t queue_row(cudaStream_t stream, const Shape& shape, bool wide, const Rowwise& a) {
  return wide ? launch<linear_row<T, float>>(stream, shape, a) : launch<linear_row<T, T>>(stream, shape, a);
}

}  // namespace

cudaError_t linear_norm_any(cudaStream_t stream, const Product& args) {
  if (args.w->k > kMostK) return cudaErrorInvalidValue;
  Rowwise a = {};
  a.p.rows = args.rows.offsets + args.rows.batch, a.p.bias = args.w->bias.as<const float>();
  a.p.residual = args.residual.data, a.p.residual_row = args.residual.strides[0],
  a.p.residual_f32 = args.residual.dtype == Dtype::f32;
  a.p.out = args.out.data, a.p.out_row = args.out.strides[0], a.p.out_f32 = args.out.dtype == Dtype::f32;
  a.p.n = args.w->n, a.p.k = args.w->k;
  a.x = args.x.data, a.x_row = args.x.strides[0], a.w = args.w->data.as<void>();
  a.index = args.index.as<const int32_t>(), a.gamma = args.norm_gamma.as<const float>(),
  a.beta = args.norm_beta.as<const float>(), a.eps = args.norm_eps, a.act = static_cast<int>(args.act);
  a.divided = args.divided;
  const Shape shape{args.rows.row_capacity, kWarps * 32, args.w->k * sizeof(float)};
  const bool wide = args.x.dtype == Dtype::f32;
  switch (args.w->dtype) {
    case Dtype::f16:
      return queue_row<f16>(stream, shape, wide, a);
    case Dtype::bf16:
      return queue_row<bf16>(stream, shape, wide, a);
    default:
      return launch<linear_row<float, float>>(stream, shape, a);
  }
}

}  // namespace hedgerow::cuda
