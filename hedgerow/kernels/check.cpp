// SPDX-License-Identifier: Apache-2.0
// The checked entry points: every op's shapes are looked at once, here, for all backends.
//
// A passing check is a handful of compares: messages are put together on the failing path only. Offsets and
// image sizes are checked too where they are in host memory; what index arrays hold is the caller's promise.
#include <climits>
#include <string>

#include "hedgerow/core/error.h"
#include "hedgerow/kernels/kernels.h"

namespace hedgerow {
namespace {

constexpr unsigned bit(Dtype d) { return 1u << static_cast<unsigned>(d); }
constexpr unsigned kE4m3 = bit(Dtype::e4m3), kI8 = bit(Dtype::i8);
constexpr unsigned kF32 = bit(Dtype::f32), kI32 = bit(Dtype::i32), kU8 = bit(Dtype::u8);
constexpr unsigned kAnyFloat = kF32 | bit(Dtype::bf16) | bit(Dtype::f16);
constexpr int64_t kAny = -1, kNone = -2;

// What matrices and activations may be on this table, and what residual rows may be.
unsigned floats(const Backend& on) { return on.narrow_stream ? kAnyFloat : kF32 | bit(Dtype::bf16); }
unsigned floats(const Context& on) { return floats(on.backend()); }
unsigned eight_bits(const Backend& on) { return takes(on, Dtype::e4m3) ? kE4m3 | kI8 : 0; }
unsigned stream(const Context& on) { return on.backend().narrow_stream ? kAnyFloat : kF32; }

std::string extent_of(int64_t e) { return e == kAny ? "*" : std::to_string(e); }

[[noreturn, gnu::cold, gnu::noinline]] void fail(const char* op, const char* field, const std::string& wanted,
                                                 const std::string& found) {
  throw Error(std::string(op) + ": " + field + ": wanted " + wanted + ", found " + found);
}

[[noreturn, gnu::cold, gnu::noinline]] void fail_tensor(const char* op, const char* field, const Tensor& t,
                                                        unsigned dtypes, int64_t rows, int64_t e1,
                                                        int64_t e2) {
  std::string wanted, found;
  for (Dtype d : {Dtype::f32, Dtype::bf16, Dtype::f16, Dtype::i32, Dtype::u8, Dtype::e4m3, Dtype::i8})
    if (dtypes & bit(d)) wanted += (wanted.empty() ? "" : "|") + std::string(name_of(d));
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
inline void need(const char* op, const char* field, const Tensor& t, unsigned dtypes, int64_t rows,
                 int64_t e1 = kNone, int64_t e2 = kNone) {
  const int rank = 1 + (e1 != kNone) + (e2 != kNone);
  const bool ok = t.data && (dtypes & bit(t.dtype)) && t.rank == rank && t.extents[0] >= rows &&
                  t.strides[rank - 1] == 1 && (e1 < 0 || t.extents[1] == e1) &&
                  (e2 < 0 || t.extents[2] == e2) && (rank < 2 || t.extents[1] > 0) &&
                  (rank < 3 || t.extents[2] > 0);
  if (!ok) [[unlikely]]
    fail_tensor(op, field, t, dtypes, rows, e1, e2);
}

inline void need_if_given(const char* op, const char* field, const Tensor& t, unsigned dtypes, int64_t rows,
                          int64_t e1 = kNone, int64_t e2 = kNone) {
  if (t) need(op, field, t, dtypes, rows, e1, e2);
}

inline void need_pointer(const char* op, const char* field, const void* p) {
  if (!p) [[unlikely]]
    fail(op, field, "an array", "none");
}

[[noreturn, gnu::cold, gnu::noinline]] void fail_ragged(const char* op, const char* field, const Ragged& r) {
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
  if (ok && !on.backend().device) {
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

inline void need_scratch(const char* op, const Context& on, int max_len, int heads, int head_dim) {
  const size_t bytes = on.backend().scratch_bytes(max_len, heads, head_dim);
  if (on.scratch_bytes() < bytes) [[unlikely]]
    fail(op, "scratch", "reserve_scratch of at least " + std::to_string(bytes) + " bytes",
         std::to_string(on.scratch_bytes()));
}

// For the ops that know no heads: what rows of `dim` channels need at the smallest head.
inline void need_scratch(const char* op, const Context& on, int max_len, int64_t dim = 0) {
  if (dim > 1 << 20) [[unlikely]]
    fail(op, "dim", "at most 1048576", std::to_string(dim));
  need_scratch(op, on, max_len, static_cast<int>((dim + 31) / 32), 32);
}

// A value per row of any rank: extents beyond the first must agree.
inline int64_t inner(const Tensor& t, int axis) { return t.rank > axis ? t.extents[axis] : kNone; }

}  // namespace

PackedLinear pack_linear(const Backend& on, const float* w, const float* bias, int n, int k, Dtype dtype) {
  need_pointer("pack_linear", "w", w);
  constexpr int kMost = 1 << 24;
  if (n < 1 || k < 1 || n > kMost || k > kMost || static_cast<int64_t>(n) * k > INT_MAX)
    fail("pack_linear", "[n, k]", "1 to 16777216 each and fewer than 2^31 in all",
         std::to_string(n) + " x " + std::to_string(k));
  if (!takes(on, dtype)) fail("pack_linear", "dtype", dtypes_of(on), name_of(dtype));
  if (bytes_of(dtype) == 1 && (n % 16 || k % 16))
    fail("pack_linear", "[n, k] of 8 bits", "multiples of 16", std::to_string(n) + " x " + std::to_string(k));
  PackedLinear packed = on.pack_linear(w, bias, n, k, dtype);
  packed.owner = &on;
  return packed;
}

void linear(Context& on, const LinearArgs& a) {
  constexpr const char* kOp = "linear";
  need_pointer(kOp, "w", a.w);
  if (a.w->owner != &on.backend()) [[unlikely]]
    fail(kOp, "w", std::string("weights packed by ") + on.backend().name,
         a.w->owner ? a.w->owner->name : "none");
  need_ragged(kOp, on, "rows", a.rows);
  if (a.norm_gamma || a.norm_beta || a.index || a.divided) {
    if (!on.backend().fuses_norm) [[unlikely]]
      fail(kOp, "norm", std::string("none and no index on ") + on.backend().name, "one or the other");
    need_if_given(kOp, "index", a.index, kI32, a.rows.row_capacity);
    if (a.norm_gamma || a.norm_beta) {
      need(kOp, "norm_gamma", a.norm_gamma, kF32, a.w->k);
      need(kOp, "norm_beta", a.norm_beta, kF32, a.w->k);
    }
    if (a.divided && (a.norm_gamma || a.index)) [[unlikely]]
      fail(kOp, "divided", "no norm_gamma and no index", "one or the other");
  }
  if (a.x_moments) {
    if (!a.divided) [[unlikely]]
      fail(kOp, "x_moments", "none unless divided", "some");
    need(kOp, "x_moments", a.x_moments, kF32, a.rows.row_capacity, a.w->k / 64 * 2);
  }
  if (a.moments) {
    const auto gives = on.backend().gives_moments;
    if (!gives || a.w->n % 64 || bytes_of(a.w->dtype) != 2 || a.act != Activation::none || bytes_of(a.out.dtype) != 2) [[unlikely]]
      fail(kOp, "moments", "none, or 16-bit weights and out, no activation, n a multiple of 64, a backend that gives them",
           std::string("otherwise on ") + on.backend().name);
    need(kOp, "moments", a.moments, kF32, a.rows.row_capacity, a.w->n / 64 * 2);
  }
  need(kOp, "x", a.x, bit(a.w->dtype) | (a.norm_gamma ? kF32 : 0), a.index ? 0 : a.rows.row_capacity, a.w->k);
  need_if_given(kOp, "residual", a.residual, stream(on), a.rows.row_capacity, a.w->n);
  if (bytes_of(a.w->dtype) == 1) {
    if (a.norm_gamma || a.norm_beta || a.index) [[unlikely]]
      fail(kOp, "norm", "none and no index with weights of 8 bits", "one or the other");
    need_if_given(kOp, "residual", a.residual, bit(Dtype::f16), a.rows.row_capacity, a.w->n);
    if (a.w->dtype == Dtype::i8) need(kOp, "x_units", a.x_units, kF32, a.rows.row_capacity);
  }
  const unsigned outs = bytes_of(a.w->dtype) > 1 ? floats(on) : bit(Dtype::f16) | (a.residual ? 0 : kE4m3);
  need(kOp, "out", a.out, outs, a.rows.row_capacity, a.w->n);
  need_scratch(kOp, on, 0);
  on.backend().linear(on, a);
}

void mlp(Context& on, const MlpArgs& a) {
  constexpr const char* kOp = "mlp";
  for (const PackedLinear* w : {a.w1, a.w2}) {
    need_pointer(kOp, "w1 and w2", w);
    if (w->owner != &on.backend()) [[unlikely]]
      fail(kOp, "w1 and w2", std::string("weights packed by ") + on.backend().name,
           w->owner ? w->owner->name : "none");
  }
  const int dim = a.w1->k, hidden = a.w1->n;
  if (a.w2->n != dim || a.w2->k != hidden || a.w2->dtype != a.w1->dtype || a.w1->dtype == Dtype::f32) [[unlikely]]
    fail(kOp, "w2", "16-bit weights [" + std::to_string(dim) + ", " + std::to_string(hidden) + "] like w1's",
         std::string(name_of(a.w2->dtype)) + " [" + std::to_string(a.w2->n) + ", " + std::to_string(a.w2->k) + "]");
  need_ragged(kOp, on, "rows", a.rows);
  const auto fuses = on.backend().fuses_mlp;
  if (!fuses || !fuses(a.rows.expected_rows(), dim, hidden)) [[unlikely]]
    fail(kOp, "w1", std::string("a shape that ") + on.backend().name + " fuses",
         std::to_string(dim) + " and " + std::to_string(hidden) + " hidden columns");
  if (on.batch_invariant()) [[unlikely]]
    fail(kOp, "context", "one that may cut up rows by their number", "a batch-invariant one");
  if (a.act == Activation::none) [[unlikely]]
    fail(kOp, "act", "gelu_erf or gelu_tanh", "none");
  need(kOp, "norm_gamma", a.norm_gamma, kF32, dim);
  need(kOp, "norm_beta", a.norm_beta, kF32, dim);
  need(kOp, "x", a.x, bit(a.w1->dtype) | kF32, a.rows.row_capacity, dim);
  need(kOp, "out", a.out, bit(a.x.dtype), a.rows.row_capacity, dim);
  on.backend().mlp(on, a);
}

void layer_norm(Context& on, const LayerNormArgs& a) {
  constexpr const char* kOp = "layer_norm";
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, stream(on), a.index ? 0 : a.rows.row_capacity, kAny);
  need_if_given(kOp, "index", a.index, kI32, a.rows.row_capacity);
  need(kOp, "gamma", a.gamma, kF32, a.x.extents[1]);
  need(kOp, "beta", a.beta, kF32, a.x.extents[1]);
  need(kOp, "out", a.out, floats(on) | eight_bits(on.backend()), a.rows.row_capacity, a.x.extents[1]);
  if (a.out.dtype == Dtype::i8) need(kOp, "out_units", a.out_units, kF32, a.rows.row_capacity);
  on.backend().layer_norm(on, a);
}

void attention(Context& on, const AttentionArgs& a) {
  constexpr const char* kOp = "attention";
  need_ragged(kOp, on, "q_rows", a.q_rows);
  need_ragged(kOp, on, "kv_rows", a.kv_rows);
  need_same_batch(kOp, "kv_rows", a.q_rows, a.kv_rows);
  need(kOp, "q", a.q, floats(on), a.q_index ? 0 : a.q_rows.row_capacity, kAny, kAny);
  const int64_t heads = a.q.extents[1], head_dim = a.q.extents[2];
  if (heads > 4096) [[unlikely]]
    fail(kOp, "heads", "at most 4096", std::to_string(heads));
  if (head_dim != 32 && head_dim != 64 && head_dim != 128) [[unlikely]]
    fail(kOp, "head_dim", "32, 64 or 128", std::to_string(head_dim));
  need(kOp, "k", a.kv.k, bit(a.q.dtype), a.kv_rows.row_capacity, heads, head_dim);
  need(kOp, "v", a.kv.v, bit(a.q.dtype), a.kv_rows.row_capacity, heads, head_dim);
  need_if_given(kOp, "q_index", a.q_index, kI32, a.q_rows.row_capacity);
  need_if_given(kOp, "key_bias", a.key_bias, kF32, a.kv_rows.row_capacity);
  need(kOp, "out", a.out, floats(on), a.q_rows.row_capacity, heads, head_dim);
  need_if_given(kOp, "first_row", a.first_row, kF32, a.kv_rows.row_capacity, heads);
  need_scratch(kOp, on, a.kv_rows.max_len, static_cast<int>(heads), static_cast<int>(head_dim));
  on.backend().attention(on, a);
}

void patchify(Context& on, const PatchifyArgs& a) {
  constexpr const char* kOp = "patchify";
  need_ragged(kOp, on, "rows", a.rows);
  if (a.patch < 1 || a.patch > 1024) [[unlikely]]
    fail(kOp, "patch", "1 to 1024", std::to_string(a.patch));
  need_at_least(kOp, "special", 0, a.special);
  need(kOp, "out", a.out, floats(on), a.rows.row_capacity, int64_t{3} * a.patch * a.patch);
  if (a.rows.batch > 0) {
    need_pointer(kOp, "images", a.images);
    need_pointer(kOp, "heights", a.heights);
    need_pointer(kOp, "widths", a.widths);
  }
  for (int i = 0; i < a.rows.batch && !on.backend().device; ++i) {
    const int h = a.heights[i], w = a.widths[i];
    need_pointer(kOp, "images", a.images[i]);
    if (h < 1 || w < 1 || h % a.patch || w % a.patch) [[unlikely]]
      fail(kOp, "image size", "multiples of " + std::to_string(a.patch),
           std::to_string(h) + " x " + std::to_string(w));
    const int64_t length = a.special + static_cast<int64_t>(h / a.patch) * (w / a.patch);
    if (length != a.rows.length(i)) [[unlikely]]
      fail(kOp, "rows", std::to_string(length) + " rows for image " + std::to_string(i),
           std::to_string(a.rows.length(i)));
  }
  on.backend().patchify(on, a);
}

void gather(Context& on, const GatherArgs& a) {
  constexpr const char* kOp = "gather";
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, stream(on) | kI32, 0, a.x.rank > 1 ? kAny : kNone, a.x.rank > 2 ? kAny : kNone);
  need(kOp, "index", a.index, kI32, a.rows.row_capacity);
  need(kOp, "out", a.out, bit(a.x.dtype), a.rows.row_capacity, inner(a.x, 1), inner(a.x, 2));
  on.backend().gather(on, a);
}

void scatter(Context& on, const ScatterArgs& a) {
  constexpr const char* kOp = "scatter";
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, stream(on) | kI32, a.rows.row_capacity, a.x.rank > 1 ? kAny : kNone,
       a.x.rank > 2 ? kAny : kNone);
  need(kOp, "index", a.index, kI32, a.rows.row_capacity);
  need(kOp, "out", a.out, bit(a.x.dtype), 0, inner(a.x, 1), inner(a.x, 2));
  on.backend().scatter(on, a);
}

void row_norm(Context& on, const RowNormArgs& a) {
  constexpr const char* kOp = "row_norm";
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, floats(on), a.rows.row_capacity, kAny, a.x.rank > 2 ? kAny : kNone);
  need(kOp, "out", a.out, kF32, a.rows.row_capacity);
  on.backend().row_norm(on, a);
}

