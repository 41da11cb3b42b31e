// SPDX-License-Identifier: Apache-2.0
// Attention over a cache: one task, some queries of one kv head. Built once per level.
//
// A score is one chain over head_dim, whatever slot its key lies in. Scores of keys that a row sees are
// closed up in their order; from there on (maximum, exponentials, their sum, the chain over values) slots no
// longer matter, so a row's bits are those of a pass of its own.
#include "hedgerow/kernels/cpu/cache/layout.h"
#include "hedgerow/kernels/cpu/exp2.h"
#include "hedgerow/kernels/cpu/level.h"
#include "hedgerow/kernels/cpu/quant/bytes.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {
namespace {

constexpr int kQueries = kCacheQueries;
constexpr int kKeyVecs = kCacheBlock / kLanes;
constexpr int kMostDim = 256;
// Channels of the output summed at a time.
constexpr int kOutVecs = kLanes == 16 ? 4 : kLanes == 8 ? 2 : 8;

HEDGEROW_INLINE Vec load_cached(const float* p) { return load(p); }
HEDGEROW_INLINE Vec load_cached(const uint16_t* p) { return load_f16(p); }

struct Query {
  const float* q;
  float* out;
  uint64_t ancestors;
  int seen;     // slots in front that it sees, all of them
  int last;     // slots that it may look at
  int visible;  // keys that it sees
};

// scores[t][slot] = q_t . k_slot for slots [0, slots rounded up to a block)
template <class T, int kCount>
void scores_of(const T* keys, int slots, int head_dim, const float* q, float* scores, int64_t stride) {
  for (int first = 0; first < slots; first += kCacheBlock, keys += int64_t{kCacheBlock} * head_dim) {
    Vec acc[kCount][kKeyVecs];
    for (int t = 0; t < kCount; ++t)
      for (int v = 0; v < kKeyVecs; ++v) acc[t][v] = zero();
    for (int d = 0; d < head_dim; ++d) {
      Vec k[kKeyVecs];
#pragma GCC unroll 16
      for (int v = 0; v < kKeyVecs; ++v) k[v] = load_cached(keys + d * kCacheBlock + v * kLanes);
#pragma GCC unroll 4
      for (int t = 0; t < kCount; ++t) {
        const Vec one = set1(q[t * kMostDim + d]);
#pragma GCC unroll 16
        for (int v = 0; v < kKeyVecs; ++v) acc[t][v] = fma(one, k[v], acc[t][v]);
      }
    }
    for (int t = 0; t < kCount; ++t)
      for (int v = 0; v < kKeyVecs; ++v) store(scores + t * stride + first + v * kLanes, acc[t][v]);
  }
}

// Weights of the visible keys in place of their scores, closed up; returns their sum.
float weights_of(Query& one, float* scores) {
  int n = one.seen;
  for (uint64_t left = one.ancestors; left; left &= left - 1)
    scores[n++] = scores[one.seen + __builtin_ctzll(left)];
  one.visible = n;
  const int whole = (n + kLanes - 1) / kLanes * kLanes;
  for (int i = n; i < whole; ++i) scores[i] = -__builtin_inff();
  Vec largest = set1(-__builtin_inff());
  for (int i = 0; i < whole; i += kLanes) largest = max(load(scores + i), largest);
  const float most = reduce_max(largest);
  Vec sum = zero();
  for (int i = 0; i < whole; i += kLanes) {
    Vec p = exp2_below_zero<false>(sub(load(scores + i), set1(most)));
    if (i + kLanes > n) p = keep_first(p, n - i, zero());  // lanes behind the last key weigh nothing
    store(scores + i, p);
    sum = add(sum, p);
  }
  return reduce_add(sum);
}

// The first n channels, the rest zero.
template <class T>
HEDGEROW_INLINE Vec load_some(const T* p, int n) {
  if (n >= kLanes) return load_cached(p);
  T t[kLanes] = {};
  for (int i = 0; i < n; ++i) t[i] = p[i];
  return load_cached(t);
}

// Channels [0, min(n, kVecs kLanes)) of the outputs: chains over slots that all queries see, then over what
// each sees behind those.
template <class T, int kCount, int kVecs>
void channels_of(const T* values, int head_dim, int d, int n, const Query* queries, int shared,
                 const float* weights, int64_t stride, const float* sums) {
  Vec acc[kCount][kVecs];
  for (int t = 0; t < kCount; ++t)
    for (int i = 0; i < kVecs; ++i) acc[t][i] = zero();
  const T* from = values + d;
  for (int slot = 0; slot < shared; ++slot, from += head_dim) {
    Vec v[kVecs];
#pragma GCC unroll 8
    for (int i = 0; i < kVecs; ++i) v[i] = kVecs == 1 ? load_some(from, n) : load_cached(from + i * kLanes);
#pragma GCC unroll 4
    for (int t = 0; t < kCount; ++t) {
      const Vec p = set1(weights[t * stride + slot]);
#pragma GCC unroll 8
      for (int i = 0; i < kVecs; ++i) acc[t][i] = fma(p, v[i], acc[t][i]);
    }
  }
  for (int t = 0; t < kCount; ++t) {
    const Query& one = queries[t];
    uint64_t left = one.ancestors;
    for (int rank = shared; rank < one.visible; ++rank) {
      int64_t slot = rank;
      if (rank >= one.seen) slot = one.seen + __builtin_ctzll(left), left &= left - 1;
      const Vec p = set1(weights[t * stride + rank]);
      const T* at = values + d + slot * head_dim;
      for (int i = 0; i < kVecs; ++i)
        acc[t][i] = fma(p, kVecs == 1 ? load_some(at, n) : load_cached(at + i * kLanes), acc[t][i]);
    }
    for (int i = 0; i < kVecs; ++i)
      store_n(one.out + d + i * kLanes, div(acc[t][i], set1(sums[t])), n < kLanes ? n : kLanes);
  }
}

template <class T, int kCount>
void outputs_of(const T* values, int head_dim, const Query* queries, const float* weights, int64_t stride,
                const float* sums) {
  int shared = queries[0].seen, d = 0;
  for (int t = 1; t < kCount; ++t) shared = queries[t].seen < shared ? queries[t].seen : shared;
  for (; d + kOutVecs * kLanes <= head_dim; d += kOutVecs * kLanes)
    channels_of<T, kCount, kOutVecs>(values, head_dim, d, head_dim - d, queries, shared, weights, stride,
                                     sums);
  for (; d < head_dim; d += kLanes)
    channels_of<T, kCount, 1>(values, head_dim, d, head_dim - d, queries, shared, weights, stride, sums);
}

template <class T, int kCount>
void attend(const CachedAttentionArgs& a, int64_t head, Query* queries, float* scores, int64_t stride) {
  const int hd = a.cache.head_dim;
  alignas(64) float q[kCount * kMostDim];
  int slots = 0;
  for (int t = 0; t < kCount; ++t) {
    for (int d = 0; d < hd; ++d) q[t * kMostDim + d] = queries[t].q[d] * (a.scale * 1.44269504f);
    slots = queries[t].last > slots ? queries[t].last : slots;
  }
  scores_of<T, kCount>(static_cast<const T*>(a.cache.k) + head, slots, hd, q, scores, stride);
  float sums[kCount];
  for (int t = 0; t < kCount; ++t) sums[t] = weights_of(queries[t], scores + t * stride);
  outputs_of<T, kCount>(static_cast<const T*>(a.cache.v) + head, hd, queries, scores, stride, sums);
}

template <class T>
void attend_some(const CachedAttentionArgs& a, int64_t head, Query* queries, int count, float* scores,
                 int64_t stride) {
  switch (count) {
    case 1:
      return attend<T, 1>(a, head, queries, scores, stride);
    case 2:
      return attend<T, 2>(a, head, queries, scores, stride);
    case 3:
      return attend<T, 3>(a, head, queries, scores, stride);
    default:
      return attend<T, 4>(a, head, queries, scores, stride);
  }
}

// Queries [begin, end) of one kv head of one batch entry: row by row, in a row head by head.
void cached_attention(const CachedAttentionArgs& a, int s, int kv_head, int begin, int end, void* scratch) {
  const int heads = static_cast<int>(a.q.extents[1]), group = heads / a.cache.kv_heads;
  const int filled = a.at.length[s], begun = a.at.begun(s), first = a.rows.begin(s);
  const int64_t head = head_at(a.cache, a.at.sequence[s], kv_head), stride = a.cache.slots + kCacheBlock;
  Query queries[kQueries];
  for (int query = begin; query < end; query += kQueries) {
    const int count = end - query < kQueries ? end - query : kQueries;
    for (int t = 0; t < count; ++t) {
      const int row = (query + t) / group, h = kv_head * group + (query + t) % group;
      const int64_t at = first + row;
      Query& one = queries[t];
      one.q = a.q.row<float>(at) + h * a.q.strides[1], one.out = a.out.row<float>(at) + h * a.out.strides[1];
      if (a.visibility == Visibility::tree) {
        one.ancestors = ancestors_of(a, at);
        one.seen = filled;
      } else {
        one.ancestors = 0, one.seen = filled + begun + row + 1;
      }
      one.last = filled + begun + row + 1;
    }
    if (a.cache.dtype == Dtype::f16)
      attend_some<uint16_t>(a, head, queries, count, static_cast<float*>(scratch), stride);
    else
      attend_some<float>(a, head, queries, count, static_cast<float*>(scratch), stride);
  }
}

// In one order: lanes, then lanes folded.
float log_sum(const float* x, int n) {
  Vec largest = set1(-__builtin_inff());
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) largest = max(load(x + i), largest);
  float most = reduce_max(largest);
  for (int j = i; j < n; ++j) most = x[j] > most ? x[j] : most;
  if (most == -__builtin_inff()) {  // nothing but that, or what is no number
    for (int j = 0; j < n; ++j) most += x[j];
    return most;
  }
  const Vec log2e = set1(1.44269504f), shift = set1(most);
  Vec sums[4] = {zero(), zero(), zero(), zero()};
  int c = 0;
  for (int j = 0; j < i; j += kLanes, c = (c + 1) & 3)
    sums[c] = add(sums[c], exp2_below_zero<false>(mul(sub(load(x + j), shift), log2e)));
  float sum = reduce_add(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
  for (; i < n; ++i) sum += __builtin_expf(x[i] - most);
  return most + __builtin_logf(sum);
}

}  // namespace
}  // namespace hedgerow::cpu::HEDGEROW_LEVEL

namespace hedgerow::cpu {
void HEDGEROW_FILL(cache)(Level& level) {
  level.cached_attention = HEDGEROW_LEVEL::cached_attention;
  level.log_sum = HEDGEROW_LEVEL::log_sum;
}
}  // namespace hedgerow::cpu
