// SPDX-License-Identifier: Apache-2.0
// Which row is most like which, and folding rows together. Built once per level.
//
// A pair's dot product is one multiply-add chain over the channels, and members are added in row order:
// neither depends on where in the sequence, the tile or the batch a row lies.
#include "hedgerow/kernels/cpu/simd.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {
namespace {

constexpr int kVecs = kLanes > 1 ? 2 : 4;     // of targets per tile
constexpr int kTargets = kVecs * kLanes;      // side by side, one lane each
constexpr int kSources = kLanes > 1 ? 6 : 2;  // per pass over a tile: as many as registers hold

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

size_t match_scratch_bytes(int max_len, int dim) {
  return aligned(4 * static_cast<size_t>(max_len)) + static_cast<size_t>(dim) * kTargets * sizeof(float);
}

HEDGEROW_INLINE bool any_above(Vec a, float bound) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a, set1(bound), _CMP_GT_OQ) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps(a, set1(bound), _CMP_GT_OQ)) != 0;
#else
  return a > bound;
#endif
}

// Channel-major: value c of target t at tile[c * kTargets + t]. Absent targets are copies of the last one.
void pack_targets(const Tensor& directions, const int32_t* targets, int count, float* tile) {
  const int dim = static_cast<int>(directions.extents[1]);
  const float* x[kTargets];
  for (int t = 0; t < kTargets; ++t) x[t] = directions.row<float>(targets[t < count ? t : count - 1]);
  for (int c = 0; c < dim; ++c)
    for (int t = 0; t < kTargets; ++t) tile[static_cast<size_t>(c) * kTargets + t] = x[t][c];
}

// Dot products of kSources rows with the first `vecs` vectors of the tile's targets.
template <int vecs>
HEDGEROW_INLINE void dot_products(const float* const* x, const float* tile, int dim,
                                  Vec (&out)[kSources][kVecs]) {
  Vec dot[kSources][vecs];
  for (int s = 0; s < kSources; ++s)
    for (int v = 0; v < vecs; ++v) dot[s][v] = zero();
  for (int c = 0; c < dim; ++c) {
    Vec y[vecs];
    for (int v = 0; v < vecs; ++v) y[v] = load(tile + static_cast<size_t>(c) * kTargets + v * kLanes);
    for (int s = 0; s < kSources; ++s) {
      const Vec a = set1(x[s][c]);
      for (int v = 0; v < vecs; ++v) dot[s][v] = fma(a, y[v], dot[s][v]);
    }
  }
  for (int s = 0; s < kSources; ++s)
    for (int v = 0; v < vecs; ++v) out[s][v] = dot[s][v];
}

void match(const MatchArgs& a, int begin, int end, int sequence, void* scratch) {
  const int first = a.rows.begin(sequence), length = a.rows.length(sequence);
  const int dim = static_cast<int>(a.directions.extents[1]);
  const uint8_t* role = a.role.as<uint8_t>() + first;
  int32_t* best = a.best.as<int32_t>() + first;
  float* similarity = a.similarity.as<float>() + first;
  int32_t* targets = static_cast<int32_t*>(scratch);
  float* tile =
      reinterpret_cast<float*>(static_cast<char*>(scratch) + aligned(4 * static_cast<size_t>(length)));

  int count = 0;
  for (int i = 0; i < length; ++i)
    if (role[i] == 2) targets[count++] = first + i;
  for (int i = begin; i < end; ++i) {
    const bool source = role[i] == 1 && count > 0;
    best[i] = source ? targets[0] : -1;
    similarity[i] = source ? -__builtin_inff() : 0.0f;
  }
  for (int at = 0; at < count; at += kTargets) {
    const int live = count - at < kTargets ? count - at : kTargets;
    pack_targets(a.directions, targets + at, live, tile);
    for (int i = begin; i < end;) {
      int rows[kSources], n = 0;
      for (; i < end && n < kSources; ++i)
        if (role[i] == 1) rows[n++] = i;
      if (n == 0) break;
      const float* x[kSources];
      for (int s = 0; s < kSources; ++s) x[s] = a.directions.row<float>(first + rows[s < n ? s : n - 1]);
      Vec dot[kSources][kVecs];
      if (live > kLanes) {
        dot_products<kVecs>(x, tile, dim, dot);
      } else {
        dot_products<1>(x, tile, dim, dot);
        for (int s = 0; s < kSources; ++s)
          for (int v = 1; v < kVecs; ++v) dot[s][v] = dot[s][0];
      }
      for (int s = 0; s < n; ++s) {
        float& top = similarity[rows[s]];
        bool above = false;
        for (int v = 0; v < kVecs; ++v) above |= any_above(dot[s][v], top);
        if (!above) continue;
        alignas(64) float value[kTargets];
        for (int v = 0; v < kVecs; ++v) store(value + v * kLanes, dot[s][v]);
        for (int t = 0; t < live; ++t)
          if (value[t] > top) {
            top = value[t];
            best[rows[s]] = targets[at + t];
          }
      }
    }
  }
}