void head_score(Context& on, const HeadScoreArgs& a) {
  constexpr const char* kOp = "head_score";
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "probs", a.probs, kF32, a.rows.row_capacity, kAny);
  need_if_given(kOp, "weight", a.weight, kF32, a.rows.row_capacity);
  need(kOp, "out", a.out, kF32, a.rows.row_capacity);
  on.backend().head_score(on, a);
}

void select(Context& on, const SelectArgs& a) {
  constexpr const char* kOp = "select";
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "score", a.score, kF32, a.rows.row_capacity);
  need_if_given(kOp, "alive", a.alive, kU8, a.rows.row_capacity);
  need_at_least(kOp, "special", 0, a.special);
  if (a.append != 0 && a.append != 1) [[unlikely]]
    fail(kOp, "append", "0 or 1", std::to_string(a.append));
  if (a.rows.batch > 0) {
    switch (a.mode) {
      case SelectMode::top_k:
        need_pointer(kOp, "count", a.count);
        break;
      case SelectMode::threshold:
        need_pointer(kOp, "threshold", a.threshold);
        break;
      case SelectMode::quantile:
      case SelectMode::mass:
        need_pointer(kOp, "mass", a.mass);
        break;
      case SelectMode::ats:
        need_pointer(kOp, "samples", a.samples);
        break;
      default:
        fail(kOp, "mode", "a SelectMode", std::to_string(static_cast<int>(a.mode)));
    }
  }
  if (a.special_competes && a.mode != SelectMode::top_k) [[unlikely]]
    fail(kOp, "special_competes", "mode top_k", "another mode");
  need(kOp, "kept", a.kept, kI32, a.rows.row_capacity);
  need_pointer(kOp, "kept_offsets", a.kept_offsets);
  if (a.kept_offsets == a.rows.offsets) [[unlikely]]
    fail(kOp, "kept_offsets", "an array of its own", "the offsets of rows");
  need_if_given(kOp, "alive_out", a.alive_out, kU8, a.rows.row_capacity);
  need_scratch(kOp, on, a.rows.max_len);
  on.backend().select(on, a);
}

