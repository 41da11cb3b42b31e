// SPDX-License-Identifier: Apache-2.0
// Definitions: products (ops/linear.h).
#include "hedgerow/kernels/reference/values.h"

namespace hedgerow::reference {

std::vector<double> linear(const LinearArgs& a, const float* w, const float* bias, int n, int k) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    const std::vector<double> x = row(a.x, i);
    const auto sum_of = [&](int o) {
      double sum = bias ? bias[o] : 0;
      for (int c = 0; c < k; ++c) sum += x[c] * w[static_cast<int64_t>(o) * k + c];
      return sum;
    };
    const bool gated = a.act == Activation::silu_gated;
    for (int o = 0; o < (gated ? n / 2 : n); ++o) {
      const double y = gated ? silu(sum_of(o)) * sum_of(o + n / 2) : activate(sum_of(o), a.act);
      out.push_back(y + (a.residual ? value(a.residual, i, o) : 0));
    }
  }
  return out;
}

}  // namespace hedgerow::reference
