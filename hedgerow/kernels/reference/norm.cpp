// SPDX-License-Identifier: Apache-2.0
// Definitions: layer norm (ops/norm.h).
#include "hedgerow/kernels/reference/values.h"

namespace hedgerow::reference {

std::vector<double> layer_norm(const LayerNormArgs& a) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    std::vector<double> x = row(a.x, a.index ? static_cast<int64_t>(value(a.index, i)) : i);
    if (a.kind == NormKind::rms) {
      double squares = 0;
      for (const double v : x) squares += v * v;
      const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + a.eps);
      for (size_t c = 0; c < x.size(); ++c) x[c] *= scale * value(a.gamma, static_cast<int64_t>(c));
    } else {
      normalise(x, a.gamma, a.beta, a.eps);
    }
    out.insert(out.end(), x.begin(), x.end());
  }
  return out;
}

}  // namespace hedgerow::reference
