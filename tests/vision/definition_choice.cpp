// SPDX-License-Identifier: Apache-2.0
#include "tests/vision/definition_choice.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "hedgerow/kernels/reference/reference.h"
#include "tests/vision/definition_given.h"

namespace hedgerow::test {
namespace {

// 0, then powers of two from 2^-10; infinity where 2^30 is not enough.
double least_strain(const std::function<bool(double)>& admits) {
  if (admits(0)) return 0;
  for (double strain = 0x1p-10; strain <= 0x1p30; strain *= 2)
    if (admits(strain)) return strain;
  return INFINITY;
}

// Scores that compete, each within [low, high]. Without strain the lower index wins a tie.
struct Range {
  double low, high;
  int row;
  bool in;
};
bool may_beat(const Range& a, const Range& b) {
  return a.high > b.low || (a.high == b.low && (a.low != a.high || b.low != b.high || a.row < b.row));
}
bool surely_beats(const Range& a, const Range& b) { return !may_beat(b, a); }

// No row that went may surely be better than one that stayed.
bool best_stayed(const std::vector<Range>& rows) {
  for (const Range& out : rows)
    for (const Range& in : rows)
      if (!out.in && in.in && !may_beat(in, out)) return false;
  return true;
}

// The smallest set, highest first, whose share reaches `mass`.
bool reaches_mass(const std::vector<Range>& rows, double mass, int floor) {
  double in_low = 0, in_high = 0, all_low = 0, all_high = 0, least = INFINITY;
  int count = 0;
  for (const Range& r : rows) {
    const double low = std::max(r.low, 0.0), high = std::max(r.high, 0.0);
    all_low += low, all_high += high;
    if (r.in) in_low += low, in_high += high, least = std::min(least, high), ++count;
  }
  if (mass <= 0) return count == floor;
  return in_high >= mass * all_low && (count <= floor || in_low - least < mass * all_high);
}

// Every height takes the row whose cumulative share is nearest to it. A row's share is uncertain by what all
// scores are off, and by the scores of those that may lie on either side of it.
bool sampled(const std::vector<Range>& rows, int samples) {
  const size_t m = rows.size();
  const auto count = std::count_if(rows.begin(), rows.end(), [](const Range& r) { return r.in; });
  if (m == 0 || samples <= 0) return count == 0;
  if (m == 1 || samples == 1) return count == 1 && best_stayed(rows);
  const auto low_of = [](const Range& r) { return std::max(r.low, 0.0); };
  const auto high_of = [](const Range& r) { return std::max(r.high, 0.0); };
  double all_low = 0, all_high = 0, first_low = INFINITY, first_high = INFINITY;
  for (const Range& r : rows) {
    all_low += low_of(r), all_high += high_of(r);
    first_low = std::min(first_low, low_of(r)), first_high = std::min(first_high, high_of(r));
  }
  if (all_low - first_high <= 0) return true;  // all alike as far as anyone can tell
  struct Span {
    double low, high;
  };
  std::vector<Span> share(m);
  std::vector<double> lows, highs;
  for (size_t j = 0; j < m; ++j) {
    double low = low_of(rows[j]), high = high_of(rows[j]);
    for (size_t k = 0; k < m; ++k) {
      if (k == j) continue;
      if (surely_beats(rows[j], rows[k])) low += low_of(rows[k]);
      if (may_beat(rows[j], rows[k])) high += high_of(rows[k]);
    }
    share[j] = {std::clamp((low - first_high) / (all_high - first_high), 0.0, 1.0),
                std::clamp((high - first_low) / (all_low - first_low), 0.0, 1.0)};
    lows.push_back(share[j].low), highs.push_back(share[j].high);
  }
  // The lowest height is the least share above zero.
  std::sort(lows.begin(), lows.end()), std::sort(highs.begin(), highs.end());
  const auto above_zero = [](const std::vector<double>& sorted) {
    const auto at = std::find_if(sorted.begin() + 1, sorted.end(), [](double x) { return x > 0; });
    return at == sorted.end() ? 1.0 : *at;
  };
  const double start_low = std::min(above_zero(lows), lows[1]), start_high = above_zero(highs);
  std::vector<uint8_t> taken(m);
  for (int i = 0; i < samples; ++i) {
    const double t = static_cast<double>(i) / (samples - 1);
    const Span height{start_low + (1 - start_low) * t, start_high + (1 - start_high) * t};
    std::vector<double> least(m);
    double nearest = INFINITY;
    for (size_t j = 0; j < m; ++j) {
      least[j] = std::max({0.0, share[j].low - height.high, height.low - share[j].high});
      nearest = std::min(nearest, std::max(share[j].high - height.low, height.high - share[j].low));
    }
    bool found = false;
    for (size_t j = 0; j < m; ++j)
      if (rows[j].in && least[j] <= nearest) found = true, taken[j] = 1;
    if (!found) return false;
  }
  for (size_t j = 0; j < m; ++j)
    if (rows[j].in && !taken[j]) return false;
  return true;
}

double similarity(const Rows& d, int i, int j) {
  return std::inner_product(d.row(i), d.row(i) + d.width, d.row(j), 0.0);
}
double similarity_off(const Rows& d, int i, int j) { return d.off(i)[0] + d.off(j)[0] + chain(d.width); }

}  // namespace

std::vector<int> choice_by(const Rule& rule, const Rows& score) {
  const Given given(score);
  std::vector<int32_t> kept(static_cast<size_t>(score.count) + 1), ends(2);
  return reference::select({.score = given.column(),
                            .rows = given.ragged(),
                            .special = rule.special,
                            .special_competes = rule.special_competes,
                            .mode = rule.mode,
                            .count = &rule.count,
                            .threshold = &rule.threshold,
                            .mass = &rule.mass,
                            .floor = &rule.floor,
                            .samples = &rule.samples,
                            .kept = vector_view(kept.data(), Dtype::i32, score.count + 1),
                            .kept_offsets = ends.data()})
      .kept;
}

double strain_of(const Rule& rule, const Rows& score, const std::vector<int>& kept) {
  std::vector<uint8_t> stays(static_cast<size_t>(score.count));
  for (int j : kept) stays[static_cast<size_t>(j)] = 1;
  for (int t = 0; t < rule.special; ++t)
    if (!stays[static_cast<size_t>(t)]) return INFINITY;
  const int patches = static_cast<int>(kept.size()) - rule.special;
  // Special rows that compete use up places when they are among the best: as many as patches leave free.
  int winners = rule.special_competes ? std::clamp(rule.count - patches, 0, rule.special) : 0;
  std::vector<int> special(static_cast<size_t>(rule.special));
  std::iota(special.begin(), special.end(), 0);
  std::stable_sort(special.begin(), special.end(),
                   [&](int a, int b) { return score.row(a)[0] > score.row(b)[0]; });
  return least_strain([&](double strain) {
    std::vector<Range> rows;
    const auto enter = [&](int j, bool in) {
      const double off = strain * score.bound[static_cast<size_t>(j)], s = score.row(j)[0];
      rows.push_back({s - off, s + off, j, in});
    };
    for (size_t t = 0; rule.special_competes && t < special.size(); ++t)
      enter(special[t], static_cast<int>(t) < winners);
    for (int j = rule.special; j < score.count; ++j) enter(j, stays[static_cast<size_t>(j)]);
    const int m = static_cast<int>(rows.size()), floor = std::min(rule.floor, m);
    const int in = patches + winners;
    switch (rule.mode) {
      case SelectMode::top_k:
        return in == std::clamp(std::max(rule.count, floor), 0, m) && best_stayed(rows);
      case SelectMode::quantile:
        return in == std::clamp(std::max(static_cast<int>(std::ceil(rule.mass * m)), floor), 0, m) &&
               best_stayed(rows);
      case SelectMode::mass:
        return in >= floor && best_stayed(rows) && reaches_mass(rows, rule.mass, floor);
      case SelectMode::threshold:
        for (const Range& r : rows)
          if (r.in ? r.high < rule.threshold && in > floor
                   : r.low >= rule.threshold && (strain == 0 || r.low > rule.threshold))
            return false;
        return in >= floor && best_stayed(rows);
      case SelectMode::ats:
        return sampled(rows, rule.samples);
    }
    return false;
  });
}

Partners partners_of(const Rows& direction, const std::vector<uint8_t>& role) {
  const Given given(direction);
  const reference::Matched m = reference::match({.directions = given.matrix(),
                                                 .role = vector_view(role.data(), Dtype::u8, direction.count),
                                                 .rows = given.ragged(),
                                                 .best = {},
                                                 .similarity = {}});
  Partners p{m.best, Rows(direction.count, 1)};
  for (int i = 0; i < direction.count; ++i) {
    const int to = m.best[static_cast<size_t>(i)];
    p.similarity.row(i)[0] = to < 0 ? 0 : similarity(direction, i, to);
    p.similarity.off(i)[0] = to < 0 ? INFINITY : 0;
    // The largest of several values is off by no more than the one of them that is off most.
    for (int j = 0; to >= 0 && j < direction.count; ++j)
      if (role[static_cast<size_t>(j)] == 2)
        p.similarity.off(i)[0] = std::max(p.similarity.off(i)[0], similarity_off(direction, i, j));
  }
  return p;
}

double strain_of_partners(const Rows& direction, const std::vector<uint8_t>& role,
                          const std::vector<int>& into) {
  double strain = 0;
  for (int i = 0; i < direction.count; ++i) {
    const int to = into[static_cast<size_t>(i)];
    if (to < 0) continue;
    if (role[static_cast<size_t>(i)] != 1 || role[static_cast<size_t>(to)] != 2) return INFINITY;
    const double needed = least_strain([&](double by) {
      const auto range = [&](int j, bool in) {
        const double s = similarity(direction, i, j), off = by * similarity_off(direction, i, j);
        return Range{s - off, s + off, j, in};
      };
      for (int j = 0; j < direction.count; ++j)
        if (role[static_cast<size_t>(j)] == 2 && j != to && !may_beat(range(to, true), range(j, false)))
          return false;
      return true;
    });
    strain = std::max(strain, needed);
  }
  return strain;
}

}  // namespace hedgerow::test
