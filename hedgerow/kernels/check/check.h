// SPDX-License-Identifier: Apache-2.0
// What the checked entry points ask of shapes.
//
// A passing check is a handful of compares: messages are put together on the failing path only.
#pragma once

#include <climits>
#include <optional>
#include <string>

#include "hedgerow/core/error.h"
#include "hedgerow/kernels/kernels.h"

namespace hedgerow::check {

constexpr DtypeSet kF32 = Dtype::f32, kI32 = Dtype::i32, kU8 = Dtype::u8;
constexpr int64_t kAny = -1, kNone = -2;

inline const Traits& traits(const Context& on) { return on.backend().traits(); }

// What a product with weights of this dtype may store, and add to as a residual: of 8 bits f16.
inline DtypeSet stored(const Context& on, Dtype weights) {
  if (is_quantised(weights)) return Dtype::f16;
  const DtypeSet all = traits(on).rows | traits(on).residual;
  return traits(on).converts ? all : all & DtypeSet{Dtype::f32, weights};
}

inline std::string extent_of(int64_t e) { return e == kAny ? "*" : std::to_string(e); }

[[noreturn, gnu::cold, gnu::noinline]] inline void fail(const char* op, const char* field,
                                                        const std::string& wanted, const std::string& found) {
  throw Error(std::string(op) + ": " + field + ": wanted " + wanted + ", found " + found);
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_tensor(const char* op, const char* field,
                                                               const Tensor& t, DtypeSet dtypes, int64_t rows,
                                                               int64_t e1, int64_t e2) {
  std::string wanted, found;
  for (Dtype d : kAllDtypes)
    if (dtypes.has(d)) wanted += (wanted.empty() ? "" : "|") + std::string(name_of(d));
  wanted += " [at least " + std::to_string(rows);
  if (e1 != kNone) wanted += ", " + extent_of(e1);
  if (e2 != kNone) wanted += ", " + extent_of(e2);
  wanted += "] with a contiguous last axis";
  if (!t) fail(op, field, wanted, "none");
  found = std::string(name_of(t.dtype)) + " [";
  for (int i = 0; i < t.rank && i < 3; ++i) found += (i ? ", " : "") + std::to_string(t.extents[i]);
  found += "]";
  if (t.rank >= 1 && t.rank <= 3) found += " with strides ending in " + std::to_string(t.strides[t.rank - 1]);
  fail(op, field, wanted, found);
}

// `t` is given, has one of `dtypes`, the rank that e1 and e2 imply, these extents, and room for `rows` rows.
inline void need(const char* op, const char* field, const Tensor& t, DtypeSet dtypes, int64_t rows,
                 int64_t e1 = kNone, int64_t e2 = kNone) {
  const int rank = 1 + (e1 != kNone) + (e2 != kNone);
  const bool ok = t.data && dtypes.has(t.dtype) && t.rank == rank && t.extents[0] >= rows &&
                  t.strides[rank - 1] == 1 && (e1 < 0 || t.extents[1] == e1) &&
                  (e2 < 0 || t.extents[2] == e2) && (rank < 2 || t.extents[1] > 0) &&
                  (rank < 3 || t.extents[2] > 0);
  if (!ok) [[unlikely]]
    fail_tensor(op, field, t, dtypes, rows, e1, e2);
}

inline void need_if_given(const char* op, const char* field, const Tensor& t, DtypeSet dtypes, int64_t rows,
                          int64_t e1 = kNone, int64_t e2 = kNone) {
  if (t) need(op, field, t, dtypes, rows, e1, e2);
}

// What every entry starts with: the backend has the op, and, where it runs on the pool's threads, nobody else
// does.
class Turn {
 public:
  Turn(Context& on, Op op) {
    if (!has(on.backend(), op)) [[unlikely]]
      fail(name_of(op), "backend", "one that has this op", on.backend().name);
    if (on.backend().host) turn_.emplace(on.pool());
  }

 private:
  std::optional<Pool::Turn> turn_;
};

inline void need_pointer(const char* op, const char* field, const void* p) {
  if (!p) [[unlikely]]
    fail(op, field, "an array", "none");
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_ragged(const char* op, const char* field,
                                                               const Ragged& r) {
  if (!r.offsets) fail(op, field, "offsets", "none");
  if (r.batch < 0 || r.row_capacity < 0 || r.max_len < 0)
    fail(op, field, "batch, row_capacity and max_len of 0 or more",
         std::to_string(r.batch) + ", " + std::to_string(r.row_capacity) + ", " + std::to_string(r.max_len));
  if (r.offsets[0] != 0) fail(op, field, "offsets that start at 0", std::to_string(r.offsets[0]));
  for (int i = 0; i < r.batch; ++i) {
    const int64_t length = static_cast<int64_t>(r.offsets[i + 1]) - r.offsets[i];
    if (length < 0 || length > r.max_len)
      fail(op, field, "lengths of 0 to " + std::to_string(r.max_len) + " (max_len)",
           std::to_string(length) + " in sequence " + std::to_string(i));
  }
  fail(op, field, "at most " + std::to_string(r.row_capacity) + " rows (row_capacity)",
       std::to_string(r.rows()));
}

inline void need_ragged(const char* op, const Context& on, const char* field, const Ragged& r) {
  bool ok = r.offsets && r.batch >= 0 && r.max_len >= 0 && r.row_capacity >= 0;
  if (ok && on.backend().host) {
    unsigned bad = r.offsets[0] != 0;
    for (int i = 0; i < r.batch; ++i)  // as unsigned: a falling offset is a huge length
      bad |= static_cast<unsigned>(r.offsets[i + 1]) - static_cast<unsigned>(r.offsets[i]) >
             static_cast<unsigned>(r.max_len);
    // A sum of lengths that overflows int is negative here.
    ok = !bad && r.offsets[r.batch] >= 0 && r.offsets[r.batch] <= r.row_capacity;
  }
  if (!ok) [[unlikely]]
    fail_ragged(op, field, r);
}

// Both describe the same sequences.
inline void need_same_batch(const char* op, const char* field, const Ragged& a, const Ragged& b) {
  if (a.batch != b.batch) [[unlikely]]
    fail(op, field, std::to_string(a.batch) + " sequences", std::to_string(b.batch));
}

inline void need_at_least(const char* op, const char* field, int64_t least, int64_t value) {
  if (value < least) [[unlikely]]
    fail(op, field, "at least " + std::to_string(least), std::to_string(value));
}

inline void need_scratch_bytes(const char* op, const Context& on, size_t bytes) {
  if (on.scratch_bytes() < bytes) [[unlikely]]
    fail(op, "scratch", "reserve_scratch of at least " + std::to_string(bytes) + " bytes",
         std::to_string(on.scratch_bytes()));
}

inline void need_scratch(const char* op, const Context& on, int max_len, int heads, int head_dim) {
  need_scratch_bytes(op, on, on.backend().scratch_bytes(max_len, heads, head_dim));
}

// For the ops that know no heads: what rows of `dim` channels need at the smallest head.
inline void need_scratch(const char* op, const Context& on, int max_len, int64_t dim = 0) {
  if (dim > 1 << 20) [[unlikely]]
    fail(op, "dim", "at most 1048576", std::to_string(dim));
  need_scratch(op, on, max_len, static_cast<int>((dim + 31) / 32), 32);
}

inline void need_workspace(const char* op, const Workspace& between, size_t bytes) {
  if (bytes > 0 && (!between.data || between.bytes < bytes)) [[unlikely]]
    fail(op, "between", "a workspace of at least " + std::to_string(bytes) + " bytes",
         between.data ? std::to_string(between.bytes) : "none");
}

// The columns of what act makes of w's outputs.
inline int need_act(const char* op, const PackedLinear& w, Activation act) {
  if (act != Activation::silu_gated) {
    if (w.band_count && act != Activation::none) [[unlikely]]
      fail(op, "act", "none or silu_gated with weights of codes", "GELU");
    return w.n;
  }
  if (w.band_count != 2 || w.bands[0].n != w.bands[1].n) [[unlikely]]
    fail(op, "act", "weights of codes with two bands of one size for a gate", std::to_string(w.band_count));
  return w.n / 2;
}

// A value per row of any rank: extents beyond the first must agree.
inline int64_t inner(const Tensor& t, int axis) { return t.rank > axis ? t.extents[axis] : kNone; }

}  // namespace hedgerow::check
