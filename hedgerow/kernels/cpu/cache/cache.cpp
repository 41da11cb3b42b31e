// SPDX-License-Identifier: Apache-2.0
// Ops on a cache and on tokens that no level does differently: rotating and appending, closing up, the best
// columns, the accepted path.
#include <algorithm>
#include <cmath>
#include <limits>

#include "hedgerow/kernels/cpu/cache/layout.h"
#include "hedgerow/kernels/cpu/cpu.h"
#include "hedgerow/kernels/cpu/tasks.h"

namespace hedgerow::cpu {
namespace {

void rotate(float* x, const float* turn, int head_dim) {
  const int half = head_dim / 2;
  for (int i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half], c = turn[i], s = turn[i + half];
    x[i] = a * c - b * s;
    x[i + half] = b * c + a * s;
  }
}

void put(const KvCache& to, void* base, int64_t at, float x) {
  if (to.dtype == Dtype::f16)
    static_cast<uint16_t*>(base)[at] = f32_to_f16(x);
  else
    static_cast<float*>(base)[at] = x;
}

template <class T>
void move_slot(const KvCache& c, int64_t head, int64_t from, int64_t to) {
  T* const k = static_cast<T*>(c.k) + head;
  T* const v = static_cast<T*>(c.v) + head;
  const int64_t a = key_at(c, from), b = key_at(c, to);
  for (int64_t d = 0; d < c.head_dim; ++d) k[b + d * kCacheBlock] = k[a + d * kCacheBlock];
  std::copy_n(v + from * c.head_dim, c.head_dim, v + to * c.head_dim);
}

// Larger first; what is no number last; the lower column first.
bool before(float a, int32_t i, float b, int32_t j) {
  const bool no_a = a != a, no_b = b != b;
  if (no_a != no_b) return no_b;
  if (!no_a && a != b) return a > b;
  return i < j;
}

}  // namespace

// By insertion: what is below the last one in is passed over, 64 at a time.
void best_columns(const float* x, int columns, int count, int32_t* best, float* values) {
  int have = 0;
  const auto offer = [&](int32_t i) {
    int at = have;
    while (at > 0 && before(x[i], i, values[at - 1], best[at - 1])) --at;
    if (at >= count) return;
    const int last = have < count ? have++ : count - 1;
    for (int j = last; j > at; --j) best[j] = best[j - 1], values[j] = values[j - 1];
    best[at] = i, values[at] = x[i];
  };
  constexpr int kBlock = 64;
  int i = 0;
  for (; i < columns && have < count; ++i) offer(i);
  for (; i + kBlock <= columns; i += kBlock) {
    float most[16];
    for (int j = 0; j < 16; ++j) most[j] = x[i + j];
    for (int b = 16; b < kBlock; b += 16)
      for (int j = 0; j < 16; ++j) most[j] = x[i + b + j] > most[j] ? x[i + b + j] : most[j];
    bool any = values[count - 1] != values[count - 1];
    for (int j = 0; j < 16; ++j)
      any |= !(most[j] <= values[count - 1]);  // also where a first one is no number
    if (!any) continue;
    for (int j = i; j < i + kBlock; ++j)
      if (before(x[j], j, values[count - 1], best[count - 1])) offer(j);
  }
  for (; i < columns; ++i) offer(i);
  for (int j = have; j < count; ++j) best[j] = -1, values[j] = std::numeric_limits<float>::quiet_NaN();
}

void append_kv(Context& on, const AppendKvArgs& a) noexcept {
  const int heads = static_cast<int>(a.q.extents[1]), hd = a.to.head_dim, rows = a.rows.rows();
  for_ranges(on, rows, 2.0 * rows * (heads + 3 * a.to.kv_heads) * hd, [&](int begin, int end, int) {
    int s = 0;
    for (int row = begin; row < end; ++row) {
      while (row >= a.rows.end(s)) ++s;
      const int64_t slot = int64_t{a.at.length[s]} + a.at.begun(s) + row - a.rows.begin(s);
      const float* turn = a.rotation.row<float>(a.positions.as<int32_t>()[row]);
      for (int h = 0; h < heads; ++h) rotate(a.q.row<float>(row) + h * a.q.strides[1], turn, hd);
      for (int h = 0; h < a.to.kv_heads; ++h) {
        float* k = a.k.row<float>(row) + h * a.k.strides[1];
        const float* v = a.v.row<float>(row) + h * a.v.strides[1];
        rotate(k, turn, hd);
        const int64_t head = head_at(a.to, a.at.sequence[s], h), key = head + key_at(a.to, slot);
        for (int64_t d = 0; d < hd; ++d) put(a.to, a.to.k, key + d * kCacheBlock, k[d]);
        for (int64_t d = 0; d < hd; ++d) put(a.to, a.to.v, head + slot * hd + d, v[d]);
      }
    }
  });
}

void compact_kv(Context& on, const CompactKvArgs& a) noexcept {
  const int rows = a.rows.rows();
  for_ranges(on, a.count, 100.0 * a.count * rows, [&](int begin, int end, int) {
    for (int layer = begin; layer < end; ++layer) {
      const KvCache& c = a.layers[layer];
      for (int s = 0; s < a.rows.batch; ++s)
        for (int i = a.rows.begin(s); i < a.rows.end(s); ++i) {
          const int64_t filled = a.at.length[s], from = filled + a.path.as<int32_t>()[i],
                        to = filled + i - a.rows.begin(s);
          if (from == to) continue;
          for (int h = 0; h < c.kv_heads; ++h) {
            const int64_t head = head_at(c, a.at.sequence[s], h);
            if (c.dtype == Dtype::f16)
              move_slot<uint16_t>(c, head, from, to);
            else
              move_slot<float>(c, head, from, to);
          }
        }
    }
  });
}

void longest_path(Context&, const LongestPathArgs& a) noexcept {
  const int32_t *parents = a.parents.as<int32_t>(), *tokens = a.tokens.as<int32_t>(),
                *choice = a.choice.as<int32_t>();
  for (int s = 0; s < a.rows.batch; ++s) {
    const int first = a.rows.begin(s), count = a.rows.length(s);
    int32_t* path = a.path.as<int32_t>() + first;
    int length = 0, at = 0;
    while (at >= 0 && at < count) {
      path[length++] = at;
      int next = -1;
      for (int i = at + 1; i < count && next < 0; ++i)
        if (parents[first + i] == at && tokens[first + i] == choice[first + at]) next = i;
      at = next;
    }
    a.lengths.as<int32_t>()[s] = length;
  }
}

}  // namespace hedgerow::cpu
