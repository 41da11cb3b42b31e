// SPDX-License-Identifier: Apache-2.0
// Chooses and queues the attention kernel, and holds the two plain ones: f32 (for checks) and the first
// query's probabilities (for methods that score tokens by the class token's attention).
#include <algorithm>

#include "hedgerow/kernels/cuda/attention/light.cuh"
#include "hedgerow/kernels/cuda/attention/mma.cuh"
#include "hedgerow/kernels/cuda/attention/wgmma.cuh"
#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {
namespace {

// One warp per query row and head; keys 32 at a time, a lane each, then the values with a lane per few dims.
template <int D>
__global__ void __launch_bounds__(128) attention_f32(const __grid_constant__ AttentionParams p) {
  __shared__ float q_row[4][D];
  wait_for_previous();
  let_next_start();
  const int sequence = blockIdx.z, head = blockIdx.y, warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  const int q_begin = p.q_offsets[sequence], queries = p.q_offsets[sequence + 1] - q_begin;
  const int kv_begin = p.kv_offsets[sequence], keys = p.kv_offsets[sequence + 1] - kv_begin;
  for (int row = blockIdx.x * 4 + warp; row < queries; row += gridDim.x * 4) {
    const int64_t from = p.q_index ? p.q_index[q_begin + row] : q_begin + row;
    const float* const q = static_cast<const float*>(p.q) + from * p.q_row + head * p.q_head;
    __syncwarp();
    for (int d = lane; d < D; d += 32) q_row[warp][d] = q[d];
    __syncwarp();
    float top = -kInf, sum = 0, out[D / 32] = {};
    for (int j = 0; j < keys; j += 32) {
      float s = -kInf;
      const float b = j + lane < keys ? (p.bias ? p.bias[kv_begin + j + lane] : 0.0f) : -kInf;
      if (b != -kInf) {
        const float* const k = static_cast<const float*>(p.k) +
                               static_cast<int64_t>(kv_begin + j + lane) * p.k_row + head * p.k_head;
        float dot = 0;
        for (int d = 0; d < D; ++d) dot = fmaf(q_row[warp][d], k[d], dot);
        s = dot * p.scale + b;
      }
      const float risen = fmaxf(top, warp_max(s));
      if (risen == -kInf && !isnan(warp_sum(s == s ? 0.0f : s))) continue;
      const float factor = expf(top - risen), w = b == -kInf ? 0.0f : expf(s - risen);
      top = risen;
      sum = sum * factor + warp_sum(w);
      for (float& o : out) o *= factor;
      for (int i = 0; i < 32 && j + i < keys; ++i) {
        const float wi = __shfl_sync(0xffffffffu, w, i);
        if (__shfl_sync(0xffffffffu, b, i) == -kInf) continue;
        const float* const v = static_cast<const float*>(p.v) +
                               static_cast<int64_t>(kv_begin + j + i) * p.v_row + head * p.v_head;
        for (int d = 0; d < D / 32; ++d) out[d] = fmaf(wi, v[d * 32 + lane], out[d]);
      }
    }
    float* const to =
        static_cast<float*>(p.out) + static_cast<int64_t>(q_begin + row) * p.out_row + head * p.out_head;
    const float inverse = sum == 0 ? 0.0f : 1.0f / sum;
    for (int d = 0; d < D / 32; ++d) to[d * 32 + lane] = out[d] * inverse;
  }
}

// One block per sequence and head: logits of query 0 against all keys, eight lanes a key, then the softmax
// over them.
template <class T>
__global__ void __launch_bounds__(256) first_row(const __grid_constant__ AttentionParams p, int head_dim) {
  __shared__ float q_row[128], slots[8];
  wait_for_previous();
  let_next_start();
  const int sequence = blockIdx.y, head = blockIdx.x, thread = threadIdx.x, part = thread & 7;
  const int q_begin = p.q_offsets[sequence], queries = p.q_offsets[sequence + 1] - q_begin;
  const int kv_begin = p.kv_offsets[sequence], keys = p.kv_offsets[sequence + 1] - kv_begin;
  float* const out = p.first_row + static_cast<int64_t>(kv_begin) * p.heads + head;
  if (queries <= 0) {
    for (int j = thread; j < keys; j += 256) out[static_cast<int64_t>(j) * p.heads] = 0;
    return;
  }
  const int64_t from = p.q_index ? p.q_index[q_begin] : q_begin;
  const T* const q = static_cast<const T*>(p.q) + from * p.q_row + head * p.q_head;
  if (thread < head_dim) q_row[thread] = to_float(q[thread]);
  __syncthreads();
  constexpr int kPer = 16 / sizeof(T);
  float top = -kInf;
  for (int j0 = 0; j0 < keys; j0 += 32) {
    const int j = j0 + (thread >> 3);
    float dot = 0;
    if (j < keys) {
      const T* const k =
          static_cast<const T*>(p.k) + static_cast<int64_t>(kv_begin + j) * p.k_row + head * p.k_head;
      for (int d = part * kPer; d < head_dim; d += 8 * kPer) {
        const int4 chunk = *reinterpret_cast<const int4*>(k + d);
        const T* const x = reinterpret_cast<const T*>(&chunk);
#pragma unroll
        for (int e = 0; e < kPer; ++e) dot = fmaf(q_row[d + e], to_float(x[e]), dot);
      }
    }
    dot += __shfl_xor_sync(0xffffffffu, dot, 1);
    dot += __shfl_xor_sync(0xffffffffu, dot, 2);
    dot += __shfl_xor_sync(0xffffffffu, dot, 4);
    if (j < keys && part == 0) {
      const float b = p.bias ? p.bias[kv_begin + j] : 0.0f;
      const float s = b == -kInf ? b : fmaf(dot, p.scale_log2, b * kLog2e);
      out[static_cast<int64_t>(j) * p.heads] = s;
      top = fmaxf(top, s);
    }
  }
  top = warp_max(top);
  if ((thread & 31) == 0) slots[thread >> 5] = top;
  __syncthreads();
  for (int w = 0; w < 8; ++w) top = fmaxf(top, slots[w]);
  const float base = top == -kInf ? 0.0f : top;
  float sum = 0;
  for (int j = thread; j < keys; j += 256) {
    const float w = exp2f(out[static_cast<int64_t>(j) * p.heads] - base);
    out[static_cast<int64_t>(j) * p.heads] = w;
    sum += w;
  }
  sum = block_sum(sum, slots);
  const float inverse = sum == 0 ? 0.0f : 1.0f / sum;
  for (int j = thread; j < keys; j += 256) out[static_cast<int64_t>(j) * p.heads] *= inverse;
}

int blocks_for(int rows, int per_block) { return (rows + per_block - 1) / per_block; }

template <class T, int D, int WARPS, bool BIAS>
cudaError_t queue_mma(cudaStream_t stream, const AttentionArgs& a, const AttentionParams& p) {
  constexpr size_t kMost = attention_mma_shared(D, WARPS, true);
  const size_t shared = attention_mma_shared(D, WARPS, a.kv_rows.max_len > kMmaKeys);
  const dim3 grid(blocks_for(a.q_rows.max_len, 16 * WARPS), p.heads, a.q_rows.batch);
  return launch<attention_mma<T, D, WARPS, BIAS>, kMost>(stream, {grid, WARPS * 32, shared}, p);
}

template <class T, int D, bool BIAS>
cudaError_t choose_warps(cudaStream_t stream, const AttentionArgs& a, const AttentionParams& p) {
  if (a.q_rows.max_len <= 16) return queue_mma<T, D, 1, BIAS>(stream, a, p);
  if (a.q_rows.max_len <= 32) return queue_mma<T, D, 2, BIAS>(stream, a, p);
  return queue_mma<T, D, 4, BIAS>(stream, a, p);
}

// Is b what follows a in the same rows?
bool beside(const Tensor& a, const Tensor& b) {
  return a.strides[1] == 64 &&
         b.data == static_cast<const char*>(a.data) + a.extents[1] * 64 * bytes_of(a.dtype) &&
         b.strides[0] == a.strides[0] && b.strides[1] == 64 && b.extents[0] == a.extents[0];
}
// Maps of q, k and v for boxes of so many rows; false where one can't be. To encode one costs the host as
// much as a small launch's arguments: tensors side by side share theirs, and differ by the first head.
struct Maps {
  CUtensorMap q, k, v;
  bool make(const AttentionArgs& a, AttentionParams& p, int rows) {
    const int64_t heads = a.q.extents[1];
    const bool kv = beside(a.kv.k, a.kv.v), all = kv && beside(a.q, a.kv.k);
    p.k_first = all ? p.heads : 0, p.v_first = (all ? 2 : kv ? 1 : 0) * p.heads;
    if (!heads_map(q, a.q, all ? 3 * heads : heads, rows)) return false;
    if (all) return k = v = q, true;
    if (!heads_map(k, a.kv.k, kv ? 2 * heads : heads, rows)) return false;
    if (kv) return v = k, true;
    return heads_map(v, a.kv.v, heads, rows);
  }
};

template <class T, int KEYS, bool BIAS>
cudaError_t queue_light(cudaStream_t stream, const AttentionArgs& a, const AttentionParams& p,
                        const Maps& maps) {
  constexpr size_t kMost = attention_light_shared(KEYS, kLightQueries);
  const int room = std::min(kLightQueries, blocks_for(a.q_rows.max_len, kBoxRows) * kBoxRows);
  const dim3 grid(blocks_for(a.q_rows.max_len, room), p.heads, a.q_rows.batch);
  // Several blocks a multiprocessor, but not as many as there are places.
  const int64_t blocks = static_cast<int64_t>(grid.x) * grid.y * grid.z;
  const bool late = blocks > device().multiprocessors && blocks <= 4 * device().multiprocessors;
  return launch<attention_light<T, KEYS, BIAS>, kMost>(
      stream, {grid, 128, attention_light_shared(KEYS, room)}, maps.q, maps.k, maps.v, p, room, late);
}

template <class T, bool BIAS>
cudaError_t choose_keys(cudaStream_t stream, const AttentionArgs& a, const AttentionParams& p,
                        const Maps& maps) {
  switch (blocks_for(a.kv_rows.max_len, kBoxRows)) {
    case 0:
    case 1:
    case 2:
      return queue_light<T, 32, BIAS>(stream, a, p, maps);
    case 3:
      return queue_light<T, 48, BIAS>(stream, a, p, maps);
    case 4:
      return queue_light<T, 64, BIAS>(stream, a, p, maps);
    case 5:
      return queue_light<T, 80, BIAS>(stream, a, p, maps);
    case 6:
      return queue_light<T, 96, BIAS>(stream, a, p, maps);
    default:
      return queue_light<T, 128, BIAS>(stream, a, p, maps);
  }
}

template <class T, int Q_TILES, int SPLIT, bool BIAS>
cudaError_t queue_groups(cudaStream_t stream, const AttentionArgs& a, const AttentionParams& p,
                         const Maps& maps) {
  constexpr size_t kShared = attention_wgmma_shared(Q_TILES);
  const dim3 grid(blocks_for(a.q_rows.max_len, 64 * Q_TILES), p.heads, a.q_rows.batch);
  const bool late = static_cast<int64_t>(grid.x) * grid.y * grid.z > device().multiprocessors;
  return launch<attention_wgmma<T, Q_TILES, SPLIT, BIAS>, kShared>(
      stream, {grid, Q_TILES * SPLIT * 128, kShared}, maps.q, maps.k, maps.v, p, late);
}

// Of Hopper's kernels, for head_dim 64: from bounds alone, by a sweep over batch x mean length on an H200.
// `pairs`: sequences x heads.
AttentionKernel choose(int keys, int queries, int pairs) {
  if (keys <= 64) return AttentionKernel::light;
  const int64_t tiles = static_cast<int64_t>(blocks_for(queries, 64)) * pairs,
                room = device().multiprocessors;
  if (keys <= kLightKeys) return tiles <= 2 * room ? AttentionKernel::one_group : AttentionKernel::light;
  if (queries <= 64 || tiles <= room * 5 / 4 || (keys <= 208 && tiles <= 3 * room))
    return AttentionKernel::halves;
  return AttentionKernel::two_groups;
}

template <class T, bool BIAS>
cudaError_t choose_kernel(cudaStream_t stream, const AttentionArgs& a, AttentionParams& p,
                          AttentionKernel kernel) {
  const int head_dim = static_cast<int>(a.q.extents[2]);
  if (kernel == AttentionKernel::automatic)
    kernel = choose(a.kv_rows.max_len, a.q_rows.max_len, p.heads * a.q_rows.batch);
  if (kernel == AttentionKernel::light && a.kv_rows.max_len > kLightKeys)
    kernel = AttentionKernel::two_groups;
  if (!(p.scale > 0))
    kernel = AttentionKernel::mma;  // the others look for the largest logit before they scale
  Maps maps;
  if (kernel != AttentionKernel::mma && head_dim == 64 && device().hopper() &&
      maps.make(a, p, kernel == AttentionKernel::light ? kBoxRows : kBoxKeys)) {
    const cudaError_t e =
        kernel == AttentionKernel::light       ? choose_keys<T, BIAS>(stream, a, p, maps)
        : kernel == AttentionKernel::one_group ? queue_groups<T, 1, 1, BIAS>(stream, a, p, maps)
        : kernel == AttentionKernel::halves    ? queue_groups<T, 1, 2, BIAS>(stream, a, p, maps)
                                               : queue_groups<T, 2, 1, BIAS>(stream, a, p, maps);
    p.first_row = nullptr;  // these do it themselves
    return e;
  }
  switch (head_dim) {
    case 32:
      return choose_warps<T, 32, BIAS>(stream, a, p);
    case 64:
      return choose_warps<T, 64, BIAS>(stream, a, p);
    default:
      return choose_warps<T, 128, BIAS>(stream, a, p);
  }
}

template <class T>
cudaError_t queue(cudaStream_t stream, const AttentionArgs& a, AttentionParams& p, AttentionKernel kernel) {
  const int head_dim = static_cast<int>(a.q.extents[2]);
  cudaError_t e;
  if constexpr (std::is_same_v<T, float>) {
    const Shape shape{dim3(blocks_for(a.q_rows.max_len, 4), p.heads, a.q_rows.batch), 128};
    e = head_dim == 32   ? launch<attention_f32<32>>(stream, shape, p)
        : head_dim == 64 ? launch<attention_f32<64>>(stream, shape, p)
                         : launch<attention_f32<128>>(stream, shape, p);
  } else {
    e = p.bias ? choose_kernel<T, true>(stream, a, p, kernel) : choose_kernel<T, false>(stream, a, p, kernel);
  }
  if (e != cudaSuccess || !p.first_row) return e;
  return launch<first_row<T>>(stream, {dim3(p.heads, a.kv_rows.batch), 256}, p, head_dim);
}

}  // namespace

