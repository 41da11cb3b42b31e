// SPDX-License-Identifier: Apache-2.0
// Checked entry points: caches (ops/cache.h) and tokens (ops/text.h).
#include "hedgerow/kernels/check/check.h"

namespace hedgerow {

using namespace check;

namespace {

void need_cache(const char* op, const KvCache& c) {
  if (!c.k || !c.v || (c.dtype != Dtype::f16 && c.dtype != Dtype::f32) || c.kv_heads < 1 || c.head_dim < 1 ||
      c.sequences < 1 || c.slots < kCacheBlock || c.slots % kCacheBlock) [[unlikely]]
    fail(op, "cache", "f16 or f32 memory of at least one head and 16 slots, a multiple of 16",
         std::string(name_of(c.dtype)) + ", " + std::to_string(c.kv_heads) + " heads of " +
             std::to_string(c.head_dim) + ", " + std::to_string(c.slots) + " slots");
  if (c.head_dim % 2 || c.head_dim > 256) [[unlikely]]
    fail(op, "head_dim", "an even number, at most 256", std::to_string(c.head_dim));
}

// Where the host can see them: sequences exist, and there is room for the new rows.
void need_cached(const char* op, const Context& on, const KvCache& c, const Cached& at, const Ragged& rows) {
  need_pointer(op, "sequence", at.sequence);
  need_pointer(op, "length", at.length);
  if (!on.backend().host) return;
  for (int i = 0; i < rows.batch; ++i) {
    const int64_t s = at.sequence[i], filled = int64_t{at.length[i]} + at.begun(i);
    if (s < 0 || s >= c.sequences) [[unlikely]]
      fail(op, "sequence", "0 to " + std::to_string(c.sequences - 1), std::to_string(s));
    if (at.length[i] < 0 || at.begun(i) < 0 || filled + rows.length(i) > c.slots) [[unlikely]]
      fail(op, "length",
           "room for " + std::to_string(rows.length(i)) + " rows in " + std::to_string(c.slots) + " slots",
           std::to_string(filled) + " filled");
  }
}

// Where the host can see them: every row's value is in [0, end).
void need_below(const char* op, const Context& on, const char* field, const Tensor& values,
                const Ragged& rows, int64_t end) {
  if (!on.backend().host) return;
  for (int i = 0; i < rows.rows(); ++i)
    if (const int32_t v = values.as<int32_t>()[i]; v < 0 || v >= end) [[unlikely]]
      fail(op, field, "0 to " + std::to_string(end - 1), std::to_string(v));
}

}  // namespace

void append_kv(Context& on, const AppendKvArgs& a) {
  constexpr const char* kOp = "append_kv";
  const Turn turn(on, Op::append_kv);
  need_cache(kOp, a.to);
  need_ragged(kOp, on, "rows", a.rows);
  need_cached(kOp, on, a.to, a.at, a.rows);
  need(kOp, "q", a.q, kF32, a.rows.row_capacity, kAny, a.to.head_dim);
  need(kOp, "k", a.k, kF32, a.rows.row_capacity, a.to.kv_heads, a.to.head_dim);
  need(kOp, "v", a.v, kF32, a.rows.row_capacity, a.to.kv_heads, a.to.head_dim);
  need(kOp, "positions", a.positions, kI32, a.rows.row_capacity);
  need(kOp, "rotation", a.rotation, kF32, 1, a.to.head_dim);
  need_below(kOp, on, "positions", a.positions, a.rows, a.rotation.extents[0]);
  on.backend().ops.append_kv(on, a);
}

void cached_attention(Context& on, const CachedAttentionArgs& a) {
  constexpr const char* kOp = "cached_attention";
  const Turn turn(on, Op::cached_attention);
  need_cache(kOp, a.cache);
  need_ragged(kOp, on, "rows", a.rows);
  need_cached(kOp, on, a.cache, a.at, a.rows);
  need(kOp, "q", a.q, kF32, a.rows.row_capacity, kAny, a.cache.head_dim);
  if (a.q.extents[1] % a.cache.kv_heads) [[unlikely]]
    fail(kOp, "heads", "a multiple of " + std::to_string(a.cache.kv_heads), std::to_string(a.q.extents[1]));
  need(kOp, "out", a.out, kF32, a.rows.row_capacity, a.q.extents[1], a.cache.head_dim);
  if (a.visibility == Visibility::tree) {
    need(kOp, "ancestors", a.ancestors, kI32, a.rows.row_capacity, 2);
    if (a.rows.max_len > 64) [[unlikely]]
      fail(kOp, "rows", "at most 64 rows a tree", std::to_string(a.rows.max_len));
    if (on.backend().host)
      for (int s = 0; s < a.rows.batch; ++s)
        for (int i = a.rows.begin(s); i < a.rows.end(s); ++i) {
          const int own = a.at.begun(s) + i - a.rows.begin(s);
          if (own > 63) [[unlikely]]
            fail(kOp, "rows", "at most 64 rows a tree", std::to_string(own + 1));
          if (ancestors_of(a, i) >> own != 1) [[unlikely]]
            fail(kOp, "ancestors", "rows before, and its own", "another word in row " + std::to_string(own));
        }
  }
  need_scratch_bytes(kOp, on, on.backend().cache_scratch_bytes(a.cache.slots));
  on.backend().ops.cached_attention(on, a);
}

void compact_kv(Context& on, const CompactKvArgs& a) {
  constexpr const char* kOp = "compact_kv";
  const Turn turn(on, Op::compact_kv);
  need_pointer(kOp, "layers", a.layers);
  need_at_least(kOp, "count", 1, a.count);
  need_ragged(kOp, on, "rows", a.rows);
  for (int i = 0; i < a.count; ++i) {
    need_cache(kOp, a.layers[i]);
    need_cached(kOp, on, a.layers[i], a.at, a.rows);
  }
  need(kOp, "path", a.path, kI32, a.rows.row_capacity);
  if (on.backend().host)
    for (int s = 0; s < a.rows.batch; ++s)
      for (int i = a.rows.begin(s); i < a.rows.end(s); ++i) {
        const int32_t *path = a.path.as<int32_t>(), least = i - a.rows.begin(s);
        if (path[i] < least || a.at.length[s] + path[i] >= a.layers[0].slots ||
            (least > 0 && path[i] <= path[i - 1])) [[unlikely]]
          fail(kOp, "path", "ascending rows inside the cache", std::to_string(path[i]));
      }
  on.backend().ops.compact_kv(on, a);
}

void embed(Context& on, const EmbedArgs& a) {
  constexpr const char* kOp = "embed";
  const Turn turn(on, Op::embed);
  need_pointer(kOp, "w", a.w);
  if (a.w->owner != &on.backend() || a.w->band_count != 1 || a.w->bands[0].order) [[unlikely]]
    fail(kOp, "w", std::string("weights of codes or values in one band, packed by ") + on.backend().name,
         "others");
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "ids", a.ids, kI32, a.rows.row_capacity);
  need(kOp, "out", a.out, kF32, a.rows.row_capacity, a.w->k);
  need_below(kOp, on, "ids", a.ids, a.rows, a.w->n);
  on.backend().ops.embed(on, a);
}