size_t merge_scratch_bytes(int max_len) { return 3 * aligned(4 * static_cast<size_t>(max_len)); }

// out = weight * x, or out += weight * x
template <bool kAdd>
HEDGEROW_INLINE void accumulate(float* out, const float* x, float weight, int n) {
  const Vec w = set1(weight);
  for (int c = 0; c < n; c += kLanes) {
    const int m = n - c < kLanes ? n - c : kLanes;
    const Vec v = load_n(x + c, m);
    store_n(out + c, kAdd ? fma(w, v, load_n(out + c, m)) : mul(w, v), m);
  }
}

void merge(const MergeArgs& a, int sequence, int column_begin, int column_end, void* scratch) {
  const int from = a.from.begin(sequence), length = a.from.length(sequence);
  const int to = a.to.begin(sequence), outputs = a.to.length(sequence), n = column_end - column_begin;
  const bool weighted = a.rule == MergeRule::size_weighted;
  const float* size = a.size.as<float>();
  const int32_t* into = a.into.as<int32_t>();
  const int32_t* kept = a.kept.as<int32_t>() + to;
  int32_t* slot =
      static_cast<int32_t*>(scratch);  // where the row that is `i` of the sequence goes, -1: not kept
  int32_t* absorbed =
      reinterpret_cast<int32_t*>(static_cast<char*>(scratch) + aligned(4 * static_cast<size_t>(length)));
  float* total =
      reinterpret_cast<float*>(reinterpret_cast<char*>(absorbed) + aligned(4 * static_cast<size_t>(outputs)));

  const auto slot_of = [&](int32_t row) {
    return row >= from && row < from + length ? slot[row - from] : -1;
  };
  for (int i = 0; i < length; ++i) slot[i] = -1;
  for (int o = 0; o < outputs; ++o) {
    absorbed[o] = 0;
    if (kept[o] >= from && kept[o] < from + length) slot[kept[o] - from] = o;
  }
  for (int j = from; j < from + length; ++j)
    if (const int o = slot_of(into[j]); o >= 0) ++absorbed[o];

  for (int o = 0; o < outputs; ++o) {
    const float* x = a.x.row<float>(kept[o]) + column_begin;
    float* out = a.out.row<float>(to + o) + column_begin;
    if (absorbed[o] == 0)  // alone: stays as it is, to the bit
      std::memcpy(out, x, sizeof(float) * static_cast<size_t>(n));
    else
      accumulate<false>(out, x, weighted ? size[kept[o]] : 1.0f, n);
    total[o] = size[kept[o]];
  }
  for (int j = from; j < from + length; ++j) {
    const int o = slot_of(into[j]);
    if (o < 0) continue;
    accumulate<true>(a.out.row<float>(to + o) + column_begin, a.x.row<float>(j) + column_begin,
                     weighted ? size[j] : 1.0f, n);
    total[o] += weighted ? size[j] : a.similarity.as<float>()[j] * size[j];
  }
  for (int o = 0; o < outputs; ++o) {
    if (column_begin == 0) a.out_size.as<float>()[to + o] = total[o];
    if (absorbed[o] == 0) continue;
    float* out = a.out.row<float>(to + o) + column_begin;
    const Vec count = set1(weighted ? total[o] : static_cast<float>(absorbed[o] + 1));
    for (int c = 0; c < n; c += kLanes) {
      const int m = n - c < kLanes ? n - c : kLanes;
      store_n(out + c, div(load_n(out + c, m), count), m);
    }
  }
}

}  // namespace
}  // namespace hedgerow::cpu::HEDGEROW_LEVEL

namespace hedgerow::cpu {

void HEDGEROW_FILL(match)(Level& level) {
  level.match = HEDGEROW_LEVEL::match;
  level.match_scratch_bytes = HEDGEROW_LEVEL::match_scratch_bytes;
  level.merge = HEDGEROW_LEVEL::merge;
  level.merge_scratch_bytes = HEDGEROW_LEVEL::merge_scratch_bytes;
}

}  // namespace hedgerow::cpu
