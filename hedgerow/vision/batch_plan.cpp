// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/vision/batch_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
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

bool merges_rows(PruneMethod m) { return m == PruneMethod::tome || m == PruneMethod::diffrate; }
bool is_evit(PruneMethod m) { return m == PruneMethod::evit || m == PruneMethod::evit_unfused; }
bool prunes_after_a_block(PruneMethod m) {
  return m == PruneMethod::threshold_l2 || m == PruneMethod::custom || m >= PruneMethod::paper_l2;
}
bool scores_by_attention_once(PruneMethod m) {
  return m == PruneMethod::paper_evit || m == PruneMethod::paper_ats;
}
bool special_competes(const Prune& p) {
  return p.rule == KeepRule::rate &&
         (p.method == PruneMethod::paper_l2 || p.method == PruneMethod::paper_dynamicvit);
}
SelectMode mode_of(KeepRule rule) {
  constexpr SelectMode kModes[] = {SelectMode::top_k, SelectMode::threshold, SelectMode::quantile,
                                   SelectMode::mass};
  return kModes[static_cast<int>(rule)];
}

bool drops_queries(const Prune& p, int block, int layers) {
  return p.method == PruneMethod::ats && block >= layers / 4;
}
bool wants_first_row(const Prune& p, int block, int layers) {
  if (is_evit(p.method)) return prune_stage(block, layers) >= 0;
  if (p.method == PruneMethod::diffrate) return true;
  if (drops_queries(p, block, layers)) return true;
  return scores_by_attention_once(p.method) && block == p.after - 1;
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
  require(p.per_image.empty() || static_cast<int>(p.per_image.size()) == batch,
          fmt::format("prune: per-picture budgets: wanted {}, found {}", batch, p.per_image.size()));
  for (int i = 0; i < batch; ++i) check_budget(budget_of(p, i), i);
  if (!p.imposed.empty()) {
    require(p.method == PruneMethod::ats, "prune: imposed counts are for ats");
    require(static_cast<int>(p.imposed.size()) == batch,
            fmt::format("prune: imposed counts: wanted {} pictures, found {}", batch, p.imposed.size()));
    for (const auto& rows : p.imposed)
      require(static_cast<int>(rows.size()) == c.layers,
              fmt::format("prune: imposed counts: wanted {} blocks, found {}", c.layers, rows.size()));
  }
  require(!merges_rows(p.method) || layout != Layout::padded,
          fmt::format("prune {}: merged rows have no place in a full grid; use --layout ragged or padded-max",
                      name_of(p.method)));
  if (prunes_after_a_block(p.method))
    require(p.after >= 1 && p.after < c.layers,
            fmt::format("prune-after: wanted 1 to {}, found {}", c.layers - 1, p.after));
  require(p.method != PruneMethod::dynamicvit || has_predictors,
          "prune dynamicvit: wanted a checkpoint with score_predictor weights, found none");
  require(p.method != PruneMethod::custom || p.score, "prune custom: wanted a score function, found none");
  if (p.method == PruneMethod::diffrate) {
    require(c.layers == 12, fmt::format("prune diffrate: its lists are for 12 blocks, found {}", c.layers));
    diffrate_list(p.rates, c.dim);
  }
  require(!p.after_block || (layout == Layout::ragged && p.method == PruneMethod::none),
          "prune: an after_block function wants the ragged layout and no other method");
}

SinglePrune single_prune(const Prune& p, int image, int patches, int special, uint64_t content) {
  const PruneBudget& b = budget_of(p, image);
  const bool competes = p.method == PruneMethod::paper_l2 || p.method == PruneMethod::paper_dynamicvit;
  const int pool = patches + (competes ? special : 0);
  return {.count = std::max(rate_count(pool, drawn_rate(p, image, content)), competes ? 1 : b.floor),
          .threshold = static_cast<float>(b.threshold),
          .mass = p.rule == KeepRule::quantile ? 1.0 - b.threshold : b.mass,
          .floor = b.floor};
}

