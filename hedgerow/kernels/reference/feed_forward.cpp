// SPDX-License-Identifier: Apache-2.0
// Definitions: a block's feed-forward half (ops/feed_forward.h).
#include "hedgerow/kernels/reference/values.h"

namespace hedgerow::reference {

std::vector<double> mlp(const MlpArgs& a, const float* w1, const float* bias1, const float* w2,
                        const float* bias2) {
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

}  // namespace hedgerow::reference
