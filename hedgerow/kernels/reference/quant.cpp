// SPDX-License-Identifier: Apache-2.0
// Definitions: weights of codes and short floats, and products with them (ops/quant.h).
#include "hedgerow/kernels/reference/values.h"

namespace hedgerow::reference {
namespace {

// Column c of a row: a scale has at most 17 significant bits, a code 8, and all terms are multiples of 2^-24
// below 2^28, so that double holds every value exactly.
double value_of(const Quant& q, const QuantRow& row, size_t c) {
  if (q.bits == 0) return row.values[c];
  const size_t group = c / static_cast<size_t>(q.group), block = c / 256;
  const double code = row.codes[c];
  switch (q.scales) {
    case Scales::none:
      break;
    case Scales::f16:
      return f16_to_f32(row.scales[group]) * (code - q.zero);
    case Scales::f16_min:
      return f16_to_f32(row.scales[group]) * (code - q.zero) + f16_to_f32(row.minimums[group]);
    case Scales::f16_zero:
      return f16_to_f32(row.scales[group]) * (code - row.small[group] - q.zero);
    case Scales::k4:
      return f16_to_f32(row.scales[block]) * static_cast<double>(row.small[c / 32]) * code -
             f16_to_f32(row.minimums[block]) * static_cast<double>(row.small_min[c / 32]);
    case Scales::k6:
      return f16_to_f32(row.scales[block]) * static_cast<double>(static_cast<int8_t>(row.small[c / 16])) *
             (code - q.zero);
  }
  return 0;
}

}  // namespace

std::vector<double> quant_values(const QuantSource& s) {
  const size_t k = static_cast<size_t>(s.k);
  std::vector<double> out(static_cast<size_t>(s.n) * k);
  QuantRow row;
  row.codes.resize(k), row.values.resize(k), row.scales.resize(k), row.minimums.resize(k);
  row.small.resize(k), row.small_min.resize(k);
  for (int r = 0; r < s.n; ++r) {
    s.read(r, 1, &row);
    for (size_t c = 0; c < k; ++c)
      out[static_cast<size_t>(r) * k + (s.order.empty() ? c : static_cast<size_t>(s.order[c]))] +=
          value_of(s.quant, row, c);
  }
  return out;
}

std::vector<double> quant_linear(const LinearArgs& a, const std::vector<double>& w, const float* bias) {
  std::vector<double> out;
  const bool gated = a.act == Activation::silu_gated;
  const int n = a.w->n, half = n / 2;
  for (int i = 0; i < a.rows.rows(); ++i) {
    const std::vector<double> x = row(a.x, i);
    std::vector<double> sums;
    for (int o = 0; o < n; ++o) {
      double sum = bias ? bias[o] : 0;
      for (size_t c = 0; c < x.size(); ++c) sum += x[c] * w[static_cast<size_t>(o) * x.size() + c];
      sums.push_back(sum);
    }
    for (int o = 0; o < (gated ? half : n); ++o) {
      const size_t at = static_cast<size_t>(o);
      const double y =
          gated ? silu(sums[at]) * sums[at + static_cast<size_t>(half)] : activate(sums[at], a.act);
      out.push_back(y + (a.residual ? value(a.residual, i, o) : 0));
    }
  }
  return out;
}

std::vector<double> embed(const EmbedArgs& a, const QuantSource& w) {
  const std::vector<double> all = quant_values(w);
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i)
    for (int c = 0; c < w.k; ++c)
      out.push_back(static_cast<float>(
          all[static_cast<size_t>(value(a.ids, i)) * static_cast<size_t>(w.k) + static_cast<size_t>(c)]));
  return out;
}

}  // namespace hedgerow::reference