void fuse_dropped(Context& on, const FuseDroppedArgs& a) {
  constexpr const char* kOp = "fuse_dropped";
  need_ragged(kOp, on, "from", a.from);
  need_ragged(kOp, on, "to", a.to);
  need_same_batch(kOp, "to", a.from, a.to);
  need(kOp, "x", a.x, stream(on), a.from.row_capacity, kAny);
  need(kOp, "score", a.score, kF32, a.from.row_capacity);
  need_if_given(kOp, "alive", a.alive, kU8, a.from.row_capacity);
  need_at_least(kOp, "special", 0, a.special);
  need(kOp, "kept", a.kept, kI32, a.to.row_capacity);
  need(kOp, "out", a.out, bit(a.x.dtype), a.to.row_capacity, a.x.extents[1]);
  on.backend().fuse_dropped(on, a);
}

void global_half(Context& on, const GlobalHalfArgs& a) {
  constexpr const char* kOp = "global_half";
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, floats(on), a.rows.row_capacity, kAny);
  need_if_given(kOp, "alive", a.alive, kU8, a.rows.row_capacity);
  need_at_least(kOp, "special", 0, a.special);
  on.backend().global_half(on, a);
}

void keep_log_prob(Context& on, const KeepLogProbArgs& a) {
  constexpr const char* kOp = "keep_log_prob";
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, kF32, a.rows.row_capacity, 2);
  need(kOp, "out", a.out, kF32, a.rows.row_capacity);
  on.backend().keep_log_prob(on, a);
}

