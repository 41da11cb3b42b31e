// SPDX-License-Identifier: Apache-2.0
// One sequence's choice by one block (select.cu): candidates as ordered keys, their weights and running sums,
// mass and sampling.
#pragma once

#include "hedgerow/kernels/cuda/device.cuh"

namespace hedgerow::cuda {

constexpr int kSelectThreads = 256;  // of a block

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
struct SelectWork {
  uint64_t *keys, *ranked;
  double* weight;
  uint8_t* keep;
};

// Running sums of w.weight[0 .. m), which rise or fall; `least` > 0 is the smallest above 0, `most` the
// largest. All weights were f32: where they are near enough to each other, every sum of them is exact, and
// the order does not matter.
__device__ inline void add_up(const SelectWork& w, int m, double least, double most) {
  __shared__ double sums[kSelectThreads / 32];
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
  for (int base = 0; base < m; base += kSelectThreads) {
    const int i = base + thread;
    double v = i < m ? w.weight[i] : 0;
    for (int o = 1; o < 32; o <<= 1) {
      const double below = __shfl_up_sync(0xffffffffu, v, o);
      if (lane >= o) v += below;
    }
    if (lane == 31) sums[warp] = v;
    __syncthreads();
    double before = carried;
    for (int k = 0; k < kSelectThreads / 32; ++k) {
      if (k < warp) before += sums[k];
      carried += sums[k];
    }
    if (i < m) w.weight[i] = before + v;
    __syncthreads();
  }
}

// weight[i] of the first i + 1 keys in the order asked for, together. Negative scores and NaN weigh nothing;
// if some are infinite, only those weigh, equally; if nothing weighs anything, all weigh the same.
__device__ inline void weigh(const float* score, const SelectWork& w, int m, bool rising) {
  const float best = score[index_of(w.ranked[0])];
  const bool infinite = best == kInf;
  const auto weight = [&](int rank) {
    const float s = score[index_of(w.ranked[rank])];
    return infinite ? (s == kInf ? 1.0 : 0.0) : s > 0 ? static_cast<double>(s) : 0.0;
  };
  int some = 0;
  for (int base = 0; base < m; base += kSelectThreads) {
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
  for (int i = threadIdx.x; i < m; i += kSelectThreads) w.weight[i] = i + 1.0;
  __syncthreads();
}

__device__ inline int count_for_mass(const float* score, const SelectWork& w, int m, double mass) {
  if (!(mass > 0) || m == 0) return 0;
  weigh(score, w, m, false);
  const double wanted = mass * w.weight[m - 1];
  int count = 0;
  for (int base = 0; base < m; base += kSelectThreads) {
    const int i = base + threadIdx.x;
    count += block_count(i < m && (i == 0 ? 0.0 : w.weight[i - 1]) < wanted);
  }
  return count;
}

// Inverse-transform sampling (Fayyaz et al. 2022); marks what it takes and returns how many. See the CPU's
// select for the rule in words.
__device__ inline int sample_ats(const float* score, const SelectWork& w, int m, int samples) {
  if (m == 0 || samples <= 0) return 0;
  weigh(score, w, m, true);
  const double low = w.weight[0], span = w.weight[m - 1] - low;
  __syncthreads();
  if (samples == 1 || !(span > 0)) {
    if (threadIdx.x == 0) w.keep[index_of(w.ranked[0])] = 1;
    __syncthreads();
    return 1;
  }
  for (int i = threadIdx.x; i < m; i += kSelectThreads) w.weight[i] = (w.weight[i] - low) / span;
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
  for (int i = threadIdx.x; i < samples; i += kSelectThreads) {
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
  for (int base = 0; base < m; base += kSelectThreads) {
    const int i = base + threadIdx.x;
    taken += block_count(i < m && w.keep[index_of(w.ranked[i])]);
  }
  return taken;
}

}  // namespace hedgerow::cuda
