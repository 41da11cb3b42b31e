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

PackedLinear pack_quant(const Backend& on, const std::vector<QuantSource>& parts, const float* bias,
                        RowsOf rows_of) {
  constexpr const char* kOp = "pack_quant";
  if (!on.traits().codes) fail(kOp, "backend", "one that takes weights of codes", on.name);
  if (parts.empty() || parts.size() > kMostBands)
    fail(kOp, "parts", "1 to " + std::to_string(kMostBands), std::to_string(parts.size()));
  constexpr int kMost = 1 << 24;
  for (const QuantSource& s : parts) {
    const Quant& q = s.quant;
    if (s.n < 1 || s.k < 1 || s.n > kMost || s.k > kMost || s.k != parts[0].k)
      fail(kOp, "[n, k]", "1 to 16777216 each, k alike", std::to_string(s.n) + " x " + std::to_string(s.k));
    const bool k_quant = q.scales == Scales::k4 || q.scales == Scales::k6;
    const bool values = q.bits == 0 && q.scales == Scales::none &&
                        DtypeSet{Dtype::f32, Dtype::bf16, Dtype::f16}.has(q.values);
    const bool codes = (q.bits == 4 || q.bits == 5 || q.bits == 8) && q.group >= 32 &&
                       (q.group % 256 == 0 || 256 % q.group == 0) && q.scales != Scales::none &&
                       q.scales != Scales::k6 && (q.scales != Scales::k4 || (q.group == 32 && q.bits < 8)) &&
                       (q.zero == 0 || q.scales == Scales::f16 || q.scales == Scales::f16_zero);
    const bool six = q.bits == 6 && q.scales == Scales::k6 && q.group == 16;
    if (!values && !codes && !six)
      fail(kOp, "quant",
           "values, or codes of 4, 5, 6 or 8 bits in groups that divide 256 or that 256 divides, with a zero "
           "or a minimum",
           std::to_string(q.bits) + " bits in groups of " + std::to_string(q.group));
    if (k_quant && s.k % kQuantBlock) fail(kOp, "k", "a multiple of 256", std::to_string(s.k));
    if (!s.order.empty() && values) fail(kOp, "order", "codes, which alone have one", "values");
    if (!s.order.empty() && static_cast<int>(s.order.size()) != s.k)
      fail(kOp, "order", std::to_string(s.k) + " columns", std::to_string(s.order.size()));
    for (const int32_t c : s.order)
      if (c < 0 || c >= s.k) fail(kOp, "order", "columns of x", std::to_string(c));
    if (!s.read) fail(kOp, "read", "a function", "none");
  }
  PackedLinear packed = on.pack_quant(parts.data(), static_cast<int>(parts.size()), bias, rows_of);
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
  const int outputs = need_act(kOp, *a.w, a.act);
  need_if_given(kOp, "residual", a.residual, stores & traits(on).residual, a.rows.row_capacity, outputs);
  if (a.w->dtype == Dtype::i8) need(kOp, "x_scales", a.x_scales, kF32, a.rows.row_capacity);
  const bool e4m3 = is_quantised(a.w->dtype) && !a.residual;  // for a product of 8 bits behind this one
  const DtypeSet outs = a.w->band_count ? kF32
                        : e4m3          ? stores | DtypeSet(Dtype::e4m3)
                                        : stores & traits(on).rows;
  need(kOp, "out", a.out, outs, a.rows.row_capacity, outputs);
  need_workspace(kOp, a.between, linear_workspace_bytes(a.rows.row_capacity, *a.w));
  need_scratch(kOp, on, 0);
  on.backend().ops.linear(on, a);
}

}  // namespace hedgerow