void unit_row(Context& on, const UnitRowArgs& a) {
  constexpr const char* kOp = "unit_row";
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, floats(on), a.rows.row_capacity, kAny, a.x.rank > 2 ? kAny : kNone);
  need(kOp, "out", a.out, kF32, a.rows.row_capacity, a.x.extents[a.x.rank - 1]);
  on.backend().unit_row(on, a);
}

void match(Context& on, const MatchArgs& a) {
  constexpr const char* kOp = "match";
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "unit", a.unit, kF32, a.rows.row_capacity, kAny);
  need(kOp, "role", a.role, kU8, a.rows.row_capacity);
  need(kOp, "best", a.best, kI32, a.rows.row_capacity);
  need(kOp, "similarity", a.similarity, kF32, a.rows.row_capacity);
  need_scratch(kOp, on, a.rows.max_len, a.unit.extents[1]);
  on.backend().match(on, a);
}

void merge(Context& on, const MergeArgs& a) {
  constexpr const char* kOp = "merge";
  need_ragged(kOp, on, "from", a.from);
  need_ragged(kOp, on, "to", a.to);
  need_same_batch(kOp, "to", a.from, a.to);
  need(kOp, "x", a.x, stream(on), a.from.row_capacity, kAny);
  need(kOp, "size", a.size, kF32, a.from.row_capacity);
  need(kOp, "into", a.into, kI32, a.from.row_capacity);
  if (a.rule == MergeRule::plain_mean) need(kOp, "similarity", a.similarity, kF32, a.from.row_capacity);
  need(kOp, "kept", a.kept, kI32, a.to.row_capacity);
  need(kOp, "out", a.out, bit(a.x.dtype), a.to.row_capacity, a.x.extents[1]);
  need(kOp, "out_size", a.out_size, kF32, a.to.row_capacity);
  if (a.out.data == a.x.data || a.out_size.data == a.size.data) [[unlikely]]
    fail(kOp, "out", "memory of its own", "the input's");
  need_scratch(kOp, on, a.from.max_len > a.to.max_len ? a.from.max_len : a.to.max_len);
  on.backend().merge(on, a);
}

