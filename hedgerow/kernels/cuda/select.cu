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

namespace hedgerow::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTogether = 8;                     // sequences that one cluster chooses for
constexpr int kJoinWarps = 32, kJoinBlocks = 8;  // warps of a block, blocks of the one cluster that joins
constexpr int kLongest = 9000;                   // rows of one sequence that fit a block's memory

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

// A candidate as one number: its score's place among all floats above, its index (inverted) below. NaN lies
// below everything, -0 equals +0, and of equal scores the lower index is the larger key.
__device__ __forceinline__ uint64_t key_of(float score, int index) {
  uint32_t u = 0;
  if (score == score) {
    u = __float_as_uint(score + 0.0f);
    u = u & 0x80000000u ? ~u : u | 0x80000000u;
  }
  return static_cast<uint64_t>(u) << 32 | (0xffffffffu - static_cast<uint32_t>(index));
}
__device__ __forceinline__ int index_of(uint64_t key) {
  return static_cast<int>(0xffffffffu - static_cast<uint32_t>(key));
}
__device__ __forceinline__ int clamped(double count, int m) {
  return count >= m ? m : count > 0 ? static_cast<int>(count) : 0;
}

// In how many threads of the block is v true? All have written to shared memory what came before.
__device__ __forceinline__ int block_count(bool v) { return __syncthreads_count(v); }

// One sequence's working memory: keys by rank (best first), their weights, and who stays.
struct Work {
  uint64_t *keys, *ranked;
  double* weight;
  uint8_t* keep;
};

// Running sums of w.weight[0 .. m), which rise or fall; `least` > 0 is the smallest above 0, `most` the
// largest. All weights were f32: where they are near enough to each other, every sum of them is exact, and
// the order does not matter.
__device__ void add_up(const Work& w, int m, double least, double most) {
  __shared__ double sums[kThreads / 32];
  const auto exponent = [](double v) { return static_cast<int>(__double_as_longlong(v) >> 52); };
  const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
  if (exponent(most) - exponent(least) + 32 - __clz(m) > 53 - 24) {
    if (thread == 0) {
      double sum = 0;
#pragma unroll 8
      for (int i = 0; i < m; ++i) w.weight[i] = sum += w.weight[i];
    }
    __syncthreads();
    return;
  }
  double carried = 0;
  for (int base = 0; base < m; base += kThreads) {
    const int i = base + thread;
    double v = i < m ? w.weight[i] : 0;
    for (int o = 1; o < 32; o <<= 1) {
      const double below = __shfl_up_sync(0xffffffffu, v, o);
      if (lane >= o) v += below;
    }
    if (lane == 31) sums[warp] = v;
    __syncthreads();
    double before = carried;
    for (int k = 0; k < kThreads / 32; ++k) {
      if (k < warp) before += sums[k];
      carried += sums[k];
    }
    if (i < m) w.weight[i] = before + v;
    __syncthreads();
  }
}

// weight[i] of the first i + 1 keys in the order asked for, together. Negative scores and NaN weigh nothing;
// if some are infinite, only those weigh, equally; if nothing weighs anything, all weigh the same.
__device__ void weigh(const float* score, const Work& w, int m, bool rising) {
  const float best = score[index_of(w.ranked[0])];
  const bool infinite = best == kInf;
  const auto weight = [&](int rank) {
    const float s = score[index_of(w.ranked[rank])];
    return infinite ? (s == kInf ? 1.0 : 0.0) : s > 0 ? static_cast<double>(s) : 0.0;
  };
  int some = 0;
  for (int base = 0; base < m; base += kThreads) {
    const int i = base + threadIdx.x;
    const double v = i < m ? weight(i) : 0;
    if (i < m) w.weight[rising ? m - 1 - i : i] = v;
    some += block_count(v > 0);
  }
  if (some) {
    const double least = w.weight[rising ? m - some : some - 1], most = w.weight[rising ? m - 1 : 0];
    __syncthreads();
    return add_up(w, m, least, most);
  }
  for (int i = threadIdx.x; i < m; i += kThreads) w.weight[i] = i + 1.0;
  __syncthreads();
}

