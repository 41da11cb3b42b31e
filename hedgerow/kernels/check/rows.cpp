// SPDX-License-Identifier: Apache-2.0
// The checked entry points of the ops on single rows: every op's shapes are looked at once, here, for all
// backends. Offsets and image sizes are checked too where they are in host memory; what index arrays hold is
// the caller's promise.
#include "hedgerow/kernels/check/check.h"

namespace hedgerow {

using namespace check;

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