void lead_rows(Context& on, const LeadRowsArgs& a) {
  constexpr const char* kOp = "lead_rows";
  need_ragged(kOp, on, "rows", a.rows);
  need_at_least(kOp, "special", 1, a.special);
  need(kOp, "index", a.index, kI32, static_cast<int64_t>(a.rows.batch) * a.special);
  on.backend().lead_rows(on, a);
}

void key_bias(Context& on, const KeyBiasArgs& a) {
  constexpr const char* kOp = "key_bias";
  need_ragged(kOp, on, "rows", a.rows);
  need_if_given(kOp, "size", a.size, kF32, a.rows.row_capacity);
  need_if_given(kOp, "alive", a.alive, kU8, a.rows.row_capacity);
  need(kOp, "out", a.out, kF32, a.rows.row_capacity);
  on.backend().key_bias(on, a);
}

void tome_roles(Context& on, const TomeRolesArgs& a) {
  constexpr const char* kOp = "tome_roles";
  need_ragged(kOp, on, "rows", a.rows);
  if (a.rows.batch > 0) need_pointer(kOp, "pairs", a.pairs);
  need_at_least(kOp, "special", 0, a.special);
  need(kOp, "role", a.role, kU8, a.rows.row_capacity);
  need(kOp, "source", a.source, kU8, a.rows.row_capacity);
  on.backend().tome_roles(on, a);
}

