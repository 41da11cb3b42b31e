// SPDX-License-Identifier: Apache-2.0
// Ragged attention: one (sequence, head) per call, straight from the rows of the fused projection.
//
// Keys are packed once, then blocks of about 12 queries run: scores into L1, softmax in place, weighted sum
// of values, one scaling at the end. Hidden keys are left out before anything is computed, so masked and
// compacted keys are the same computation - not a bit differs, and what a hidden row holds never matters.
#include "hedgerow/kernels/cpu/attention/pack.h"
#include "hedgerow/kernels/cpu/attention/softmax.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {
namespace {

constexpr float kLog2e = 1.44269504f;
#if defined(__AVX512BF16__)
constexpr bool kMultipliesBf16 = true;
#else
constexpr bool kMultipliesBf16 = false;
using PairDot = F32Dot;
#endif

// The row counts of a tile are compile-time constants: f<n>() for n = rows.
template <int n, class F>
HEDGEROW_INLINE void with_count(int rows, F&& f) {
  if constexpr (n > 1)
    if (rows < n) return with_count<n - 1>(rows, f);
  f.template operator()<n>();
}

constexpr int round_up(int n, int step) { return (n + step - 1) / step * step; }

// Odd in cache lines, so that the rows of a block spread over the sets of L1.
constexpr int64_t score_stride(int max_keys) { return (round_up(max_keys, 32) / 16 | 1) * int64_t{16}; }

// Floats in each part of the scratch.
struct Parts {
  int64_t live, bias, queries, scores, keys, values;
  HEDGEROW_INLINE Parts(int max_keys, int head_dim) {
    const int64_t padded = round_up(max_keys, 32);
    live = bias = padded;
    queries = int64_t{round_up(kScoreRows, 4)} * head_dim;
    scores = kScoreRows * score_stride(max_keys);
    keys = values = padded * head_dim;
  }
  HEDGEROW_INLINE int64_t total() const { return live + bias + queries + scores + keys + values; }
};

// Keys that are not hidden, in order; `all` when that is every one of them.
struct Live {
  int count;
  const int32_t* index;  // null: all
};

HEDGEROW_INLINE Live live_keys(const float* key_bias, int keys, int32_t* index, float* bias) {
  int count = 0;
  for (int j = 0; j < keys; ++j) {
    index[count] = j;
    bias[count] = key_bias[j] * kLog2e;
    count += key_bias[j] != -__builtin_inff();
  }
  return {count, count == keys ? nullptr : index};
}

// Columns of a row of values in tiles, rows in even groups.
template <class Dot>
void weighted_values(const float* p, int64_t stride, int rows, const float* v, int64_t v_stride, int steps,
                     int head_dim, const float* inverse, OutRows out) {
  const int groups = (rows + kValueRows - 1) / kValueRows;
  constexpr int kColumns =
      kValueColumns < 32 / kLanes ? kValueColumns : 32 / kLanes;  // head_dim is at least 32
  const bool wide = head_dim % (kValueColumns * kLanes) == 0;
  const int step = (wide ? kValueColumns : kColumns) * kLanes;
  for (int g = 0; g < groups; ++g) {
    const int r = rows * g / groups, n = rows * (g + 1) / groups - r;
    for (int d = 0; d < head_dim; d += step) {
      const OutRows at{out.data + r * out.stride + d * (out.bf16 ? 2 : 4), out.stride, out.bf16};
      with_count<kValueRows>(n, [&]<int count>() {
        if (wide)
          value_tile<Dot, count, kValueColumns>(p + r * stride, stride, v + d, v_stride, steps, inverse + r,
                                                at);
        else
          value_tile<Dot, count, kColumns>(p + r * stride, stride, v + d, v_stride, steps, inverse + r, at);
      });
    }
  }
}

// Scores of `rows` packed queries against all packed keys.
template <class Dot>
void scores(const float* q, const float* packed, int units, int keys, int span, int rows, float* s,
            int64_t stride) {
  const int blocks = span > 1 ? keys / kLanes : (keys + kLanes - 1) / kLanes;
  with_count<kScoreRows>(rows, [&]<int count>() {
#if defined(__AVX512F__)
    if (span > 1) {
      const int before = blocks / 2 * 2;  // an odd block shares the tail's tile
      score_blocks<Dot, count>(q, packed, units, before, s, stride);
      const float* rest = packed + static_cast<int64_t>(before) * units * kLanes;
      float* at = s + before * kLanes;
      if (before < blocks)
        span == 4 ? score_tail<Dot, count, 4, 1>(q, rest, units, at, stride)
                  : score_tail<Dot, count, 2, 1>(q, rest, units, at, stride);
      else
        span == 4 ? score_tail<Dot, count, 4, 0>(q, rest, units, at, stride)
                  : score_tail<Dot, count, 2, 0>(q, rest, units, at, stride);
      return;
    }
#endif
    score_blocks<Dot, count>(q, packed, units, blocks, s, stride);
  });
}

// The probabilities of the first query, as they multiply the values.
template <class Dot>
void put_first_row(const float* p, float inverse, Live live, const AttentionArgs& a, int sequence, int head) {
  const int begin = a.kv_rows.begin(sequence);
  for (int j = 0; j < live.count; ++j) {
    const float x = Dot::kPairs ? bf16_to_f32(reinterpret_cast<const uint16_t*>(p)[j]) : p[j];
    a.first_row.row<float>(begin + (live.index ? live.index[j] : j))[head] = x * inverse;
  }
}

template <class Dot>
void attend(const AttentionArgs& a, int sequence, int head, int part, int parts_of, float* scratch) {
  const int head_dim = static_cast<int>(a.q.extents[2]), units = Dot::kPairs ? head_dim / 2 : head_dim;
  const int queries = a.q_rows.length(sequence), all_keys = a.kv_rows.length(sequence);
  const int q_begin = a.q_rows.begin(sequence), kv_begin = a.kv_rows.begin(sequence);
  const auto rows_of = [&](const Tensor& t, int row, const int32_t* index) {
    const int64_t size = bytes_of(t.dtype);
    return HeadRows{t.as<char>() + (row * t.strides[0] + head * t.strides[1]) * size, t.strides[0] * size,
                    index, t.dtype == Dtype::bf16};
  };

  const Parts parts(all_keys, head_dim);
  float* bias = scratch + parts.live;
  float* q = bias + parts.bias;
  float* s = q + parts.queries;
  float* k = s + parts.scores;
  float* v = k + parts.keys;
  Live live{all_keys, nullptr};
  if (a.key_bias)
    live = live_keys(a.key_bias.as<float>() + kv_begin, all_keys, reinterpret_cast<int32_t*>(scratch), bias);

  const HeadRows out = rows_of(a.out, q_begin, nullptr);
  if (part == 0 && a.first_row && (live.index || queries == 0 || live.count == 0))
    for (int j = 0; j < all_keys; ++j) a.first_row.row<float>(kv_begin + j)[head] = 0;
  if (live.count == 0 && part == 0)
    for (int i = 0; i < queries; ++i)
      std::memset(const_cast<char*>(out.row(i)), 0, static_cast<size_t>(head_dim) * (out.bf16 ? 2 : 4));
  if (live.count == 0 || queries == 0) return;
  const int blocks = (queries + kScoreRows - 1) / kScoreRows;
  const int first_block = blocks * part / parts_of, last_block = blocks * (part + 1) / parts_of;
  if (first_block == last_block) return;

  // A short last block of keys is shared by 2 or 4 queries a vector.
  const int rest = live.count % kLanes;
  const int span = kQueryGroup == 1 || rest == 0 || rest > 8 ? 1 : rest > 4 ? 2 : 4;
  const int whole = span == 1 ? live.count : live.count - rest;
  const HeadRows k_rows = rows_of(a.kv.k, kv_begin, live.index),
                 v_rows = rows_of(a.kv.v, kv_begin, live.index);
  pack_keys<Dot>(k_rows, 0, whole, units, 1, k);
  if (span > 1) pack_keys<Dot>(k_rows, whole, rest, units, span, k + static_cast<int64_t>(whole) * units);

  const float* values = v;
  int64_t v_stride = head_dim;
  // f32 rows that are read by few blocks stay where they are; many reads pay for packing rows that lie far
  // apart.
  if (Dot::kPairs || v_rows.bf16 || live.index || queries >= 64)
    pack_values<Dot>(v_rows, live.count, head_dim, v);
  else
    values = reinterpret_cast<const float*>(v_rows.data), v_stride = v_rows.stride / 4;

  const HeadRows q_rows =
      a.q_index ? rows_of(a.q, 0, a.q_index.as<int32_t>() + q_begin) : rows_of(a.q, q_begin, nullptr);
  const int64_t stride = score_stride(live.count);
  const float c = a.scale * kLog2e;
  const int steps = Dot::kPairs ? (live.count + 1) / 2 : live.count;
  for (int b = first_block; b < last_block; ++b) {
    const int i = static_cast<int>(int64_t{queries} * b / blocks);
    const int rows = static_cast<int>(int64_t{queries} * (b + 1) / blocks) - i;
    alignas(64) float inverse[16];
    pack_queries<Dot>(q_rows, i, rows, units, q);
    for (int r = i + rows; r < queries && r < i + 2 * rows; ++r)
      for (int64_t at = 0; at < head_dim * bytes_of(a.q.dtype); at += 64)
        __builtin_prefetch(q_rows.row(r) + at);
    scores<Dot>(q, k, units, live.count, span, rows, s, stride);
    if (a.key_bias || c < 0) {
      if (!a.key_bias) std::memset(bias, 0, static_cast<size_t>(round_up(live.count, 32)) * 4);
      softmax_rows<Dot, true>(s, stride, rows, live.count, bias, c, inverse);
    } else {
      softmax_rows<Dot, false>(s, stride, rows, live.count, nullptr, c, inverse);
    }
    if (b == 0 && a.first_row) put_first_row<Dot>(s, inverse[0], live, a, sequence, head);
    weighted_values<Dot>(s, stride, rows, values, v_stride, steps, head_dim, inverse,
                         {const_cast<char*>(out.row(i)), out.stride, out.bf16});
  }
}

void attention(const AttentionArgs& a, int sequence, int head, int part, int parts, void* scratch) {
  float* floats = static_cast<float*>(scratch);
  by_type(a.q.dtype, [&]<class T>() {
    constexpr bool kPairs = kMultipliesBf16 && sizeof(T) == 2;
    attend<std::conditional_t<kPairs, PairDot, F32Dot>>(a, sequence, head, part, parts, floats);
  });
}

size_t attention_scratch_bytes(int max_len, int head_dim) {
  return static_cast<size_t>(Parts(max_len, head_dim).total()) * sizeof(float);
}

}  // namespace
}  // namespace hedgerow::cpu::HEDGEROW_LEVEL

namespace hedgerow::cpu {

void HEDGEROW_FILL(attention)(Level& level) {
  level.attention = HEDGEROW_LEVEL::attention;
  level.multiplies_bf16 = HEDGEROW_LEVEL::kMultipliesBf16;
  level.attention_scratch_bytes = HEDGEROW_LEVEL::attention_scratch_bytes;
}

}  // namespace hedgerow::cpu