BatchPlan plan_batch(const VitConfig& c, const VitRun& run, const std::vector<int>& patches,
                     const std::vector<uint64_t>& content) {
  const Prune& p = run.prune;
  const size_t n = patches.size(), layers = static_cast<size_t>(c.layers);
  const int special = c.special();
  BatchPlan plan;
  plan.batch = static_cast<int>(n);
  plan.layers = c.layers;
  plan.counts.assign(layers * n, 0);
  plan.merges.assign(layers * n, 0);
  plan.floors.assign(n, 0);
  plan.samples.assign(patches.begin(), patches.end());
  plan.thresholds.assign(n, 0);
  plan.masses.assign(n, 0);
  for (auto* rows : {&plan.likely_rows, &plan.most_rows, &plan.longest}) rows->assign(layers, 0);
  const DiffRateList* list = p.method == PruneMethod::diffrate ? &diffrate_list(p.rates, c.dim) : nullptr;
  for (size_t i = 0; i < n; ++i) {
    const int image = static_cast<int>(i);
    const double keep = budget_of(p, image).keep;
    double live = patches[i];
    int most = patches[i];  // as long as the data decides nothing, live is exact
    bool exact = true;
    for (int b = 0; b < c.layers; ++b) {
      const size_t at = static_cast<size_t>(b) * n + i;
      const int now = static_cast<int>(live), stage = prune_stage(b, c.layers);
      if (p.method == PruneMethod::dynamicvit && stage >= 0) {
        plan.counts[at] = dynamicvit_count(patches[i], keep, stage);
        live = std::min(now, plan.counts[at]);
      } else if (is_evit(p.method) && stage >= 0) {
        plan.counts[at] = evit_count(now, keep);
        live = plan.counts[at] + (p.method == PruneMethod::evit && plan.counts[at] < now ? 1 : 0);
      } else if (drops_queries(p, b, c.layers)) {
        if (!p.imposed.empty()) {
          plan.counts[at] = std::max(0, p.imposed[i][static_cast<size_t>(b)] - special);
          live = std::min(now, plan.counts[at]);
        } else {
          live *= exact ? kAtsFirstShare : kAtsShare;
          exact = false;
        }
      } else if (list) {
        plan.counts[at] =
            std::min(diffrate_count(list->prune[b], patches[i] + special, special) - special, now);
        const int entry = std::min(list->prune[b], list->merge[b]);
        plan.merges[at] = std::min(diffrate_count(entry, patches[i] + special, special) - special, now);
        if (plan.merges[at] < now) plan.cuts |= uint64_t{1} << b;
        if (plan.merges[at] < plan.counts[at]) plan.foldings |= uint64_t{1} << b;
        live = plan.merges[at];
      } else if (p.method == PruneMethod::tome) {
        plan.counts[at] = plan.merges[at] = tome_pairs(now + special, special, budget_of(p, image).merge);
        if (plan.counts[at] > 0) plan.cuts |= uint64_t{1} << b;
        live = now - plan.counts[at];
      } else if (prunes_after_a_block(p.method) && b == p.after - 1) {
        const SinglePrune one = single_prune(p, image, patches[i], special, content[i]);
        plan.counts[at] = one.count;
        plan.thresholds[i] = one.threshold;
        plan.masses[i] = one.mass;
        plan.floors[i] = one.floor;
        const int kept = one.count - (special_competes(p) ? special : 0);
        exact = p.rule == KeepRule::rate;
        live = exact ? std::min(now, std::max(kept, 0)) : 0.5 * live;
      }
      // Special rows that compete may lose, and are kept all the same: then one more patch stays for each.
      const int lost = special_competes(p) && b == p.after - 1 ? special : 0;
      if (exact) most = std::min(most, static_cast<int>(live) + lost);
      const size_t block = static_cast<size_t>(b);
      plan.likely_rows[block] += static_cast<int>(live) + special;
      plan.most_rows[block] += most + special;
      plan.longest[block] = std::max(plan.longest[block], most + special);
    }
  }
  return plan;
}

bool PlanMemory::update(const VitConfig& config, const VitRun& run, const std::vector<int>& patches,
                        const std::vector<uint64_t>& content) {
  const Prune &p = run.prune, &was = prune_;
  if (!patches_.empty() && p.method == was.method && p.rule == was.rule && p.budget == was.budget &&
      p.per_image == was.per_image && p.after == was.after && p.rates == was.rates && p.seed == was.seed &&
      p.imposed == was.imposed && patches == patches_ && content == content_)
    return false;
  patches_.clear();  // remembers nothing if the plan throws
  plan_ = plan_batch(config, run, patches, content);
  prune_ = {.method = p.method,
            .rule = p.rule,
            .budget = p.budget,
            .per_image = p.per_image,
            .after = p.after,
            .rates = p.rates,
            .seed = p.seed,
            .imposed = p.imposed};
  content_ = content;
  patches_ = patches;
  return true;
}

}  // namespace hedgerow
