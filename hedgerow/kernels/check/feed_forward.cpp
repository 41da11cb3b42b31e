// SPDX-License-Identifier: Apache-2.0
// Checked entry points: a block's feed-forward half (ops/feed_forward.h).
#include "hedgerow/kernels/check/check.h"

namespace hedgerow {

using namespace check;

void mlp(Context& on, const MlpArgs& a) {
  constexpr const char* kOp = "mlp";
  const Turn turn(on, Op::mlp);
  for (const PackedLinear* w : {a.w1, a.w2}) {
    need_pointer(kOp, "w1 and w2", w);
    if (w->owner != &on.backend()) [[unlikely]]
      fail(kOp, "w1 and w2", std::string("weights packed by ") + on.backend().name,
           w->owner ? w->owner->name : "none");
  }
  const int dim = a.w1->k, hidden = a.w1->n;
  if (a.w2->n != dim || a.w2->k != hidden || a.w2->dtype != a.w1->dtype || a.w1->dtype == Dtype::f32)
      [[unlikely]]
    fail(kOp, "w2", "16-bit weights [" + std::to_string(dim) + ", " + std::to_string(hidden) + "] like w1's",
         std::string(name_of(a.w2->dtype)) + " [" + std::to_string(a.w2->n) + ", " + std::to_string(a.w2->k) +
             "]");
  need_ragged(kOp, on, "rows", a.rows);
  const auto fuses = on.backend().fuses_mlp;
  if (!fuses || !fuses(a.rows.expected_rows(), dim, hidden)) [[unlikely]]
    fail(kOp, "w1", std::string("a shape that ") + on.backend().name + " fuses",
         std::to_string(dim) + " and " + std::to_string(hidden) + " hidden columns");
  if (on.sums() == Sums::fixed) [[unlikely]]
    fail(kOp, "context", "one that may cut up rows by their number", "one whose sums are fixed");
  if (a.act == Activation::none) [[unlikely]]
    fail(kOp, "act", "gelu_erf or gelu_tanh", "none");
  need(kOp, "norm_gamma", a.norm_gamma, kF32, dim);
  need(kOp, "norm_beta", a.norm_beta, kF32, dim);
  need(kOp, "x", a.x, DtypeSet(a.w1->dtype) | kF32, a.rows.row_capacity, dim);
  need(kOp, "out", a.out, DtypeSet(a.x.dtype), a.rows.row_capacity, dim);
  on.backend().ops.mlp(on, a);
}

}  // namespace hedgerow
