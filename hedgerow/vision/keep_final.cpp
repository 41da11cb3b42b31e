// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/vision/keep_final.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/methods.h"
#include "hedgerow/vision/prune_schedule.h"

namespace hedgerow {
namespace {

bool is_tome(const MethodTraits& m) { return m.ranks == RanksBy::key_similarity; }

}  // namespace

bool has_final_share(PruneMethod method) {
  const MethodTraits& m = traits_of(method);
  return m.keep_rate || is_tome(m);
}

int final_count(PruneMethod method, const PruneBudget& budget, const VitConfig& c, int patches) {
  const MethodTraits& m = traits_of(method);
  const int special = c.special();
  if (m.keep_rate && m.blocks == ChoosesIn::one) {
    const int with = m.competing_special ? special : 0;
    return std::max(rate_count(patches + with, budget.keep) - with, 0);
  }
  int left = patches, fused = 0;
  for (int block = 0; block < c.layers; ++block) {
    const int stage = prune_stage(block, c.layers);
    // The last block finishes the rows that are read and no others: nothing merges there.
    if (is_tome(m) && block + 1 < c.layers) left -= tome_pairs(left + special, special, budget.merge);
    if (!m.keep_rate || stage < 0) continue;
    if (m.ranks == RanksBy::predictor) {
      left = std::min(left, dynamicvit_count(patches, budget.keep, stage));
    } else {
      const int before = left + fused;
      left = evit_count(before, budget.keep);
      fused = m.fuses_dropped && left < before ? 1 : 0;
    }
  }
  return left;
}

PruneBudget budget_for_final(PruneMethod method, PruneBudget budget, double share, const VitConfig& c,
                             int patches) {
  require(has_final_share(method),
          fmt::format("keep-final: for methods with a rate (threshold-l2, dynamicvit, evit, evit-unfused, "
                      "paper-*) and tome, found {}",
                      name_of(method)));
  require(share > 0 && share <= 1,
          fmt::format("keep-final: wanted a share above 0 and at most 1, found {}", share));
  const int wanted = rate_count(patches, share);
  const auto off = [&](const PruneBudget& b) {
    return std::abs(final_count(method, b, c, patches) - wanted);
  };
  budget.keep_max = 0;
  if (is_tome(traits_of(method))) {
    PruneBudget tried = budget;
    budget.merge = 0;
    for (tried.merge = 1; tried.merge <= patches; ++tried.merge)
      if (off(tried) < off(budget)) budget.merge = tried.merge;
    return budget;
  }
  budget.keep = share;
  if (off(budget) == 0) return budget;
  // Counts grow with the rate, in steps: the middle of the step, so that the rate may be rounded when shown.
  const auto first_that_leaves = [&](int count) {
    PruneBudget tried = budget;
    double low = 0, high = 1;
    for (int step = 0; step < 50; ++step) {
      tried.keep = (low + high) / 2;
      (final_count(method, tried, c, patches) >= count ? high : low) = tried.keep;
    }
    return high;
  };
  budget.keep = (first_that_leaves(wanted) + first_that_leaves(wanted + 1)) / 2;
  PruneBudget below = budget;
  below.keep = first_that_leaves(wanted) * (1 - 1e-9);
  return off(below) < off(budget) ? below : budget;
}

}  // namespace hedgerow