void top_columns(Context& on, const TopColumnsArgs& a) {
  constexpr const char* kOp = "top_columns";
  constexpr int kMost = 256;
  const Turn turn(on, Op::top_columns);
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, kF32, a.rows.row_capacity, kAny);
  if (a.count < 1 || a.count > kMost) [[unlikely]]
    fail(kOp, "count", "1 to " + std::to_string(kMost), std::to_string(a.count));
  need(kOp, "columns", a.columns, kI32, a.rows.row_capacity, a.count);
  need_if_given(kOp, "values", a.values, kF32, a.rows.row_capacity, a.count);
  need_if_given(kOp, "log_sums", a.log_sums, kF32, a.rows.row_capacity);
  on.backend().ops.top_columns(on, a);
}

void longest_path(Context& on, const LongestPathArgs& a) {
  constexpr const char* kOp = "longest_path";
  const Turn turn(on, Op::longest_path);
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "parents", a.parents, kI32, a.rows.row_capacity);
  need(kOp, "tokens", a.tokens, kI32, a.rows.row_capacity);
  need(kOp, "choice", a.choice, kI32, a.rows.row_capacity);
  need(kOp, "path", a.path, kI32, a.rows.row_capacity);
  need(kOp, "lengths", a.lengths, kI32, a.rows.batch);
  on.backend().ops.longest_path(on, a);
}

}  // namespace hedgerow
