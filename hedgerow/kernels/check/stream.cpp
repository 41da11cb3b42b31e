// SPDX-License-Identifier: Apache-2.0
// Checked entry points: norm and product together, products into residual rows, feed-forward halves
// (ops/stream.h).
#include "hedgerow/kernels/between.h"
#include "hedgerow/kernels/check/check.h"

namespace hedgerow {

using namespace check;

namespace {

void need_weights(const char* op, const char* field, const Context& on, const PackedLinear* w) {
  need_pointer(op, field, w);
  if (w->owner != &on.backend()) [[unlikely]]
    fail(op, field, std::string("weights packed by ") + on.backend().name,
         w->owner ? w->owner->name : "none");
}

// `dtypes`: those of the residual stream that the products at hand may read or add to.
void need_stream(const char* op, const char* field, DtypeSet dtypes, const Stream& x, int64_t rows,
                 int64_t dim) {
  need(op, field, x.x, dtypes, rows, dim);
  if (x.moments) need(op, "moments", x.moments, kF32, rows, dim / 64 * 2);
}

}  // namespace

void norm_linear(Context& on, const NormLinearArgs& a) {
  constexpr const char* kOp = "norm_linear";
  const Turn turn(on, Op::norm_linear);
  need_pointer(kOp, "w", a.w);
  need_weights(kOp, "w", on, &a.w->w);
  need_ragged(kOp, on, "rows", a.rows);
  need_if_given(kOp, "index", a.index, kI32, a.rows.row_capacity);
  need_stream(kOp, "x", traits(on).residual, a.x, a.index ? 0 : a.rows.row_capacity, a.w->w.k);
  const DtypeSet outs = a.w->w.band_count ? kF32 : stored(on, a.w->w.dtype) & traits(on).rows;
  need(kOp, "out", a.out, outs, a.rows.row_capacity, need_act(kOp, a.w->w, a.act));
  if (a.also) {
    need_weights(kOp, "also", on, &a.also->w);
    if (a.also->w.k != a.w->w.k || a.also->w.dtype != a.w->w.dtype || a.also->folded != a.w->folded ||
        a.index) [[unlikely]]
      fail(kOp, "also", "weights of as many columns, packed like w, and no index", "others");
    need(kOp, "also_out", a.also_out, outs, a.rows.row_capacity, a.also->w.n);
  }
  need_workspace(kOp, a.between, workspace_bytes(a.rows.row_capacity, *a.w, nullptr));
  need_scratch(kOp, on, 0);
  on.backend().ops.norm_linear(on, a);
}

void residual_linear(Context& on, const ResidualLinearArgs& a) {
  constexpr const char* kOp = "residual_linear";
  const Turn turn(on, Op::residual_linear);
  need_weights(kOp, "w", on, a.w);
  need_pointer(kOp, "to", a.to);
  if (is_quantised(a.w->dtype)) [[unlikely]]
    fail(kOp, "w", "weights of 16 or 32 bits", name_of(a.w->dtype));
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, DtypeSet(a.w->dtype), a.rows.row_capacity, a.w->k);
  const DtypeSet sums = stored(on, a.w->dtype) & traits(on).residual;
  need(kOp, "residual", a.residual, sums, a.rows.row_capacity, a.w->n);
  need_stream(kOp, "to", sums, *a.to, a.rows.row_capacity, a.w->n);
  need_workspace(kOp, a.between, linear_workspace_bytes(a.rows.row_capacity, *a.w));
  need_scratch(kOp, on, 0);
  on.backend().ops.residual_linear(on, a);
}

void feed_forward(Context& on, const FeedForwardArgs& a) {
  constexpr const char* kOp = "feed_forward";
  const Turn turn(on, Op::feed_forward);
  need_pointer(kOp, "x", a.x);
  need_pointer(kOp, "w1", a.w1);
  need_weights(kOp, "w1", on, &a.w1->w);
  need_weights(kOp, "w2", on, a.w2);
  const int dim = a.w1->w.k, hidden = need_act(kOp, a.w1->w, a.act);
  if (a.w2->n != dim || a.w2->k != hidden) [[unlikely]]
    fail(kOp, "w2", "[" + std::to_string(dim) + ", " + std::to_string(hidden) + "]",
         "[" + std::to_string(a.w2->n) + ", " + std::to_string(a.w2->k) + "]");
  if (a.w2->dtype == Dtype::i8) [[unlikely]]
    fail(kOp, "w2", "weights that take rows without a scale of their own", name_of(a.w2->dtype));
  const DtypeSet hiddens = stored(on, a.w1->w.dtype);
  if (!hiddens.has(a.w2->dtype) && !(is_quantised(a.w1->w.dtype) && a.w2->dtype == Dtype::e4m3)) [[unlikely]]
    fail(kOp, "w2", "weights of " + text_of(hiddens) + ", which products of w1 may store",
         name_of(a.w2->dtype));
  need_ragged(kOp, on, "rows", a.rows);
  need_stream(kOp, "x", stored(on, a.w2->dtype) & traits(on).residual, *a.x, a.rows.row_capacity, dim);
  need_workspace(kOp, a.between, workspace_bytes(a.rows.row_capacity, *a.w1, a.w2));
  need_scratch(kOp, on, 0);
  on.backend().ops.feed_forward(on, a);
}

}  // namespace hedgerow
