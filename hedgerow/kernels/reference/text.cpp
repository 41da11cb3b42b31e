// SPDX-License-Identifier: Apache-2.0
// Definitions: the best columns, the accepted path of a tree (ops/text.h).
#include "hedgerow/kernels/reference/values.h"

namespace hedgerow::reference {

Best top_columns(const TopColumnsArgs& a) {
  Best best;
  for (int i = 0; i < a.rows.rows(); ++i) {
    const std::vector<double> x = row(a.x, i);
    std::vector<int> order(x.size());
    for (size_t c = 0; c < x.size(); ++c) order[c] = static_cast<int>(c);
    std::stable_sort(order.begin(), order.end(), [&](int one, int other) {
      const double p = x[static_cast<size_t>(one)], q = x[static_cast<size_t>(other)];
      return std::isnan(p) || std::isnan(q) ? std::isnan(q) && !std::isnan(p) : p > q;
    });
    for (int r = 0; r < a.count; ++r) {
      const bool there = static_cast<size_t>(r) < order.size();
      best.columns.push_back(there ? order[static_cast<size_t>(r)] : -1);
      best.values.push_back(there ? x[static_cast<size_t>(best.columns.back())] : NAN);
    }
    double most = -INFINITY, sum = 0;
    for (const double v : x) most = v > most ? v : most;
    for (const double v : x) sum += std::isinf(v) && v < 0 ? 0 : std::exp(v - most);
    best.log_sums.push_back(most + std::log(sum));
  }
  return best;
}

LongestPath longest_path(const LongestPathArgs& a) {
  LongestPath out;
  for (int s = 0; s < a.rows.batch; ++s) {
    const int first = a.rows.begin(s), count = a.rows.length(s);
    std::vector<int32_t> path;
    for (int at = count ? 0 : -1; at >= 0;) {
      path.push_back(at);
      int next = -1;
      for (int i = count - 1; i > 0; --i)
        if (value(a.parents, first + i) == at && value(a.tokens, first + i) == value(a.choice, first + at))
          next = i;
      at = next;
    }
    out.paths.push_back(path);
  }
  return out;
}

}  // namespace hedgerow::reference
