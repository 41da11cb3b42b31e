// SPDX-License-Identifier: Apache-2.0
// Definitions of choosing rows and of merging them.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "hedgerow/kernels/reference/reference.h"

namespace hedgerow::reference {
namespace {

// Scores as shares: non-negative, at least one above zero.
std::vector<double> weights_of(const std::vector<float>& score) {
  const bool infinite = std::find(score.begin(), score.end(), INFINITY) != score.end();
  std::vector<double> w;
  for (float s : score) w.push_back(infinite ? s == INFINITY : s > 0 ? s : 0);
  if (std::all_of(w.begin(), w.end(), [](double x) { return x == 0; })) std::fill(w.begin(), w.end(), 1.0);
  return w;
}

// Sampling by inverse transform; `order` is best first. Returns places in `order`.
std::vector<size_t> ats(const std::vector<float>& score, const std::vector<size_t>& order, int samples) {
  const size_t m = order.size();
  if (m == 0 || samples <= 0) return {};
  if (m == 1 || samples == 1) return {0};
  std::vector<float> ascending;
  for (size_t i = m; i-- > 0;) ascending.push_back(score[order[i]]);
  std::vector<double> cdf = weights_of(ascending);
  std::partial_sum(cdf.begin(), cdf.end(), cdf.begin());
  const double low = cdf.front(), high = cdf.back();
  if (high == low) return {0};
  for (double& c : cdf) c = (c - low) / (high - low);
  const double start = *std::find_if(cdf.begin(), cdf.end(), [](double c) { return c > 0; });
  std::vector<size_t> places;
  for (int i = 0; i < samples; ++i) {
    const double height = start + (1 - start) * (static_cast<double>(i) / (samples - 1));
    size_t nearest = 0;
    for (size_t j = 1; j < m; ++j)
      if (std::fabs(height - cdf[j]) < std::fabs(height - cdf[nearest])) nearest = j;
    places.push_back(m - 1 - nearest);
  }
  return places;
}

size_t prefix(double count, size_t m) {
  return !(count > 0) ? 0 : count >= static_cast<double>(m) ? m : static_cast<size_t>(count);
}

}  // namespace

Selected select(const SelectArgs& a) {
  Selected result;
  result.offsets.push_back(0);
  result.alive.assign(a.rows.rows(), 0);
  for (int s = 0; s < a.rows.batch; ++s) {
    std::vector<float> score;  // of those that compete,
    std::vector<int> row;      // which are these rows
    for (int j = a.rows.begin(s); j < a.rows.end(s); ++j) {
      const bool special = j - a.rows.begin(s) < a.special;
      if (special) result.alive[j] = 1;
      if (special ? a.special_competes : !a.alive || a.alive.as<uint8_t>()[j]) {
        score.push_back(a.score.as<float>()[j]);
        row.push_back(j);
      }
    }
    const size_t m = score.size();
    std::vector<size_t> order(m);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t x, size_t y) {  // best first, ties: lower index
      return std::isnan(score[y]) ? !std::isnan(score[x]) : score[x] > score[y];
    });

    std::vector<uint8_t> chosen(m, 0);  // by place in `order`
    size_t count = 0;
    switch (a.mode) {
      case SelectMode::top_k:
        count = prefix(a.count[s], m);
        break;
      case SelectMode::threshold:
        for (float x : score) count += x >= a.threshold[s];
        break;
      case SelectMode::quantile:
        count = prefix(std::ceil(a.mass[s] * static_cast<double>(m)), m);
        break;
      case SelectMode::mass: {
        std::vector<float> descending;
        for (size_t i : order) descending.push_back(score[i]);
        const std::vector<double> w = weights_of(descending);
        const double wanted = a.mass[s] * std::accumulate(w.begin(), w.end(), 0.0);
        double reached = 0;
        if (a.mass[s] > 0)
          while (count < m && reached < wanted) reached += w[count++];
        break;
      }
      case SelectMode::ats:
        for (size_t place : ats(score, order, a.samples[s])) chosen[place] = 1;
        break;
    }
    std::fill_n(chosen.begin(), count, 1);
    const size_t floor = a.floor ? prefix(a.floor[s], m) : 0;
    for (size_t i = 0; i < m && static_cast<size_t>(std::count(chosen.begin(), chosen.end(), 1)) < floor; ++i)
      chosen[i] = 1;

    bool dropped = false;
    for (size_t i = 0; i < m; ++i)
      if (chosen[i]) result.alive[row[order[i]]] = 1;
    for (int j : row) dropped |= !result.alive[j];
    for (int j = a.rows.begin(s); j < a.rows.end(s); ++j)
      if (result.alive[j]) result.kept.push_back(j);
    if (a.append && dropped) result.kept.push_back(-1);
    result.offsets.push_back(static_cast<int32_t>(result.kept.size()));
  }
  return result;
}

Matched match(const MatchArgs& a) {
  Matched result;
  result.best.assign(a.rows.rows(), -1);
  result.similarity.assign(a.rows.rows(), 0);
  const uint8_t* role = a.role.as<uint8_t>();
  for (int s = 0; s < a.rows.batch; ++s)
    for (int i = a.rows.begin(s); i < a.rows.end(s); ++i) {
      if (role[i] != 1) continue;
      for (int j = a.rows.begin(s); j < a.rows.end(s); ++j) {
        if (role[j] != 2) continue;
        double dot = 0;
        for (int64_t c = 0; c < a.unit.extents[1]; ++c)
          dot += static_cast<double>(a.unit.row<float>(i)[c]) * a.unit.row<float>(j)[c];
        if (std::isnan(dot)) dot = -INFINITY;
        if (result.best[i] >= 0 && !(dot > result.similarity[i])) continue;
        result.best[i] = j;
        result.similarity[i] = dot;
      }
    }
  return result;
}

Merged merge(const MergeArgs& a) {
  const int64_t dim = a.x.extents[1];
  const int32_t* kept = a.kept.as<int32_t>();
  const float* size = a.size.as<float>();
  const bool weighted = a.rule == MergeRule::size_weighted;
  Merged result;
  for (int s = 0; s < a.to.batch; ++s)
    for (int o = a.to.begin(s); o < a.to.end(s); ++o) {
      std::vector<int> members = {kept[o]};
      for (int j = a.from.begin(s); j < a.from.end(s); ++j)
        if (a.into.as<int32_t>()[j] == kept[o]) members.push_back(j);
      double total = 0, new_size = 0;
      std::vector<double> sum(dim, 0.0);
      for (int j : members) {
        const double share = weighted ? size[j] : 1;
        for (int64_t c = 0; c < dim; ++c) sum[c] += share * a.x.row<float>(j)[c];
        total += share;
        new_size +=
            weighted || j == kept[o] ? size[j] : static_cast<double>(a.similarity.as<float>()[j]) * size[j];
      }
      for (double v : sum) result.out.push_back(v / total);
      result.out_size.push_back(new_size);
    }
  return result;
}

}  // namespace hedgerow::reference
