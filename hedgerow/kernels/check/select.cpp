// SPDX-License-Identifier: Apache-2.0
// Checked entry points: scores and choice (ops/select.h).
#include "hedgerow/kernels/check/check.h"

namespace hedgerow {

using namespace check;

void row_norm(Context& on, const RowNormArgs& a) {
  constexpr const char* kOp = "row_norm";
  const Turn turn(on, Op::row_norm);
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, traits(on).rows, a.rows.row_capacity, kAny, a.x.rank > 2 ? kAny : kNone);
  need(kOp, "out", a.out, kF32, a.rows.row_capacity);
  on.backend().ops.row_norm(on, a);
}

void head_score(Context& on, const HeadScoreArgs& a) {
  constexpr const char* kOp = "head_score";
  const Turn turn(on, Op::head_score);
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "probs", a.probs, kF32, a.rows.row_capacity, kAny);
  need_if_given(kOp, "weight", a.weight, kF32, a.rows.row_capacity);
  need(kOp, "out", a.out, kF32, a.rows.row_capacity);
  on.backend().ops.head_score(on, a);
}

void global_half(Context& on, const GlobalHalfArgs& a) {
  constexpr const char* kOp = "global_half";
  const Turn turn(on, Op::global_half);
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, traits(on).rows, a.rows.row_capacity, kAny);
  need_if_given(kOp, "alive", a.alive, kU8, a.rows.row_capacity);
  need_at_least(kOp, "special", 0, a.special);
  on.backend().ops.global_half(on, a);
}

void keep_log_prob(Context& on, const KeepLogProbArgs& a) {
  constexpr const char* kOp = "keep_log_prob";
  const Turn turn(on, Op::keep_log_prob);
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, kF32, a.rows.row_capacity, 2);
  need(kOp, "out", a.out, kF32, a.rows.row_capacity);
  on.backend().ops.keep_log_prob(on, a);
}

void select(Context& on, const SelectArgs& a) {
  constexpr const char* kOp = "select";
  const Turn turn(on, Op::select);
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
  if (a.rows.max_len > traits(on).most_select_len) [[unlikely]]
    fail(kOp, "rows", "sequences of at most " + std::to_string(traits(on).most_select_len) + " rows",
         std::to_string(a.rows.max_len));
  need_scratch(kOp, on, a.rows.max_len);
  on.backend().ops.select(on, a);
}

void fuse_dropped(Context& on, const FuseDroppedArgs& a) {
  constexpr const char* kOp = "fuse_dropped";
  const Turn turn(on, Op::fuse_dropped);
  need_ragged(kOp, on, "from", a.from);
  need_ragged(kOp, on, "to", a.to);
  need_same_batch(kOp, "to", a.from, a.to);
  need(kOp, "x", a.x, traits(on).residual, a.from.row_capacity, kAny);
  need(kOp, "score", a.score, kF32, a.from.row_capacity);
  need_if_given(kOp, "alive", a.alive, kU8, a.from.row_capacity);
  need_at_least(kOp, "special", 0, a.special);
  need(kOp, "kept", a.kept, kI32, a.to.row_capacity);
  need(kOp, "out", a.out, DtypeSet(a.x.dtype), a.to.row_capacity, a.x.extents[1]);
  on.backend().ops.fuse_dropped(on, a);
}

}  // namespace hedgerow