__device__ int count_for_mass(const float* score, const Work& w, int m, double mass) {
  if (!(mass > 0) || m == 0) return 0;
  weigh(score, w, m, false);
  const double wanted = mass * w.weight[m - 1];
  int count = 0;
  for (int base = 0; base < m; base += kThreads) {
    const int i = base + threadIdx.x;
    count += block_count(i < m && (i == 0 ? 0.0 : w.weight[i - 1]) < wanted);
  }
  return count;
}

// Inverse-transform sampling (Fayyaz et al. 2022); marks what it takes and returns how many. See the CPU's
// select for the rule in words.
__device__ int sample_ats(const float* score, const Work& w, int m, int samples) {
  if (m == 0 || samples <= 0) return 0;
  weigh(score, w, m, true);
  const double low = w.weight[0], span = w.weight[m - 1] - low;
  __syncthreads();
  if (samples == 1 || !(span > 0)) {
    if (threadIdx.x == 0) w.keep[index_of(w.ranked[0])] = 1;
    __syncthreads();
    return 1;
  }
  for (int i = threadIdx.x; i < m; i += kThreads) w.weight[i] = (w.weight[i] - low) / span;
  __syncthreads();
  int lo = 0, hi = m - 1;  // the first entry above 0; the last is 1
  while (lo < hi) {
    const int mid = (lo + hi) / 2;
    if (w.weight[mid] <= 0)
      lo = mid + 1;
    else
      hi = mid;
  }
  const int first = lo;
  const double start = w.weight[first];
  for (int i = threadIdx.x; i < samples; i += kThreads) {
    const double height = __dadd_rn(start, __dmul_rn(1.0 - start, static_cast<double>(i) / (samples - 1)));
    int above = first, last = m - 1;
    while (above < last) {
      const int mid = (above + last) / 2;
      if (w.weight[mid] < height)
        above = mid + 1;
      else
        last = mid;
    }
    const int pick = height - w.weight[above - 1] <= fabs(w.weight[above] - height) ? above - 1 : above;
    w.keep[index_of(w.ranked[m - 1 - pick])] = 1;
  }
  __syncthreads();
  int taken = 0;
  for (int base = 0; base < m; base += kThreads) {
    const int i = base + threadIdx.x;
    taken += block_count(i < m && w.keep[index_of(w.ranked[i])]);
  }
  return taken;
}

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

__global__ void __launch_bounds__(kThreads) select_rows(const __grid_constant__ SelectParams p, int longest) {
  extern __shared__ __align__(16) unsigned char memory[];
  wait_for_previous();
  let_next_start();
  const bool spare = static_cast<int>(blockIdx.x) >= p.batch;  // clusters have 1, 2, 4 or 8 blocks
  const int sequence = spare ? p.batch - 1 : blockIdx.x, thread = threadIdx.x;
  const int begin = p.offsets[sequence], length = spare ? 0 : p.offsets[sequence + 1] - begin,
            special = min(p.special, length);
  const float* const score = p.score + begin;
  Work w;
  w.keys = reinterpret_cast<uint64_t*>(memory), w.ranked = w.keys + longest;
  w.weight = reinterpret_cast<double*>(w.ranked + longest),
  w.keep = reinterpret_cast<uint8_t*>(w.weight + longest);

  // 0 is below every candidate's key: an index never fills all 32 bits.
  int m = 0;
  for (int base = 0; base < length; base += kThreads) {
    const int i = base + thread;
    const bool candidate =
        i < length && (i < special ? p.special_competes != 0 : !p.alive || p.alive[begin + i]);
    if (i < length) w.keys[i] = candidate ? key_of(score[i], i) : 0, w.keep[i] = 0;
    m += block_count(candidate);
  }
  for (int i = thread; i < length; i += kThreads) {
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
    for (int base = 0; base < m; base += kThreads) {
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
    for (int i = thread; i < count; i += kThreads) w.keep[index_of(w.ranked[i])] = 1;
  }
  __syncthreads();
  for (int i = thread; i < special; i += kThreads) w.keep[i] = 1;
  __syncthreads();
  int stay = 0;
  for (int base = 0; base < m; base += kThreads) {
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
  __shared__ int before[kThreads / 32 + 1];
  const int end = written + staying;
  for (int base = 0; base < length; base += kThreads) {
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
    for (int k = 0; k < kThreads / 32; ++k) {
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
  Shape choosing{p.batch, kThreads, shared_for(a.rows.max_len)};
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
