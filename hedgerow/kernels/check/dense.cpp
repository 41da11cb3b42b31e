// SPDX-License-Identifier: Apache-2.0
// The checked entry points of the ops on whole matrices: every op's shapes are looked at once, here, for all
// backends. Offsets and image sizes are checked too where they are in host memory; what index arrays hold is
// the caller's promise.
#include "hedgerow/kernels/check/check.h"

namespace hedgerow {

using namespace check;

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
    if (!gives || a.w->n % 64 || bytes_of(a.w->dtype) != 2 || a.act != Activation::none ||
        bytes_of(a.out.dtype) != 2) [[unlikely]]
      fail(kOp, "moments",
           "none, or 16-bit weights and out, no activation, n a multiple of 64, a backend that gives them",
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
  if (a.gamma || a.beta || !on.backend().fuses_norm) {
    need(kOp, "gamma", a.gamma, kF32, a.x.extents[1]);
    need(kOp, "beta", a.beta, kF32, a.x.extents[1]);
  }
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

}  // namespace hedgerow
