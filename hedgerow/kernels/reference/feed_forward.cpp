// SPDX-License-Identifier: Apache-2.0
// Definitions: norm and product, residual rows, a block's feed-forward half (ops/norm.h, ops/feed_forward.h),
// and what rows carry beside their values.
#include "hedgerow/kernels/reference/values.h"

namespace hedgerow::reference {
namespace {

// act(x w^T + bias) of one row.
std::vector<double> product(const std::vector<double>& x, const float* w, const float* bias, int n,
                            Activation act) {
  std::vector<double> out;
  for (int o = 0; o < n; ++o) {
    double sum = bias ? bias[o] : 0;
    for (size_t c = 0; c < x.size(); ++c) sum += x[c] * w[static_cast<size_t>(o) * x.size() + c];
    out.push_back(activate(sum, act));
  }
  return out;
}

std::vector<double> normalised(const Tensor& x, int64_t i, const PackedNormLinear& packed, const float* gamma,
                               const float* beta) {
  std::vector<double> y = row(x, i);
  const int64_t k = static_cast<int64_t>(y.size());
  normalise(y, vector_view(gamma, Dtype::f32, k), vector_view(beta, Dtype::f32, k), packed.eps);
  // A folded norm rounds the rows as they were, not as they are normalised: as good, but not the same.
  for (double& v : y) v = packed.folded ? v : rounded(v, packed.w.dtype);
  return y;
}

}  // namespace

std::vector<double> norm_linear(const NormLinearArgs& a, const NormLinearWeights& w) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    const int64_t from = a.index ? static_cast<int64_t>(value(a.index, i)) : i;
    append(out, product(normalised(a.x.x, from, *a.w, w.gamma, w.beta), w.w, w.bias, w.n, a.act));
  }
  return out;
}

std::vector<double> residual_linear(const ResidualLinearArgs& a, const float* w, const float* bias) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    std::vector<double> y = product(row(a.x, i), w, bias, a.w->n, Activation::none);
    for (size_t c = 0; c < y.size(); ++c) y[c] += value(a.residual, i, static_cast<int64_t>(c));
    append(out, y);
  }
  return out;
}

std::vector<double> feed_forward(const FeedForwardArgs& a, const NormLinearWeights& w1, const float* w2,
                                 const float* bias2) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    std::vector<double> hidden =
        product(normalised(a.x->x, i, *a.w1, w1.gamma, w1.beta), w1.w, w1.bias, w1.n, a.act);
    for (double& v : hidden) v = rounded(v, a.w2->dtype);
    std::vector<double> y = product(hidden, w2, bias2, a.w2->n, Activation::none);
    for (size_t c = 0; c < y.size(); ++c) y[c] += value(a.x->x, i, static_cast<int64_t>(c));
    append(out, y);
  }
  return out;
}

std::vector<double> moments_of_rows(const Tensor& x, const Ragged& rows) {
  std::vector<double> out;
  for (int i = 0; i < rows.rows(); ++i) {
    double sum = 0, squares = 0;
    for (double v : row(x, i)) sum += v, squares += v * v;
    out.push_back(sum);
    out.push_back(squares);
  }
  return out;
}

std::vector<double> row_scales(const Tensor& x, const Ragged& rows) {
  std::vector<double> out;
  for (int i = 0; i < rows.rows(); ++i) {
    double most = 0;
    for (double v : row(x, i)) most = std::max(most, std::fabs(v));
    out.push_back(most / 127);
  }
  return out;
}

}  // namespace hedgerow::reference
