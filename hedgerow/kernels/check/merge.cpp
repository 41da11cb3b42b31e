// SPDX-License-Identifier: Apache-2.0
// Checked entry points: pairs and folding (ops/merge.h).
#include "hedgerow/kernels/check/check.h"

namespace hedgerow {

using namespace check;

void unit_row(Context& on, const UnitRowArgs& a) {
  constexpr const char* kOp = "unit_row";
  const Turn turn(on, Op::unit_row);
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, traits(on).rows, a.rows.row_capacity, kAny, a.x.rank > 2 ? kAny : kNone);
  need(kOp, "out", a.out, kF32, a.rows.row_capacity, a.x.extents[a.x.rank - 1]);
  on.backend().ops.unit_row(on, a);
}

void match(Context& on, const MatchArgs& a) {
  constexpr const char* kOp = "match";
  const Turn turn(on, Op::match);
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "unit", a.unit, kF32, a.rows.row_capacity, kAny);
  need(kOp, "role", a.role, kU8, a.rows.row_capacity);
  need(kOp, "best", a.best, kI32, a.rows.row_capacity);
  need(kOp, "similarity", a.similarity, kF32, a.rows.row_capacity);
  need_scratch(kOp, on, a.rows.max_len, a.unit.extents[1]);
  on.backend().ops.match(on, a);
}

void merge(Context& on, const MergeArgs& a) {
  constexpr const char* kOp = "merge";
  const Turn turn(on, Op::merge);
  need_ragged(kOp, on, "from", a.from);
  need_ragged(kOp, on, "to", a.to);
  need_same_batch(kOp, "to", a.from, a.to);
  need(kOp, "x", a.x, traits(on).residual, a.from.row_capacity, kAny);
  need(kOp, "size", a.size, kF32, a.from.row_capacity);
  need(kOp, "into", a.into, kI32, a.from.row_capacity);
  if (a.rule == MergeRule::plain_mean) need(kOp, "similarity", a.similarity, kF32, a.from.row_capacity);
  need(kOp, "kept", a.kept, kI32, a.to.row_capacity);
  need(kOp, "out", a.out, DtypeSet(a.x.dtype), a.to.row_capacity, a.x.extents[1]);
  need(kOp, "out_size", a.out_size, kF32, a.to.row_capacity);
  if (a.out.data == a.x.data || a.out_size.data == a.size.data) [[unlikely]]
    fail(kOp, "out", "memory of its own", "the input's");
  need_scratch(kOp, on, a.from.max_len > a.to.max_len ? a.from.max_len : a.to.max_len);
  on.backend().ops.merge(on, a);
}

void tome_roles(Context& on, const TomeRolesArgs& a) {
  constexpr const char* kOp = "tome_roles";
  const Turn turn(on, Op::tome_roles);
  need_ragged(kOp, on, "rows", a.rows);
  if (a.rows.batch > 0) need_pointer(kOp, "pairs", a.pairs);
  need_at_least(kOp, "special", 0, a.special);
  need(kOp, "role", a.role, kU8, a.rows.row_capacity);
  need(kOp, "source", a.source, kU8, a.rows.row_capacity);
  on.backend().ops.tome_roles(on, a);
}

void tome_order(Context& on, const TomeOrderArgs& a) {
  constexpr const char* kOp = "tome_order";
  const Turn turn(on, Op::tome_order);
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
  on.backend().ops.tome_order(on, a);
}

void survivor_roles(Context& on, const SurvivorRolesArgs& a) {
  constexpr const char* kOp = "survivor_roles";
  const Turn turn(on, Op::survivor_roles);
  need_ragged(kOp, on, "rows", a.rows);
  need_at_least(kOp, "special", 0, a.special);
  need(kOp, "survives_prune", a.survives_prune, kU8, a.rows.row_capacity);
  need(kOp, "survives_merge", a.survives_merge, kU8, a.rows.row_capacity);
  need(kOp, "role", a.role, kU8, a.rows.row_capacity);
  on.backend().ops.survivor_roles(on, a);
}

}  // namespace hedgerow
