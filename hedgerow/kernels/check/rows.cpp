// SPDX-License-Identifier: Apache-2.0
// Checked entry points: making, moving and marking rows (ops/rows.h).
#include "hedgerow/kernels/check/check.h"

namespace hedgerow {

using namespace check;

void patchify(Context& on, const PatchifyArgs& a) {
  constexpr const char* kOp = "patchify";
  const Turn turn(on, Op::patchify);
  need_ragged(kOp, on, "rows", a.rows);
  if (a.patch < 1 || a.patch > 1024) [[unlikely]]
    fail(kOp, "patch", "1 to 1024", std::to_string(a.patch));
  need_at_least(kOp, "special", 0, a.special);
  need(kOp, "out", a.out, traits(on).rows, a.rows.row_capacity, int64_t{3} * a.patch * a.patch);
  if (a.rows.batch > 0) {
    need_pointer(kOp, "images", a.images);
    need_pointer(kOp, "heights", a.heights);
    need_pointer(kOp, "widths", a.widths);
  }
  for (int i = 0; i < a.rows.batch && on.backend().host; ++i) {
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
  on.backend().ops.patchify(on, a);
}

void gather(Context& on, const GatherArgs& a) {
  constexpr const char* kOp = "gather";
  const Turn turn(on, Op::gather);
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, traits(on).rows | traits(on).residual | kI32, 0, a.x.rank > 1 ? kAny : kNone,
       a.x.rank > 2 ? kAny : kNone);
  need(kOp, "index", a.index, kI32, a.rows.row_capacity);
  need(kOp, "out", a.out, DtypeSet(a.x.dtype), a.rows.row_capacity, inner(a.x, 1), inner(a.x, 2));
  on.backend().ops.gather(on, a);
}

void scatter(Context& on, const ScatterArgs& a) {
  constexpr const char* kOp = "scatter";
  const Turn turn(on, Op::scatter);
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, traits(on).rows | traits(on).residual | kI32, a.rows.row_capacity,
       a.x.rank > 1 ? kAny : kNone, a.x.rank > 2 ? kAny : kNone);
  need(kOp, "index", a.index, kI32, a.rows.row_capacity);
  need(kOp, "out", a.out, DtypeSet(a.x.dtype), 0, inner(a.x, 1), inner(a.x, 2));
  on.backend().ops.scatter(on, a);
}

void lead_rows(Context& on, const LeadRowsArgs& a) {
  constexpr const char* kOp = "lead_rows";
  const Turn turn(on, Op::lead_rows);
  need_ragged(kOp, on, "rows", a.rows);
  need_at_least(kOp, "special", 1, a.special);
  need(kOp, "index", a.index, kI32, static_cast<int64_t>(a.rows.batch) * a.special);
  on.backend().ops.lead_rows(on, a);
}

void key_bias(Context& on, const KeyBiasArgs& a) {
  constexpr const char* kOp = "key_bias";
  const Turn turn(on, Op::key_bias);
  need_ragged(kOp, on, "rows", a.rows);
  need_if_given(kOp, "size", a.size, kF32, a.rows.row_capacity);
  need_if_given(kOp, "alive", a.alive, kU8, a.rows.row_capacity);
  need(kOp, "out", a.out, kF32, a.rows.row_capacity);
  on.backend().ops.key_bias(on, a);
}

}  // namespace hedgerow