void tome_order(Context& on, const TomeOrderArgs& a) {
  constexpr const char* kOp = "tome_order";
  need_ragged(kOp, on, "rows", a.rows);
  if (a.rows.batch > 0) need_pointer(kOp, "pairs", a.pairs);
  need_at_least(kOp, "special", 0, a.special);
  need(kOp, "role", a.role, kU8, a.rows.row_capacity);
  need(kOp, "merging", a.merging, kU8, a.rows.row_capacity);
  need(kOp, "best", a.best, kI32, a.rows.row_capacity);
  need(kOp, "into", a.into, kI32, a.rows.row_capacity);
  need(kOp, "kept", a.kept, kI32, a.rows.row_capacity);
  need_pointer(kOp, "kept_offsets", a.kept_offsets);
  if (a.kept_offsets == a.rows.offsets) [[unlikely]]
    fail(kOp, "kept_offsets", "an array of its own", "the offsets of rows");
  on.backend().tome_order(on, a);
}

void survivor_roles(Context& on, const SurvivorRolesArgs& a) {
  constexpr const char* kOp = "survivor_roles";
  need_ragged(kOp, on, "rows", a.rows);
  need_at_least(kOp, "special", 0, a.special);
  need(kOp, "survives_prune", a.survives_prune, kU8, a.rows.row_capacity);
  need(kOp, "survives_merge", a.survives_merge, kU8, a.rows.row_capacity);
  need(kOp, "role", a.role, kU8, a.rows.row_capacity);
  on.backend().survivor_roles(on, a);
}

}  // namespace hedgerow
