// SPDX-License-Identifier: Apache-2.0
// Definitions: what stays between passes (ops/cache.h). Caches are plain lists of slots here.
#include "hedgerow/kernels/reference/values.h"

namespace hedgerow::reference {
namespace {

std::vector<double> turned(const Tensor& x, const AppendKvArgs& a) {
  std::vector<double> out;
  const int64_t half = a.to.head_dim / 2;
  for (int i = 0; i < a.rows.rows(); ++i) {
    const auto at = static_cast<int64_t>(value(a.positions, i));
    for (int64_t h = 0; h < x.extents[1]; ++h)
      for (int64_t d = 0; d < 2 * half; ++d) {
        const int64_t pair = d % half;
        const double c = value(a.rotation, at, pair), s = value(a.rotation, at, pair + half),
                     low = value(x, i, h, pair), high = value(x, i, h, pair + half);
        out.push_back(d < half ? low * c - high * s : high * c + low * s);
      }
  }
  return out;
}

// The list of slots that row i of batch entry s sees.
std::vector<int> visible(const CachedAttentionArgs& a, int s, int i) {
  std::vector<int> slots;
  const int filled = a.at.length[s], own = a.at.begun(s) + i - a.rows.begin(s);
  for (int slot = 0; slot < filled; ++slot) slots.push_back(slot);
  for (int r = 0; r <= own; ++r) {
    const bool seen =
        a.visibility == Visibility::causal || a.ancestors.row<uint32_t>(i)[r / 32] >> (r % 32) & 1;
    if (seen) slots.push_back(filled + r);
  }
  return slots;
}

}  // namespace

Appended append_kv(const AppendKvArgs& a) { return {turned(a.q, a), turned(a.k, a)}; }

std::vector<double> cached_attention(const CachedAttentionArgs& a, const CacheRows& keys,
                                     const CacheRows& values) {
  std::vector<double> out;
  const int heads = static_cast<int>(a.q.extents[1]), group = heads / a.cache.kv_heads, hd = a.cache.head_dim;
  for (int s = 0; s < a.rows.batch; ++s) {
    const std::vector<double>&k = keys[static_cast<size_t>(a.at.sequence[s])],
          &v = values[static_cast<size_t>(a.at.sequence[s])];
    for (int i = a.rows.begin(s); i < a.rows.end(s); ++i)
      for (int h = 0; h < heads; ++h) {
        const auto at = [&](int slot, int d) {
          return static_cast<size_t>((slot * a.cache.kv_heads + h / group) * hd + d);
        };
        const std::vector<int> slots = visible(a, s, i);
        std::vector<double> weights, sums(static_cast<size_t>(hd));
        double most = -INFINITY, all = 0;
        for (const int slot : slots) {
          double score = 0;
          for (int d = 0; d < hd; ++d) score += value(a.q, i, h, d) * k[at(slot, d)];
          weights.push_back(score * a.scale), most = std::max(most, weights.back());
        }
        for (double& w : weights) w = std::exp(w - most), all += w;
        for (size_t j = 0; j < slots.size(); ++j)
          for (int d = 0; d < hd; ++d) sums[static_cast<size_t>(d)] += weights[j] / all * v[at(slots[j], d)];
        append(out, sums);
      }
  }
  return out;
}

CacheRows compact_kv(const CompactKvArgs& a, const CacheRows& of, int slot_size) {
  CacheRows out = of;
  for (int s = 0; s < a.rows.batch; ++s) {
    const auto sequence = static_cast<size_t>(a.at.sequence[s]);
    for (int i = a.rows.begin(s); i < a.rows.end(s); ++i) {
      const int64_t from = a.at.length[s] + static_cast<int64_t>(value(a.path, i)),
                    to = a.at.length[s] + i - a.rows.begin(s);
      std::copy_n(of[sequence].begin() + from * slot_size, slot_size, out[sequence].begin() + to * slot_size);
    }
  }
  return out;
}

}  // namespace hedgerow::reference
