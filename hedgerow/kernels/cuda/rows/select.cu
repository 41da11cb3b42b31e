// SPDX-License-Identifier: Apache-2.0
// Which rows of a sequence survive, and the offsets of what is left. A block per sequence ranks its
// candidates by counting, so that every rule sees one order with all ties decided; sums run in double in that
// order, as on the CPU.
//
// A few sequences are one cluster, whose blocks tell each other how many they keep. Of many, each one's
// choice is first written as bits where its rows begin; a second kernel turns counts into offsets and bits
// into indices.
#include <algorithm>

#include "hedgerow/kernels/cuda/hopper.cuh"
#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/ops.h"
#include "hedgerow/kernels/cuda/rows/select_rank.cuh"

namespace hedgerow::cuda {
namespace {

constexpr int kTogether = 8;                     // sequences that one cluster chooses for
constexpr int kJoinWarps = 32, kJoinBlocks = 8;  // warps of a block, blocks of the one cluster that joins
constexpr int kLongest = kMostSelectLen;

struct SelectParams {
  int batch;
  bool bits;  // leaves bits and counts; else indices and offsets, all blocks being one cluster
  const float* score;
  const uint8_t* alive;
  const int32_t* offsets;
  int special, special_competes, append;
  SelectMode mode;
  const int32_t *count, *floor, *samples;
  const float* threshold;
  const double* mass;
  int32_t *kept, *kept_offsets;
  uint8_t* alive_out;
};

// All blocks of the launch, which is one cluster or one block.
__device__ __forceinline__ void all_arrive() {
#if __CUDA_ARCH__ >= 900
  cluster_sync();
#else
  __syncthreads();
#endif
}
// What another block of the cluster has at that place.
__device__ __forceinline__ int told_by(const int* place, int rank) {
  int v = 0;
#if __CUDA_ARCH__ >= 900
  asm volatile("ld.shared::cluster.s32 %0, [%1];"
               : "=r"(v)
               : "r"(in_block(shared_address(place), rank))
               : "memory");
#endif
  return v;
}

__global__ void __launch_bounds__(kSelectThreads)
    select_rows(const __grid_constant__ SelectParams p, int longest) {
  extern __shared__ __align__(16) unsigned char memory[];
  wait_for_previous();
  let_next_start();
  const bool spare = static_cast<int>(blockIdx.x) >= p.batch;  // clusters have 1, 2, 4 or 8 blocks
  const int sequence = spare ? p.batch - 1 : blockIdx.x, thread = threadIdx.x;
  const int begin = p.offsets[sequence], length = spare ? 0 : p.offsets[sequence + 1] - begin,
            special = min(p.special, length);
  const float* const score = p.score + begin;
  SelectWork w;
  w.keys = reinterpret_cast<uint64_t*>(memory), w.ranked = w.keys + longest;
  w.weight = reinterpret_cast<double*>(w.ranked + longest),
  w.keep = reinterpret_cast<uint8_t*>(w.weight + longest);

  // 0 is below every candidate's key: an index never fills all 32 bits.
  int m = 0;
  for (int base = 0; base < length; base += kSelectThreads) {
    const int i = base + thread;
    const bool candidate =
        i < length && (i < special ? p.special_competes != 0 : !p.alive || p.alive[begin + i]);
    if (i < length) w.keys[i] = candidate ? key_of(score[i], i) : 0, w.keep[i] = 0;
    m += block_count(candidate);
  }
  for (int i = thread; i < length; i += kSelectThreads) {
    const uint64_t key = w.keys[i];
    int rank = 0;
    for (int j = 0; j < length; ++j) rank += w.keys[j] > key;
    if (key) w.ranked[rank] = key;
  }
  __syncthreads();

  int count = 0;
  if (p.mode == SelectMode::top_k) count = clamped(p.count[sequence], m);
  if (p.mode == SelectMode::quantile) count = clamped(ceil(p.mass[sequence] * m), m);
  if (p.mode == SelectMode::threshold) {
    const float least = p.threshold[sequence];
    for (int base = 0; base < m; base += kSelectThreads) {
      const int i = base + thread;
      count += block_count(i < m && score[index_of(w.ranked[i])] >= least);
    }
  }
  if (p.mode == SelectMode::mass) count = count_for_mass(score, w, m, p.mass[sequence]);
  if (p.mode == SelectMode::ats) count = sample_ats(score, w, m, p.samples[sequence]);
  const int floor = p.floor ? min(max(p.floor[sequence], 0), m) : 0;
  if (p.mode == SelectMode::ats) {
    if (thread == 0) {  // sampling leaves gaps: its floor is made up from the best of the rest
      for (int i = 0; i < m && count < floor; ++i) {
        uint8_t& keep = w.keep[index_of(w.ranked[i])];
        count += !keep, keep = 1;
      }
    }
  } else {
    count = max(count, floor);
    for (int i = thread; i < count; i += kSelectThreads) w.keep[index_of(w.ranked[i])] = 1;
  }
  __syncthreads();
  for (int i = thread; i < special; i += kSelectThreads) w.keep[i] = 1;
  __syncthreads();
  int stay = 0;
  for (int base = 0; base < m; base += kSelectThreads) {
    const int i = base + thread;
    stay += block_count(i < m && w.keep[index_of(w.ranked[i])]);
  }

  // Special rows that compete are counted already.
  const int staying = stay + (p.special_competes ? 0 : special) + (p.append && stay < m);

  // Rows that earlier blocks keep.
  int written = 0;
  const bool others = !p.bits && gridDim.x > 1;
  __shared__ int told;
  if (others) {
    if (thread == 0) told = staying;
    all_arrive();
    for (int r = 0; r < static_cast<int>(blockIdx.x); ++r) written += told_by(&told, r);
  }
  if (thread == 0 && !spare) {
    p.kept_offsets[sequence + 1] = written + staying;
    if (sequence == 0) p.kept_offsets[0] = 0;
  }

  // The kept rows in ascending order, or one bit a row.
  __shared__ int before[kSelectThreads / 32 + 1];
  const int end = written + staying;
  for (int base = 0; base < length; base += kSelectThreads) {
    const int i = base + thread;
    const bool keep = i < length && w.keep[i];
    const unsigned votes = __ballot_sync(0xffffffffu, keep);
    if (i < length && p.alive_out) p.alive_out[begin + i] = keep;
    if (p.bits) {
      if ((thread & 31) == 0 && i < length) p.kept[begin + i / 32] = static_cast<int32_t>(votes);
      continue;
    }
    if ((thread & 31) == 0) before[thread >> 5] = __popc(votes);
    __syncthreads();
    int at = written, all = 0;
    for (int k = 0; k < kSelectThreads / 32; ++k) {
      if (k < (thread >> 5)) at += before[k];
      all += before[k];
    }
    const int to = at + __popc(votes & ((1u << (thread & 31)) - 1));
    if (keep) p.kept[to] = begin + i;
    written += all;
    __syncthreads();
  }
  if (thread == 0 && !p.bits && written < end) p.kept[written] = -1;
  if (others) all_arrive();  // a block's memory is there until all have read it
}

// Counts become offsets, and bits become indices: a warp a sequence, all blocks together a stretch of
// sequences. A choice is never longer than its sequence, so indices of a stretch only overwrite bits of the
// same or earlier ones: it is enough that all have read before anyone writes.
__global__ void __launch_bounds__(kJoinWarps * 32)
    join_choices(int32_t* kept, int32_t* kept_offsets, const int32_t* offsets, int batch) {
  constexpr int kWords = (kLongest + 1023) / 1024;  // of bits, for each lane
  __shared__ int sums[kJoinBlocks], first[kJoinBlocks * kJoinWarps + 1];
  const int thread = threadIdx.x, lane = thread & 31, warp = warp_index();
  const int warps = blockDim.x >> 5, stretch = warps * gridDim.x, mine = blockIdx.x * warps + warp;
  int begin = 0, length = 0;
  const auto find_rows = [&](int base) {
    const bool any = base + mine < batch;
    begin = alike(any ? offsets[base + mine] : 0);
    length = alike(any ? offsets[base + mine + 1] - begin : 0);
  };
  find_rows(0);  // written before select_rows' own wait, so there already
  wait_for_previous();
  let_next_start();
  for (int base = 0, carried = 0; base < batch; base += stretch) {
    uint32_t bits[kWords];
#pragma unroll
    for (int c = 0; c < kWords; ++c) {
      const int word = c * 32 + lane;
      bits[c] = word * 32 < length ? static_cast<uint32_t>(kept[begin + word]) : 0;
    }
    const int count = thread < stretch && base + thread < batch ? kept_offsets[base + thread + 1] : 0;
    int upto = count;
    for (int o = 1; o < 32; o <<= 1) {
      const int below = __shfl_up_sync(0xffffffffu, upto, o);
      if (lane >= o) upto += below;
    }
    if (lane == 31 && warp < kJoinBlocks) sums[warp] = upto;
    __syncthreads();
    int before = carried, all = 0;
    for (int k = 0; k < (stretch + 31) / 32; ++k) {
      if (k < warp) before += sums[k];
      all += sums[k];
    }
    if (thread < stretch) first[thread + 1] = before + upto;
    if (thread == 0) first[0] = carried;
    carried += all;
    all_arrive();
    if (blockIdx.x == 0 && thread < stretch && base + thread < batch)
      kept_offsets[base + thread + 1] = before + upto;
    int at = first[mine];
    const int end = first[mine + 1];
#pragma unroll
    for (int c = 0; c < kWords; ++c) {
      const int rows = length - c * 1024;  // left from here
      if (rows <= 0) continue;
      int up = __popc(bits[c]);
      for (int o = 1; o < 32; o <<= 1) {
        const int below = __shfl_up_sync(0xffffffffu, up, o);
        if (lane >= o) up += below;
      }
      const int start = at + up - __popc(bits[c]);
#pragma unroll 8
      for (int k = 0; k < min(32, (rows + 31) / 32); ++k) {
        const uint32_t word = __shfl_sync(0xffffffffu, bits[c], k);
        const int to = __shfl_sync(0xffffffffu, start, k) + __popc(word & ((1u << lane) - 1));
        if (word >> lane & 1) kept[to] = begin + c * 1024 + k * 32 + lane;
      }
      at += __shfl_sync(0xffffffffu, up, 31);
    }
    if (lane == 0 && at < end) kept[at] = -1;
    find_rows(base + stretch);
  }
}

constexpr size_t shared_for(int longest) { return static_cast<size_t>(longest) * 25 + 16; }

}  // namespace

cudaError_t select(cudaStream_t stream, const SelectArgs& a) {
  if (a.rows.batch == 0) return cudaMemsetAsync(a.kept_offsets, 0, sizeof(int32_t), stream);
  if (a.rows.max_len > kLongest) return cudaErrorInvalidValue;
  SelectParams p = {};
  p.score = a.score.as<const float>(), p.alive = a.alive.as<const uint8_t>(), p.offsets = a.rows.offsets;
  p.special = a.special, p.special_competes = a.special_competes, p.append = a.append, p.mode = a.mode;
  p.count = a.count, p.floor = a.floor, p.samples = a.samples, p.threshold = a.threshold, p.mass = a.mass;
  p.kept = a.kept.as<int32_t>(), p.kept_offsets = a.kept_offsets, p.alive_out = a.alive_out.as<uint8_t>();
  p.batch = a.rows.batch;
  p.bits = p.batch > (device().major >= 9 ? kTogether : 1);
  Shape choosing{p.batch, kSelectThreads, shared_for(a.rows.max_len)};
  if (!p.bits) {
    while (choosing.cluster < p.batch) choosing.cluster *= 2;
    choosing.grid.x = choosing.cluster;
  }
  const cudaError_t e = launch<select_rows, shared_for(kLongest)>(stream, choosing, p, a.rows.max_len);
  if (e != cudaSuccess || !p.bits) return e;
  int blocks = 1;
  while (device().major >= 9 && blocks < kJoinBlocks && blocks * kJoinWarps < a.rows.batch) blocks *= 2;
  Shape joining{blocks, 32 * std::min(kJoinWarps, a.rows.batch)};
  joining.cluster = blocks;
  return launch<join_choices>(stream, joining, p.kept, p.kept_offsets, p.offsets, a.rows.batch);
}

}  // namespace hedgerow::cuda
