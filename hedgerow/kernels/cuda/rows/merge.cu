// SPDX-License-Identifier: Apache-2.0
// Ops over the rows of one sequence: fused and averaged tokens, matching and merging. Every sum runs over
// rows in ascending order.
#include "hedgerow/kernels/cuda/rows/rows.cuh"

namespace hedgerow::cuda {
namespace {

constexpr int kColumns = 64;

// Is row j of the list kept[0 .. count), ascending?
__device__ __forceinline__ bool contains(const int32_t* kept, int count, int j) {
  int lo = 0, hi = count;
  while (lo < hi) {
    const int mid = (lo + hi) >> 1;
    if (kept[mid] < j)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo < count && kept[lo] == j;
}

// A block per sequence and 64 columns: four groups of threads would break the order of the sum, so one thread
// adds one column; the decision per row is shared.
template <class T>
__global__ void __launch_bounds__(kColumns)
    fuse_rows(const T* x, int64_t x_row, const float* score, const uint8_t* alive, const int32_t* kept,
              Rows from, Rows to, int special, T* out, int64_t out_row, int dim) {
  __shared__ float weight[kColumns];
  wait_for_previous();
  let_next_start();
  const int sequence = blockIdx.x, c = blockIdx.y * kColumns + threadIdx.x;
  const int to_begin = to.offsets[sequence], last = to.offsets[sequence + 1] - 1;
  if (last < to_begin || kept[last] >= 0) return;
  const int begin = from.offsets[sequence], end = from.offsets[sequence + 1];
  float sum = 0;
  for (int base = begin; base < end; base += kColumns) {
    const int j = base + threadIdx.x;
    const bool dropped = j < end && j - begin >= special && (!alive || alive[j]) &&
                         !contains(kept + to_begin, last - to_begin, j);
    __syncthreads();
    weight[threadIdx.x] = dropped ? score[j] : 0.0f;
    const int any = __syncthreads_or(dropped);
    if (!any || c >= dim) continue;
    const int count = min(kColumns, end - base);
#pragma unroll 4
    for (int i = 0; i < count; ++i) {
      if (weight[i] != 0.0f) sum = fmaf(weight[i], to_float(x[(base + i) * x_row + c]), sum);
    }
  }
  if (c < dim) out[last * out_row + c] = from_float<T>(sum);
}

template <class T>
__global__ void __launch_bounds__(256)
    global_halves(T* x, int64_t x_row, const uint8_t* alive, Rows rows, int special, int dim) {
  __shared__ float sums[4][kColumns];
  __shared__ int members[4];
  wait_for_previous();
  let_next_start();
  const int sequence = blockIdx.x, part = threadIdx.x / kColumns, lane = threadIdx.x % kColumns;
  const int c = dim / 2 + blockIdx.y * kColumns + lane, begin = rows.offsets[sequence],
            end = rows.offsets[sequence + 1];
  float sum = 0;
  int count = 0;
  for (int j = begin + special + part; j < end; j += 4) {
    if (alive && !alive[j]) continue;
    ++count;
    if (c < dim) sum += to_float(x[j * x_row + c]);
  }
  sums[part][lane] = sum;
  if (lane == 0) members[part] = count;
  __syncthreads();
  count = members[0] + members[1] + members[2] + members[3];
  const float mean =
      ((sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane])) / static_cast<float>(count);
  for (int j = begin + special + part; j < end; j += 4) {
    if ((!alive || alive[j]) && c < dim) x[j * x_row + c] = from_float<T>(mean);
  }
}

// A warp per row. The dot products of one source with four targets at a time, lanes across the columns.
__global__ void __launch_bounds__(kWarps * 32)
    match_rows(const float* directions, int64_t directions_row, int dim, const uint8_t* role, Rows rows,
               int32_t* best, float* similarity) {
  const int lane = threadIdx.x & 31, row = my_row();
  wait_for_previous();
  let_next_start();
  if (row >= rows.total()) return;
  int found = -1;
  float top = 0;
  if (role[row] == 1) {
    const int sequence = rows.owner(row), end = rows.offsets[sequence + 1];
    const float* const x = directions + row * directions_row;
    for (int j = rows.offsets[sequence]; j < end; j += 4) {
      float dot[4] = {};
      bool target[4];
#pragma unroll
      for (int u = 0; u < 4; ++u) target[u] = j + u < end && role[j + u] == 2;
      for (int c = lane; c < dim; c += 32) {
        const float v = x[c];
#pragma unroll
        for (int u = 0; u < 4; ++u) {
          if (target[u]) dot[u] = fmaf(v, directions[(j + u) * directions_row + c], dot[u]);
        }
      }
#pragma unroll
      for (int u = 0; u < 4; ++u) {
        float d = warp_sum(dot[u]);
        if (isnan(d)) d = -kInf;
        if (target[u] && (found < 0 || d > top)) found = j + u, top = d;
      }
    }
  }
  if (lane == 0) best[row] = found, similarity[row] = top;
}

// A warp per output row: its own row, then what it absorbed.
template <class T>
__global__ void __launch_bounds__(kWarps * 32)
    merge_rows(const T* x, int64_t x_row, const float* size, const int32_t* into, const float* similarity,
               const int32_t* kept, Rows from, Rows to, bool weighted, T* out, int64_t out_row,
               float* out_size, int dim) {
  constexpr int kPer = 8;
  const int lane = threadIdx.x & 31, row = my_row();
  wait_for_previous();
  let_next_start();
  if (row >= to.total()) return;
  const int sequence = to.owner(row), begin = from.offsets[sequence], end = from.offsets[sequence + 1],
            self = kept[row];
  for (int c0 = 0; c0 < dim; c0 += kPer * 32) {
    float sum[kPer];
    float total = weighted ? size[self] : 1.0f, new_size = size[self];
#pragma unroll
    for (int u = 0; u < kPer; ++u) {
      const int c = c0 + u * 32 + lane;
      sum[u] = c < dim ? total * to_float(x[self * x_row + c]) : 0.0f;
    }
    for (int base = begin; base < end; base += 32) {
      unsigned members = __ballot_sync(0xffffffffu, base + lane < end && into[base + lane] == self);
      while (members) {
        const int j = base + __ffs(members) - 1;
        members &= members - 1;
        const float share = weighted ? size[j] : 1.0f;
        total += share;
        new_size += weighted ? size[j] : similarity[j] * size[j];
#pragma unroll
        for (int u = 0; u < kPer; ++u) {
          const int c = c0 + u * 32 + lane;
          if (c < dim) sum[u] = fmaf(share, to_float(x[j * x_row + c]), sum[u]);
        }
      }
    }
#pragma unroll
    for (int u = 0; u < kPer; ++u) {
      const int c = c0 + u * 32 + lane;
      if (c < dim) out[row * out_row + c] = from_float<T>(sum[u] / total);
    }
    if (c0 == 0 && lane == 0) out_size[row] = new_size;
  }
}

Rows rows_of(const Ragged& r) { return {r.offsets, r.batch}; }

}  // namespace

cudaError_t fuse_dropped(cudaStream_t stream, const FuseDroppedArgs& a) {
  if (a.from.batch == 0) return cudaSuccess;
  const int dim = static_cast<int>(a.x.extents[1]);
  return by_type(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    return launch<fuse_rows<T>>(stream, {dim3(a.from.batch, blocks_for(dim, kColumns)), kColumns},
                                a.x.as<const T>(), a.x.strides[0], a.score.as<const float>(),
                                a.alive.as<const uint8_t>(), a.kept.as<const int32_t>(), rows_of(a.from),
                                rows_of(a.to), a.special, a.out.as<T>(), a.out.strides[0], dim);
  });
}

