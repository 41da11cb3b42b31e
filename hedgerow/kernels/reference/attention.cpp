// SPDX-License-Identifier: Apache-2.0
// Definitions: attention (ops/attention.h).
#include "hedgerow/kernels/reference/values.h"

namespace hedgerow::reference {

Attended attention(const AttentionArgs& a) {
  const int64_t heads = a.q.extents[1], head_dim = a.q.extents[2];
  Attended result;
  result.out.assign(a.q_rows.rows() * heads * head_dim, 0);
  result.first_row.assign(a.kv_rows.rows() * heads, 0);
  for (int s = 0; s < a.q_rows.batch; ++s)
    for (int64_t h = 0; h < heads; ++h)
      for (int i = a.q_rows.begin(s); i < a.q_rows.end(s); ++i) {
        const int64_t asks = a.q_index ? static_cast<int64_t>(value(a.q_index, i)) : i;
        std::vector<double> logit(a.kv_rows.length(s));
        double top = -INFINITY, total = 0;
        for (int j = 0; j < a.kv_rows.length(s); ++j) {
          const int64_t key = a.kv_rows.begin(s) + j;
          double dot = 0;
          for (int64_t d = 0; d < head_dim; ++d) dot += value(a.q, asks, h, d) * value(a.kv.k, key, h, d);
          logit[j] = a.scale * dot;
          if (a.key_bias) {
            const double bias = value(a.key_bias, key);
            logit[j] = bias == -INFINITY ? bias : logit[j] + bias;  // hidden, whatever the key holds
          }
          top = std::max(top, logit[j]);
        }
        for (double& l : logit) total += l = l == -INFINITY ? 0 : std::exp(l - top);
        for (int j = 0; j < a.kv_rows.length(s); ++j) {
          if (logit[j] == 0) continue;
          const int64_t key = a.kv_rows.begin(s) + j;
          for (int64_t d = 0; d < head_dim; ++d)
            result.out[(i * heads + h) * head_dim + d] += logit[j] / total * value(a.kv.v, key, h, d);
          if (i == a.q_rows.begin(s)) result.first_row[key * heads + h] = logit[j] / total;
        }
      }
  return result;
}

}  // namespace hedgerow::reference
