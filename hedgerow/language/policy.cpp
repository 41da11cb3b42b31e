// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/policy.h"

#include <algorithm>
#include <utility>

namespace hedgerow {

CostCurve::CostCurve(std::vector<int> rows, std::vector<double> seconds)
    : rows_(std::move(rows)), seconds_(std::move(seconds)) {
  for (size_t i = 1; i < seconds_.size(); ++i) seconds_[i] = std::max(seconds_[i], seconds_[i - 1]);
}

double CostCurve::at(int rows) const {
  if (rows_.empty()) return 0;
  if (rows <= rows_.front()) return seconds_.front();
  for (size_t i = 1; i < rows_.size(); ++i)
    if (rows <= rows_[i] || i + 1 == rows_.size()) {
      const double t = static_cast<double>(rows - rows_[i - 1]) / (rows_[i] - rows_[i - 1]);
      return seconds_[i - 1] + t * (seconds_[i] - seconds_[i - 1]);
    }
  return seconds_.back();
}

// The whole curve follows a pass that took longer or shorter, and the nearest point of it most.
void CostCurve::note(int rows, double seconds) {
  const double expected = at(rows);
  if (expected <= 0 || seconds > 5 * expected) return;  // held up by something else
  const double ratio = seconds / expected;
  size_t nearest = 0;
  for (size_t i = 0; i < rows_.size(); ++i)
    if (std::abs(rows_[i] - rows) < std::abs(rows_[nearest] - rows)) nearest = i;
  for (size_t i = 0; i < rows_.size(); ++i) seconds_[i] *= 1 + (i == nearest ? 0.05 : 0.01) * (ratio - 1);
  for (size_t i = 1; i < seconds_.size(); ++i) seconds_[i] = std::max(seconds_[i], seconds_[i - 1]);
}

// Before anything was seen: a draft is a little too sure of itself, and of second choices much.
Acceptance::Acceptance() {
  for (int r = 0; r < kRanks; ++r)
    for (int b = 0; b < kBins; ++b) {
      const double p = (b + 0.5) / kBins;
      by_[r][b].all = 4, by_[r][b].hits = 4 * (r == 0 ? 0.1 + 0.85 * p : 0.7 * p);
    }
  for (int d = 0; d < kDepths; ++d) lookup_[d].all = 4, lookup_[d].hits = d == 0 ? 1.6 : 2.8;
  first_.all = 8, first_.hits = 5.6;
}
double Acceptance::of(int rank, float p) const {
  return by_[std::min(rank, kRanks - 1)][std::clamp(static_cast<int>(p * kBins), 0, kBins - 1)].rate();
}
double Acceptance::of_lookup(int depth) const {
  return lookup_[std::clamp(depth - 1, 0, kDepths - 1)].rate();
}
double Acceptance::first_choice() const { return first_.rate(); }

void Acceptance::note(const TokenTree& tree, int node, bool accepted) {
  const size_t n = static_cast<size_t>(node);
  if (tree.source[n] == DraftedBy::lookup) {
    lookup_[std::clamp(tree.depth[n] - 1, 0, kDepths - 1)].note(accepted);
    return;
  }
  by_[std::min(tree.rank[n], kRanks - 1)]
     [std::clamp(static_cast<int>(tree.probability[n] * kBins), 0, kBins - 1)]
         .note(accepted);
  if (tree.rank[n] == 0) first_.note(accepted);
}

bool Policy::model_pays() const {
  const double a = acceptance.first_choice(), base = costs_.target.at(1);
  double best = 0, gain = 0, reach = 1, drafted = costs_.draft.at(1);
  for (int k = 1; k <= 8; ++k) {
    if (k > 1) drafted += costs_.draft.at(1);
    gain += reach *= a;
    best = std::max(best, gain - rate_ * (drafted + costs_.target.at(k + 1) - base));
  }
  return best > 0;
}
bool Policy::deeper_pays(double reach, int nodes) const {
  return reach * acceptance.first_choice() >
         rate_ * (costs_.draft.at(1) + costs_.target.at(nodes + 1) - costs_.target.at(nodes));
}
bool Policy::row_pays(double reach, int nodes) const {
  return reach > rate_ * (costs_.target.at(nodes + 1) - costs_.target.at(nodes));
}
void Policy::note_step(int tokens, double seconds) {
  tokens_ = tokens_ * 0.98 + tokens, seconds_ = seconds_ * 0.98 + seconds;
  // A little below what was reached: a lucky stretch must not make every other step look poor.
  const double plain = 1 / costs_.target.at(1);
  if (seconds_ > 0) rate_ = std::max(plain, 0.92 * tokens_ / seconds_);
}

}  // namespace hedgerow