cudaError_t global_half(cudaStream_t stream, const GlobalHalfArgs& a) {
  if (a.rows.batch == 0) return cudaSuccess;
  const int dim = static_cast<int>(a.x.extents[1]);
  return by_type(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    return launch<global_halves<T>>(stream, {dim3(a.rows.batch, blocks_for(dim - dim / 2, kColumns)), 256},
                                    a.x.as<T>(), a.x.strides[0], a.alive.as<const uint8_t>(), rows_of(a.rows),
                                    a.special, dim);
  });
}

cudaError_t match(cudaStream_t stream, const MatchArgs& a) {
  if (a.rows.row_capacity == 0) return cudaSuccess;
  return launch<match_rows>(stream, warp_per_row(a.rows), a.directions.as<const float>(),
                            a.directions.strides[0], static_cast<int>(a.directions.extents[1]),
                            a.role.as<const uint8_t>(), rows_of(a.rows), a.best.as<int32_t>(),
                            a.similarity.as<float>());
}

cudaError_t merge(cudaStream_t stream, const MergeArgs& a) {
  if (a.to.row_capacity == 0) return cudaSuccess;
  return by_type(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    return launch<merge_rows<T>>(stream, warp_per_row(a.to), a.x.as<const T>(), a.x.strides[0],
                                 a.size.as<const float>(), a.into.as<const int32_t>(),
                                 a.similarity.as<const float>(), a.kept.as<const int32_t>(), rows_of(a.from),
                                 rows_of(a.to), a.rule == MergeRule::size_weighted, a.out.as<T>(),
                                 a.out.strides[0], a.out_size.as<float>(), static_cast<int>(a.x.extents[1]));
  });
}

}  // namespace hedgerow::cuda
