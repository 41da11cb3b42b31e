// SPDX-License-Identifier: Apache-2.0
// The bookkeeping ops: which rows lead, who is hidden, who merges with whom and in which order.
#include "hedgerow/kernels/cuda/device.cuh"
#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {
namespace {

constexpr int kThreads = 256;

Shape thread_per(int64_t count) {
  return {static_cast<unsigned>((count + kThreads - 1) / kThreads), kThreads};
}
Rows rows_of(const Ragged& r) { return {r.offsets, r.batch}; }
__device__ __forceinline__ int my_index() { return blockIdx.x * kThreads + threadIdx.x; }

__global__ void __launch_bounds__(kThreads) lead_index(Rows rows, int special, int32_t* index) {
  wait_for_previous();
  let_next_start();
  const int i = my_index();
  if (i < rows.batch * special) index[i] = rows.offsets[i / special] + i % special;
}

__global__ void __launch_bounds__(kThreads)
    key_biases(const float* size, const uint8_t* alive, float* out, Rows rows) {
  wait_for_previous();
  let_next_start();
  const int row = my_index();
  if (row >= rows.total()) return;
  out[row] = alive && !alive[row] ? -kInf : size ? logf(size[row]) : 0.0f;
}

__global__ void __launch_bounds__(kThreads)
    tome_role(Rows rows, const int32_t* pairs, int special, uint8_t* role, uint8_t* source) {
  wait_for_previous();
  let_next_start();
  const int row = my_index();
  if (row >= rows.total()) return;
  const int sequence = rows.owner(row), place = row - rows.offsets[sequence];
  const int r = pairs[sequence] == 0 || place < special ? 0 : place % 2 == 0 ? 1 : 2;
  role[row] = static_cast<uint8_t>(r);
  source[row] = r == 1;
}

// One block per sequence. Where a row goes follows from its place and from how many sources before it merge.
__global__ void __launch_bounds__(kThreads)
    tome_places(Rows rows, const int32_t* pairs, int special, const uint8_t* role, const uint8_t* merging,
                const int32_t* best, int32_t* into, int32_t* kept, int32_t* kept_offsets) {
  __shared__ int warp_counts[kThreads / 32], merged_before;
  wait_for_previous();
  let_next_start();
  const int sequence = blockIdx.x, begin = rows.offsets[sequence], end = rows.offsets[sequence + 1];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, mine = pairs[sequence];
  if (threadIdx.x == 0) merged_before = 0;
  __syncthreads();
  int earlier = 0;  // pairs of the sequences before this one
  for (int i = threadIdx.x; i < sequence; i += kThreads) earlier += pairs[i];
  for (int o = 16; o; o >>= 1) earlier += __shfl_xor_sync(0xffffffffu, earlier, o);
  if (lane == 0 && earlier) atomicAdd(&merged_before, earlier);  // integers: the order does not matter
  __syncthreads();
  const int base = begin - merged_before;
  if (threadIdx.x == 0) {
    if (sequence == 0) kept_offsets[0] = 0;
    kept_offsets[sequence + 1] = base + (end - begin) - mine;
  }
  // Every source is at an even place behind the special rows.
  const auto sources_before = [special](int place) { return (place + 1) / 2 - (special + 1) / 2; };
  const int stay = sources_before(end - begin) - mine;
  int merged = 0;  // in the rows before this chunk
  for (int chunk = begin; chunk < end; chunk += kThreads) {
    const int row = chunk + threadIdx.x, place = row - begin;
    const int r = row < end && mine != 0 ? role[row] : 0;
    const bool merges = r == 1 && merging[row];
    const unsigned votes = __ballot_sync(0xffffffffu, merges);
    if (lane == 0) warp_counts[warp] = __popc(votes);
    __syncthreads();
    int before = merged + __popc(votes & ((1u << lane) - 1));
    for (int w = 0; w < kThreads / 32; ++w) {
      if (w < warp) before += warp_counts[w];
      merged += warp_counts[w];
    }
    __syncthreads();
    if (row >= end) continue;
    into[row] = merges ? best[row] : -1;
    if (merges) continue;
    int to = place;
    if (r == 1) to = special + sources_before(place) - before;
    if (r == 2) to = special + stay + (place - special) - sources_before(place);
    kept[base + to] = row;
  }
}

__global__ void __launch_bounds__(kThreads)
    survivor_role(Rows rows, int special, const uint8_t* prune, const uint8_t* merge, uint8_t* role) {
  wait_for_previous();
  let_next_start();
  const int row = my_index();
  if (row >= rows.total()) return;
  const int place = row - rows.offsets[rows.owner(row)];
  role[row] = place < special || !prune[row] ? 0 : merge[row] ? 2 : 1;
}

}  // namespace

cudaError_t lead_rows(cudaStream_t stream, const LeadRowsArgs& a) {
  if (a.rows.batch == 0) return cudaSuccess;
  return launch<lead_index>(stream, thread_per(int64_t{a.rows.batch} * a.special), rows_of(a.rows), a.special,
                            a.index.as<int32_t>());
}

cudaError_t key_bias(cudaStream_t stream, const KeyBiasArgs& a) {
  if (a.rows.row_capacity == 0) return cudaSuccess;
  return launch<key_biases>(stream, thread_per(a.rows.row_capacity), a.size.as<const float>(),
                            a.alive.as<const uint8_t>(), a.out.as<float>(), rows_of(a.rows));
}

cudaError_t tome_roles(cudaStream_t stream, const TomeRolesArgs& a) {
  if (a.rows.row_capacity == 0) return cudaSuccess;
  return launch<tome_role>(stream, thread_per(a.rows.row_capacity), rows_of(a.rows), a.pairs, a.special,
                           a.role.as<uint8_t>(), a.source.as<uint8_t>());
}

cudaError_t tome_order(cudaStream_t stream, const TomeOrderArgs& a) {
  if (a.rows.batch == 0) return cudaSuccess;
  return launch<tome_places>(stream, {static_cast<unsigned>(a.rows.batch), kThreads}, rows_of(a.rows),
                             a.pairs, a.special, a.role.as<const uint8_t>(), a.merging.as<const uint8_t>(),
                             a.best.as<const int32_t>(), a.into.as<int32_t>(), a.kept.as<int32_t>(),
                             a.kept_offsets);
}

cudaError_t survivor_roles(cudaStream_t stream, const SurvivorRolesArgs& a) {
  if (a.rows.row_capacity == 0) return cudaSuccess;
  return launch<survivor_role>(stream, thread_per(a.rows.row_capacity), rows_of(a.rows), a.special,
                               a.survives_prune.as<const uint8_t>(), a.survives_merge.as<const uint8_t>(),
                               a.role.as<uint8_t>());
}

}  // namespace hedgerow::cuda
