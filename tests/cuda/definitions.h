// SPDX-License-Identifier: Apache-2.0
// What kernels behind the contract's ops mean, in double: products with a norm or what a fold left of it, the
// fused MLP.
#pragma once

#include "hedgerow/kernels/cuda/ops.h"
#include "hedgerow/kernels/reference/values.h"

namespace hedgerow::cuda::test {

// w is row-major [n, k], rounded to the dtype of a.w.
inline std::vector<double> definition_of(const Product& a, const float* w, const float* bias, int n, int k) {
  using namespace reference;
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    std::vector<double> x = row(a.x, a.index ? static_cast<int64_t>(value(a.index, i)) : i);
    if (a.norm_gamma) {
      normalise(x, a.norm_gamma, a.norm_beta, a.norm_eps);
      for (double& v : x) v = rounded(v, a.w->dtype);
    }
    if (a.divided) {
      const double deviation = std::sqrt(moments(x).variance + a.norm_eps);
      for (double& v : x) v /= deviation;
    }
    for (int o = 0; o < n; ++o) {
      double sum = bias ? bias[o] : 0;
      for (int c = 0; c < k; ++c) sum += x[c] * w[static_cast<int64_t>(o) * k + c];
      out.push_back(activate(sum, a.act) + (a.residual ? value(a.residual, i, o) : 0));
    }
  }
  return out;
}

inline std::vector<double> definition_of(const MlpArgs& a, const float* w1, const float* bias1,
                                         const float* w2, const float* bias2) {
  using namespace reference;
  const int dim = a.w1->k, hidden = a.w1->n;
  std::vector<double> out, inside(hidden);
  for (int i = 0; i < a.rows.rows(); ++i) {
    std::vector<double> x = row(a.x, i);
    normalise(x, a.norm_gamma, a.norm_beta, a.norm_eps);
    for (double& v : x) v = rounded(v, a.w1->dtype);
    for (int h = 0; h < hidden; ++h) {
      double sum = bias1[h];
      for (int c = 0; c < dim; ++c) sum += x[c] * w1[static_cast<int64_t>(h) * dim + c];
      inside[h] = rounded(activate(sum, a.act), a.w1->dtype);
    }
    for (int o = 0; o < dim; ++o) {
      double sum = value(a.x, i, o) + bias2[o];
      for (int h = 0; h < hidden; ++h) sum += inside[h] * w2[static_cast<int64_t>(o) * hidden + h];
      out.push_back(sum);
    }
  }
  return out;
}

}  // namespace hedgerow::cuda::test
