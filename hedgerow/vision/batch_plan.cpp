// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/vision/batch_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/vision/methods.h"
#include "hedgerow/vision/prune_schedule.h"

namespace hedgerow {
namespace {

// Runs for every picture of every batch: messages are put together only where they are needed.
void check_budget(const PruneBudget& b, int image) {
  const auto wanted = [image](const char* what, const char* range, double found) {
    throw Error(fmt::format("{} of picture {}: wanted {}, found {}", what, image, range, found));
  };
  if (!(b.keep >= 0 && b.keep <= 1)) wanted("keep", "0 to 1", b.keep);
  if (!(b.mass >= 0 && b.mass <= 1)) wanted("mass", "0 to 1", b.mass);
  if (b.keep_max != 0 && !(b.keep_max >= b.keep && b.keep_max <= 1))
    wanted("keep range", fmt::format("{} to 1", b.keep).c_str(), b.keep_max);
  if (b.floor < 0) wanted("floor", "0 or more", b.floor);
  if (b.merge < 0) wanted("merge", "0 or more", b.merge);
}

// ATS leaves about these shares of the patches of a photograph after its first block and after each one more
// (means of 400).
constexpr double kAtsFirstShare = 0.8, kAtsShare = 0.89;

}  // namespace

bool special_competes(const Prune& p) {
  return p.rule == KeepRule::rate && traits_of(p.method).competing_special;
}
SelectMode mode_of(KeepRule rule) {
  switch (rule) {
    case KeepRule::rate:
      return SelectMode::top_k;
    case KeepRule::threshold:
      return SelectMode::threshold;
    case KeepRule::quantile:
      return SelectMode::quantile;
    case KeepRule::mass:
      return SelectMode::mass;
  }
  throw Error(fmt::format("prune: keep rule number {} is unknown", static_cast<int>(rule)));
}

const PruneBudget& budget_of(const Prune& p, int image) {
  return p.per_image.empty() ? p.budget : p.per_image[static_cast<size_t>(image)];
}

double drawn_rate(const Prune& p, int image, uint64_t content) {
  const PruneBudget& b = budget_of(p, image);
  if (b.keep_max <= b.keep) return b.keep;
  return b.keep + (b.keep_max - b.keep) * Rng{p.seed, content}.uniform(0);
}

void check_prune(const VitConfig& c, bool has_predictors, const Prune& p, Layout layout, int batch) {
  const MethodTraits& m = traits_of(p.method);
  // Runs for every batch: messages are put together only where they are needed.
  if (!p.per_image.empty() && static_cast<int>(p.per_image.size()) != batch)
    throw Error(fmt::format("prune: per-picture budgets: wanted {}, found {}", batch, p.per_image.size()));
  for (int i = 0; i < batch; ++i) check_budget(budget_of(p, i), i);
  if (!p.imposed.empty()) {
    require(p.method == PruneMethod::ats, "prune: imposed counts are for ats");
    if (static_cast<int>(p.imposed.size()) != batch)
      throw Error(
          fmt::format("prune: imposed counts: wanted {} pictures, found {}", batch, p.imposed.size()));
    for (const auto& rows : p.imposed)
      if (static_cast<int>(rows.size()) != c.layers)
        throw Error(fmt::format("prune: imposed counts: wanted {} blocks, found {}", c.layers, rows.size()));
  }
  if (layout == Layout::padded && !m.runs_full_grid)
    throw Error(fmt::format(
        "prune {}: merged rows have no place in a full grid; use --layout ragged or padded-max", m.name));
  if (m.blocks == ChoosesIn::one && (p.after < 1 || p.after >= c.layers))
    throw Error(fmt::format("prune-after: wanted 1 to {}, found {}", c.layers - 1, p.after));
  require(p.method != PruneMethod::dynamicvit || has_predictors,
          "prune dynamicvit: wanted a checkpoint with score_predictor weights, found none");
  require(p.method != PruneMethod::custom || p.score, "prune custom: wanted a score function, found none");
  if (p.method == PruneMethod::diffrate) {
    if (c.layers != 12)
      throw Error(fmt::format("prune diffrate: its lists are for 12 blocks, found {}", c.layers));
    diffrate_list(p.rates, c.dim);
  }
  require(!p.after_block || (layout == Layout::ragged && p.method == PruneMethod::none),
          "prune: an after_block function wants the ragged layout and no other method");
}

SinglePrune single_prune(const Prune& p, int image, int patches, int special, uint64_t content) {
  const PruneBudget& b = budget_of(p, image);
  const bool competes = traits_of(p.method).competing_special;
  const int pool = patches + (competes ? special : 0);
  return {.count = std::max(rate_count(pool, drawn_rate(p, image, content)), competes ? 1 : b.floor),
          .threshold = static_cast<float>(b.threshold),
          .mass = p.rule == KeepRule::quantile ? 1.0 - b.threshold : b.mass,
          .floor = b.floor};
}

namespace {

// One picture's rows as the plan walks through the blocks.
struct Foreseen {
  double live;        // patches alive, as far as foreseen
  int most;           // what they cannot exceed
  bool exact = true;  // as long as the data decides nothing, live is exact
};

// What the choice of block b does to picture i: its entries of the plan, and what it leaves.
void plan_choice(const VitConfig& c, const Prune& p, const DiffRateList* list, int b, size_t i, int patches,
                 uint64_t content, BatchPlan& plan, Foreseen& rows) {
  const size_t at = static_cast<size_t>(b) * static_cast<size_t>(plan.batch) + i;
  const int image = static_cast<int>(i), special = c.special(), now = static_cast<int>(rows.live);
  const PruneBudget& budget = budget_of(p, image);
  if (traits_of(p.method).blocks == ChoosesIn::one) {
    const SinglePrune one = single_prune(p, image, patches, special, content);
    plan.counts[at] = one.count;
    plan.thresholds[i] = one.threshold;
    plan.masses[i] = one.mass;
    plan.floors[i] = one.floor;
    const int kept = one.count - (special_competes(p) ? special : 0);
    rows.exact = p.rule == KeepRule::rate;
    rows.live = rows.exact ? std::min(now, std::max(kept, 0)) : 0.5 * rows.live;
    return;
  }
  switch (p.method) {
    case PruneMethod::dynamicvit:
      plan.counts[at] = dynamicvit_count(patches, budget.keep, prune_stage(b, c.layers));
      rows.live = std::min(now, plan.counts[at]);
      return;
    case PruneMethod::evit:
    case PruneMethod::evit_unfused: {
      plan.counts[at] = evit_count(now, budget.keep);
      const bool fuses = traits_of(p.method).fuses_dropped && plan.counts[at] < now;
      rows.live = plan.counts[at] + (fuses ? 1 : 0);
      return;
    }
    case PruneMethod::ats:
      if (!p.imposed.empty()) {
        plan.counts[at] = std::max(0, p.imposed[i][static_cast<size_t>(b)] - special);
        rows.live = std::min(now, plan.counts[at]);
      } else {
        rows.live *= rows.exact ? kAtsFirstShare : kAtsShare;
        rows.exact = false;
      }
      return;
    case PruneMethod::diffrate: {
      const auto left = [&](int entry) {
        return std::min(diffrate_count(entry, patches + special, special) - special, now);
      };
      plan.counts[at] = left(list->prune[b]);
      // An entry of the merge list at or above the prune list's means: nothing merges.
      plan.merges[at] = left(std::min(list->prune[b], list->merge[b]));
      if (plan.merges[at] < now) plan.cuts |= uint64_t{1} << b;
      if (plan.merges[at] < plan.counts[at]) plan.foldings |= uint64_t{1} << b;
      rows.live = plan.merges[at];
      return;
    }
    case PruneMethod::tome:
      plan.counts[at] = plan.merges[at] = tome_pairs(now + special, special, budget.merge);
      if (plan.counts[at] > 0) plan.cuts |= uint64_t{1} << b;
      rows.live = now - plan.counts[at];
      return;
    default:  // none, and those that choose once
      return;
  }
}

}  // namespace

void plan_batch(const VitConfig& c, const Prune& p, const std::vector<int>& patches,
                const std::vector<uint64_t>& content, BatchPlan& plan) {
  const MethodTraits& m = traits_of(p.method);
  const size_t n = patches.size(), layers = static_cast<size_t>(c.layers);
  const int special = c.special();
  plan.batch = static_cast<int>(n);
  plan.layers = c.layers;
  plan.cuts = plan.foldings = 0;
  plan.counts.assign(layers * n, 0);
  plan.merges.assign(layers * n, 0);
  plan.floors.assign(n, 0);
  plan.samples.assign(patches.begin(), patches.end());
  plan.thresholds.assign(n, 0);
  plan.masses.assign(n, 0);
  for (auto* rows : {&plan.bounds.likely_rows, &plan.bounds.most_rows, &plan.bounds.longest})
    rows->assign(layers, 0);
  const DiffRateList* list = p.method == PruneMethod::diffrate ? &diffrate_list(p.rates, c.dim) : nullptr;
  for (size_t i = 0; i < n; ++i) {
    Foreseen rows{.live = static_cast<double>(patches[i]), .most = patches[i]};
    for (int b = 0; b < c.layers; ++b) {
      const bool chooses = chooses_in(m, p, b, c.layers);
      if (chooses) plan_choice(c, p, list, b, i, patches[i], content[i], plan, rows);
      // Special rows that compete may lose, and are kept all the same: then one more patch stays for each.
      const int lost = chooses && special_competes(p) ? special : 0;
      if (rows.exact) rows.most = std::min(rows.most, static_cast<int>(rows.live) + lost);
      const size_t block = static_cast<size_t>(b);
      plan.bounds.likely_rows[block] += static_cast<int>(rows.live) + special;
      plan.bounds.most_rows[block] += rows.most + special;
      plan.bounds.longest[block] = std::max(plan.bounds.longest[block], rows.most + special);
    }
  }
}

bool PlanMemory::update(const VitConfig& config, const Prune& p, const std::vector<int>& patches,
                        const std::vector<uint64_t>& content) {
  Prune& was = prune_;
  if (!patches_.empty() && p.method == was.method && p.rule == was.rule && p.budget == was.budget &&
      p.per_image == was.per_image && p.after == was.after && p.rates == was.rates && p.seed == was.seed &&
      p.imposed == was.imposed && patches == patches_ && content == content_)
    return false;
  patches_.clear();  // remembers nothing if the plan throws
  plan_batch(config, p, patches, content, plan_);
  // Copied one by one, all but the callbacks: what is there already is used again.
  was.method = p.method;
  was.rule = p.rule;
  was.budget = p.budget;
  was.per_image = p.per_image;
  was.after = p.after;
  was.rates = p.rates;
  was.seed = p.seed;
  was.imposed = p.imposed;
  content_ = content;
  patches_ = patches;
  return true;
}

}  // namespace hedgerow
