// SPDX-License-Identifier: Apache-2.0
// Definitions: scores and choice (ops/select.h).
#include <algorithm>
#include <cmath>
#include <numeric>

#include "hedgerow/kernels/reference/values.h"

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

// Is `a` nearer to `height` than `b`? On one side of it exactly, even where distances round to the same.
bool nearer(double a, double b, double height) {
  if ((a <= height) == (b <= height)) return a <= height ? a > b : a < b;
  return std::fabs(height - a) < std::fabs(height - b);
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
      if (nearer(cdf[j], cdf[nearest], height)) nearest = j;
    places.push_back(m - 1 - nearest);
  }
  return places;
}

size_t prefix(double count, size_t m) {
  return !(count > 0) ? 0 : count >= static_cast<double>(m) ? m : static_cast<size_t>(count);
}

}  // namespace

std::vector<double> row_norm(const RowNormArgs& a) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) out.push_back(length_of(row(a.x, i)));
  return out;
}

std::vector<double> head_score(const HeadScoreArgs& a) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    double sum = 0;
    for (double p : row(a.probs, i)) sum += p;
    out.push_back(sum / a.divisor * (a.weight ? value(a.weight, i) : 1));
  }
  return out;
}

std::vector<double> global_half(const GlobalHalfArgs& a) {
  const int64_t dim = a.x.extents[1];
  std::vector<double> out = rows_of(a.x, a.rows.rows());
  for (int s = 0; s < a.rows.batch; ++s)
    for (int64_t c = dim / 2; c < dim; ++c) {
      double sum = 0, members = 0;
      for (int j = a.rows.begin(s); j < a.rows.end(s); ++j)
        if (candidate(a.rows, a.alive, a.special, s, j)) sum += value(a.x, j, c), members += 1;
      for (int j = a.rows.begin(s); j < a.rows.end(s); ++j)
        if (candidate(a.rows, a.alive, a.special, s, j)) out[j * dim + c] = sum / members;
    }
  return out;
}

std::vector<double> keep_log_prob(const KeepLogProbArgs& a) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    const double x0 = value(a.x, i, 0), x1 = value(a.x, i, 1), top = std::max(x0, x1);
    out.push_back(x0 - top - std::log(std::exp(x0 - top) + std::exp(x1 - top)));
  }
  return out;
}

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

std::vector<double> fuse_dropped(const FuseDroppedArgs& a) {
  std::vector<double> out = rows_of(a.out, a.to.rows());
  const int64_t dim = a.x.extents[1];
  const int32_t* kept = a.kept.as<int32_t>();
  for (int s = 0; s < a.to.batch; ++s) {
    const int last = a.to.end(s) - 1;
    if (a.to.length(s) == 0 || kept[last] >= 0) continue;
    std::fill_n(out.begin() + last * dim, dim, 0.0);
    for (int j = a.from.begin(s); j < a.from.end(s); ++j) {
      const bool stays = std::find(kept + a.to.begin(s), kept + last, j) != kept + last;
      if (stays || !candidate(a.from, a.alive, a.special, s, j)) continue;
      for (int64_t c = 0; c < dim; ++c) out[last * dim + c] += value(a.score, j) * value(a.x, j, c);
    }
  }
  return out;
}

}  // namespace hedgerow::reference
