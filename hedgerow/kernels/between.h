// SPDX-License-Identifier: Apache-2.0
// How rows lie in a workspace between two products (ops/stream.h), and the ops of a block put together from
// single ones: what a backend does that fuses nothing.
#pragma once

#include "hedgerow/kernels/kernels.h"

namespace hedgerow {

// Rows for a product of `k` columns in `dtype`; int8 rows have their scales behind them. Whole lines of 256
// bytes.
inline size_t between_bytes(int rows, int k, Dtype dtype) {
  const auto lines = [](size_t bytes) { return (bytes + 255) / 256 * 256; };
  const size_t n = static_cast<size_t>(rows);
  return lines(n * static_cast<size_t>(k) * static_cast<size_t>(bytes_of(dtype))) +
         (dtype == Dtype::i8 ? lines(n * sizeof(float)) : 0);
}

struct BetweenRows {
  Tensor rows, scales;
};
// Rows that `w` is to multiply, at `at`.
inline BetweenRows between_rows(void* at, int rows, const PackedLinear& w) {
  const Tensor values =
      w.dtype == Dtype::e4m3 ? e4m3_view(at, w.row_scale, rows, w.k) : matrix_view(at, w.dtype, rows, w.k);
  if (w.dtype != Dtype::i8) return {values, {}};
  char* const behind =
      static_cast<char*>(at) + between_bytes(rows, w.k, w.dtype) - between_bytes(rows, 1, Dtype::f32);
  return {values, vector_view(behind, Dtype::f32, rows)};
}
// Hidden columns lie behind the normalised rows.
inline BetweenRows hidden_rows(const FeedForwardArgs& a) {
  const int rows = a.rows.row_capacity;
  return between_rows(static_cast<char*>(a.between.data) + between_bytes(rows, a.w1->w.k, a.w1->w.dtype),
                      rows, *a.w2);
}
// Rows on their way into codes lie behind all others: the last `bytes` of a workspace.
inline Workspace end_of(const Workspace& between, size_t bytes) {
  if (bytes == 0) return {};
  return {static_cast<char*>(between.data) + (between.bytes - bytes) / 256 * 256, bytes};
}
inline Tensor vector_in(const Buffer& b) {
  return vector_view(b.as(), Dtype::f32, static_cast<int64_t>(b.bytes() / sizeof(float)));
}

// norm, then product (and the second one). `norm` and `linear` queue LayerNormArgs and LinearArgs; a norm
// that is folded comes without gamma and beta.
template <class Norm, class Linear>
void norm_then_linear(const NormLinearArgs& a, Norm&& norm, Linear&& linear) {
  const BetweenRows normed = between_rows(a.between.data, a.rows.row_capacity, a.w->w);
  norm(LayerNormArgs{.x = a.x.x,
                     .index = a.index,
                     .gamma = a.w->folded ? Tensor{} : vector_in(a.w->gamma),
                     .beta = a.w->folded || a.w->kind == NormKind::rms ? Tensor{} : vector_in(a.w->beta),
                     .eps = a.w->eps,
                     .kind = a.w->kind,
                     .out = normed.rows,
                     .out_scales = normed.scales,
                     .rows = a.rows});
  const auto product = [&](const PackedLinear& w, const Tensor& out) {
    linear(LinearArgs{.x = normed.rows,
                      .w = &w,
                      .act = a.act,
                      .x_scales = normed.scales,
                      .out = out,
                      .between = end_of(a.between, linear_workspace_bytes(a.rows.row_capacity, w)),
                      .rows = a.rows});
  };
  product(a.w->w, a.out);
  if (a.also) product(a.also->w, a.also_out);
}

// The first half of a feed-forward, into the hidden columns.
inline NormLinearArgs first_half(const FeedForwardArgs& a, const Tensor& hidden) {
  return {.x = *a.x, .w = a.w1, .act = a.act, .out = hidden, .between = a.between, .rows = a.rows};
}
inline ResidualLinearArgs second_half(const FeedForwardArgs& a, const Tensor& hidden) {
  return {.x = hidden,
          .w = a.w2,
          .residual = a.x->x,
          .to = a.x,
          .between = end_of(a.between, linear_workspace_bytes(a.rows.row_capacity, *a.w2)),
          .rows = a.rows};
}
inline LinearArgs plain(const ResidualLinearArgs& a) {
  return {.x = a.x, .w = a.w, .residual = a.residual, .out = a.to->x, .between = a.between, .rows = a.rows};
}

}  // namespace hedgerow
