// SPDX-License-Identifier: Apache-2.0
#include "tests/vision/definition_ops.h"

#include <algorithm>
#include <cmath>

#include "hedgerow/kernels/reference/reference.h"
#include "tests/vision/definition_given.h"

namespace hedgerow::test {
namespace {

std::vector<double> product(const std::vector<double>& x, int rows, const std::vector<float>& w,
                            const float* bias, int n, int k, Activation act = Activation::none) {
  const Given in(x, rows, k);
  return reference::linear({.x = in.matrix(), .act = act, .out = {}, .rows = in.ragged()}, w.data(), bias, n,
                           k);
}

// x |w|^T, x not negative.
std::vector<double> sizes(const std::vector<double>& x, int rows, const std::vector<float>& w, int n, int k) {
  const size_t outs = static_cast<size_t>(n), ins = static_cast<size_t>(k);
  std::vector<double> by_input(w.size()), y(static_cast<size_t>(rows) * outs);
  for (size_t o = 0; o < outs; ++o)
    for (size_t c = 0; c < ins; ++c) by_input[c * outs + o] = std::fabs(w[o * ins + c]);
  for (size_t i = 0; i < static_cast<size_t>(rows); ++i)
    for (size_t c = 0; c < ins; ++c)
      for (size_t o = 0; o < outs; ++o) y[i * outs + o] += x[i * ins + c] * by_input[c * outs + o];
  return y;
}

std::vector<float> rounded(const std::vector<float>& w, Dtype dtype) {
  std::vector<float> y;
  for (float v : w)
    y.push_back(dtype == Dtype::bf16  ? bf16_to_f32(f32_to_bf16(v))
                : dtype == Dtype::f16 ? f16_to_f32(f32_to_f16(v))
                                      : v);
  return y;
}

struct Moments {
  double mean = 0, size = 0, deviation = 0,
         off = 0;  // size: mean |x|; off: what x may be off, in mean square
};
Moments moments(const Rows& x, int i, double eps) {
  Moments m;
  const double n = x.width;
  double variance = 0;
  for (int c = 0; c < x.width; ++c) m.mean += x.row(i)[c] / n, m.size += std::fabs(x.row(i)[c]) / n;
  for (int c = 0; c < x.width; ++c) variance += std::pow(x.row(i)[c] - m.mean, 2) / n;
  for (int c = 0; c < x.width; ++c) m.off += std::pow(off(x, i, c), 2) / n;
  m.deviation = std::sqrt(variance + eps), m.off = std::sqrt(m.off);
  return m;
}

}  // namespace

double half_of_last_place(Dtype dtype) {
  return dtype == Dtype::bf16 ? 0x1p-8 : dtype == Dtype::f16 ? 0x1p-11 : 0x1p-24;
}

Numerics Numerics::of(const Backend& backend, Dtype dtype) {
  const Dtype stream = dtype == Dtype::f16 ? dtype : Dtype::f32;
  return {.dtype = dtype, .stream = stream, .folds_norms = backend.folds_norm(dtype, stream)};
}

Rows take(const Rows& x, const std::vector<int>& index) {
  Rows y(static_cast<int>(index.size()), x.width);
  for (int i = 0; i < y.count; ++i) {
    std::copy_n(x.row(index[static_cast<size_t>(i)]), x.width, y.row(i));
    std::copy_n(x.off(index[static_cast<size_t>(i)]), x.width, y.off(i));
  }
  return y;
}

Rows columns(const Rows& x, int first, int width) {
  Rows y(x.count, width);
  for (int i = 0; i < x.count; ++i) {
    std::copy_n(x.row(i) + first, width, y.row(i));
    std::copy_n(x.off(i) + first, width, y.off(i));
  }
  return y;
}

Rows side_by_side(const std::vector<Rows>& parts) {
  int width = 0, at = 0;
  for (const Rows& p : parts) width += p.width;
  Rows y(parts.front().count, width);
  for (const Rows& p : parts) {
    for (int i = 0; i < y.count; ++i) {
      std::copy_n(p.row(i), p.width, y.row(i) + at);
      std::copy_n(p.off(i), p.width, y.off(i) + at);
    }
    at += p.width;
  }
  return y;
}

void Ops::store(Rows& x, Dtype dtype) const {
  const double least = dtype == Dtype::f16 ? 0x1p-25 : 0;  // below 2^-14 its places do not get finer
  for (size_t i = 0; i < x.value.size(); ++i)
    x.bound[i] += half_of_last_place(dtype) * (std::fabs(x.value[i]) + x.bound[i]) + least;
}

Rows Ops::linear(const Rows& x, const Matrix& m, Dtype dtype, Activation act) const {
  const int k = x.width;
  const std::vector<float> w = rounded(m.w, dtype);
  const float* bias = m.bias.empty() ? nullptr : m.bias.data();
  Rows y = result(x.count, m.n, product(x.value, x.count, w, bias, m.n, k, act));
  std::vector<double> in(x.value.size());
  for (size_t i = 0; i < in.size(); ++i) in[i] = off(x, i) + chain(k) * std::fabs(x.value[i]);
  y.bound = sizes(in, x.count, w, m.n, k);
  for (int i = 0; i < y.count; ++i)
    for (int o = 0; o < m.n; ++o) {
      double& b = y.off(i)[o];
      b += chain(k) * (bias ? std::fabs(bias[o]) : 0);
      // A GELU's slope is at most 1.13.
      if (act != Activation::none) b = 1.13 * b + 1e-6 + 4 * kUnit * std::fabs(y.row(i)[o]);
    }
  return y;
}

// (x - mean) / deviation * gamma + beta: a mean is off by a chain of its absolute terms, a deviation by a
// factor. What x is off by moves its own value, the mean, and (as z) the deviation.
Rows Ops::layer_norm(const Rows& x, const Norm& n) const {
  const Given in(x);
  Rows y = result(x.count, x.width,
                  reference::layer_norm({.x = in.matrix(),
                                         .gamma = vector_view(n.gamma.data(), Dtype::f32, x.width),
                                         .beta = vector_view(n.beta.data(), Dtype::f32, x.width),
                                         .eps = n.eps,
                                         .out = {},
                                         .rows = in.ragged()}));
  for (int i = 0; i < x.count; ++i) {
    const Moments m = moments(x, i, n.eps);
    for (int c = 0; c < x.width; ++c) {
      const double z = std::fabs(x.row(i)[c] - m.mean) / m.deviation;
      const double moved = (off(x, i, c) + m.off + short_chains(x.width) * m.size) / m.deviation +
                           z * (m.off / m.deviation + short_chains(x.width));
      const size_t at = static_cast<size_t>(c);
      y.off(i)[c] =
          std::fabs(n.gamma[at]) * moved + 2 * kUnit * (std::fabs(n.beta[at]) + std::fabs(y.row(i)[c]));
    }
  }
  return y;
}

Rows Ops::norm_linear(const Rows& x, const Norm& n, const Matrix& m, Activation act) const {
  Rows h = layer_norm(x, n);
  store_rows(h);
  if (!numerics_.folds_norms) {
    Rows y = linear(h, m, act);
    store_rows(y);
    return y;
  }
  // x (gamma w - mean) / deviation: the product is rounded as a whole, so w is exact here and its rounding,
  // of at most |gamma w| + mean |gamma w|, meets all of x.
  Rows y = linear(h, m, Dtype::f32, act);
  std::vector<float> w(m.w.size());
  const size_t k = static_cast<size_t>(x.width);
  for (size_t o = 0; o < w.size() / k; ++o) {
    double mean = 0;
    for (size_t c = 0; c < k; ++c) mean += std::fabs(n.gamma[c] * m.w[o * k + c]) / static_cast<double>(k);
    for (size_t c = 0; c < k; ++c)
      w[o * k + c] = std::fabs(n.gamma[c] * m.w[o * k + c]) + static_cast<float>(mean);
  }
  std::vector<double> in(x.value.size());
  for (int i = 0; i < x.count; ++i)
    for (int c = 0; c < x.width; ++c)
      in[static_cast<size_t>(i) * k + static_cast<size_t>(c)] =
          std::fabs(x.row(i)[c]) / moments(x, i, n.eps).deviation;
  const std::vector<double> size = sizes(in, x.count, w, m.n, x.width);
  for (size_t i = 0; i < y.bound.size(); ++i)
    y.bound[i] += 1.13 * (half_of_last_place(numerics_.dtype) + chain(x.width)) * size[i];
  store_rows(y);
  return y;
}

Rows Ops::add(const Rows& a, const Rows& b) const {
  Rows y(a.count, a.width);
  for (size_t i = 0; i < y.value.size(); ++i) {
    y.value[i] = a.value[i] + b.value[i];
    y.bound[i] = a.bound[i] + b.bound[i] + kUnit * (std::fabs(b.value[i]) + std::fabs(y.value[i]));
  }
  store(y, numerics_.stream);
  return y;
}

}  // namespace hedgerow::test
