// SPDX-License-Identifier: Apache-2.0
// Checked entry points: products (ops/linear.h).
#include "hedgerow/kernels/check/check.h"

namespace hedgerow {

using namespace check;

PackedLinear pack_linear(const Backend& on, const float* w, const float* bias, int n, int k, Dtype dtype) {
  need_pointer("pack_linear", "w", w);
  constexpr int kMost = 1 << 24;
  if (n < 1 || k < 1 || n > kMost || k > kMost || static_cast<int64_t>(n) * k > INT_MAX)
    fail("pack_linear", "[n, k]", "1 to 16777216 each and fewer than 2^31 in all",
         std::to_string(n) + " x " + std::to_string(k));
  if (!on.traits().weights.has(dtype))
    fail("pack_linear", "dtype", text_of(on.traits().weights), name_of(dtype));
  if (is_quantised(dtype) && (n % 16 || k % 16))
    fail("pack_linear", "[n, k] of 8 bits", "multiples of 16", std::to_string(n) + " x " + std::to_string(k));
  PackedLinear packed = on.pack_linear(w, bias, n, k, dtype);
  packed.owner = &on;
  return packed;
}

void linear(Context& on, const LinearArgs& a) {
  constexpr const char* kOp = "linear";
  const Turn turn(on, Op::linear);
  need_pointer(kOp, "w", a.w);
  if (a.w->owner != &on.backend()) [[unlikely]]
    fail(kOp, "w", std::string("weights packed by ") + on.backend().name,
         a.w->owner ? a.w->owner->name : "none");
  need_ragged(kOp, on, "rows", a.rows);
  need(kOp, "x", a.x, DtypeSet(a.w->dtype), a.rows.row_capacity, a.w->k);
  const DtypeSet stores = stored(on, a.w->dtype);
  need_if_given(kOp, "residual", a.residual, stores & traits(on).residual, a.rows.row_capacity, a.w->n);
  if (a.w->dtype == Dtype::i8) need(kOp, "x_scales", a.x_scales, kF32, a.rows.row_capacity);
  const bool e4m3 = is_quantised(a.w->dtype) && !a.residual;  // for a product of 8 bits behind this one
  need(kOp, "out", a.out, e4m3 ? stores | DtypeSet(Dtype::e4m3) : stores & traits(on).rows,
       a.rows.row_capacity, a.w->n);
  need_scratch(kOp, on, 0);
  on.backend().ops.linear(on, a);
}

}  // namespace hedgerow
