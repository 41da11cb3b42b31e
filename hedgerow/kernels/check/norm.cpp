// SPDX-License-Identifier: Apache-2.0
// Checked entry points: layer norm (ops/norm.h).
#include "hedgerow/kernels/check/check.h"

namespace hedgerow {

using namespace check;

void layer_norm(Context& on, const LayerNormArgs& a) {
  constexpr const char* kOp = "layer_norm";
  const Turn turn(on, Op::layer_norm);
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, traits(on).residual, a.index ? 0 : a.rows.row_capacity, kAny);
  need_if_given(kOp, "index", a.index, kI32, a.rows.row_capacity);
  need(kOp, "gamma", a.gamma, kF32, a.x.extents[1]);
  if (a.kind == NormKind::rms && !traits(on).codes) [[unlikely]]
    fail(kOp, "kind", "a layer norm", "an RMS norm");
  if (a.kind == NormKind::layer) need(kOp, "beta", a.beta, kF32, a.x.extents[1]);
  need(kOp, "out", a.out, traits(on).rows | traits(on).weights, a.rows.row_capacity, a.x.extents[1]);
  if (a.out.dtype == Dtype::i8) need(kOp, "out_scales", a.out_scales, kF32, a.rows.row_capacity);
  on.backend().ops.layer_norm(on, a);
}

}  // namespace hedgerow