cudaError_t attention(cudaStream_t stream, const AttentionArgs& a, AttentionKernel kernel) {
  AttentionParams p = {};
  p.q = a.q.data, p.k = a.kv.k.data, p.v = a.kv.v.data, p.out = a.out.data;
  p.q_offsets = a.q_rows.offsets, p.kv_offsets = a.kv_rows.offsets;
  p.q_index = a.q_index.as<const int32_t>(), p.bias = a.key_bias.as<const float>(),
  p.first_row = a.first_row.as<float>();
  p.q_row = a.q.strides[0], p.q_head = a.q.strides[1];
  p.k_row = a.kv.k.strides[0], p.k_head = a.kv.k.strides[1];
  p.v_row = a.kv.v.strides[0], p.v_head = a.kv.v.strides[1];
  p.out_row = a.out.strides[0], p.out_head = a.out.strides[1];
  p.heads = static_cast<int>(a.q.extents[1]);
  p.scale = a.scale, p.scale_log2 = a.scale * kLog2e;
  if (a.q_rows.batch == 0) return cudaSuccess;
  if (a.q_rows.max_len == 0) {  // no sequence asks anything: a first row of zeros, whatever the dtype
    if (!p.first_row) return cudaSuccess;
    return launch<first_row<float>>(stream, {dim3(p.heads, a.kv_rows.batch), 256}, p, 0);
  }
  switch (a.q.dtype) {
    case Dtype::f16:
      return queue<f16>(stream, a, p, kernel);
    case Dtype::bf16:
      return queue<bf16>(stream, a, p, kernel);
    default:
      return queue<float>(stream, a, p, kernel);
  }
}

}  // namespace hedgerow::cuda
