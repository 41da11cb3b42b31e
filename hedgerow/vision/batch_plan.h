// SPDX-License-Identifier: Apache-2.0
// What the host knows of a batch before it runs: how many rows each choice of each picture keeps. Counts
// follow from the method's arithmetic alone; where the data decides (thresholds, mass, ATS), they stay open
// and only the rule is here.
#pragma once

#include <cstdint>
#include <vector>

#include "hedgerow/vision/vit.h"

namespace hedgerow {

// Arrays are [batch], or [layers][batch] one block after another.
struct BatchPlan {
  int batch = 0, layers = 0;
  std::vector<int32_t> counts;  // [layers][batch] candidates that the choice made in a block keeps
  std::vector<int32_t>
      merges;  // [layers][batch] DiffRate: of those, what merging leaves; ToMe: pairs that merge
  std::vector<float> thresholds;
  std::vector<double> masses;
  std::vector<int32_t> floors, samples;
  uint64_t cuts = 0;      // bit b: block b drops or merges rows of some picture (DiffRate, ToMe)
  uint64_t foldings = 0;  // bit b: DiffRate folds rows in block b
  // [layers] of the batch leaving each block, special rows counted: rows as far as foreseen, and what rows
  // and the longest picture cannot exceed.
  std::vector<int> likely_rows, most_rows, longest;

  const int32_t* counts_at(int block) const { return counts.data() + static_cast<size_t>(block) * batch; }
  const int32_t* merges_at(int block) const { return merges.data() + static_cast<size_t>(block) * batch; }
};

// patches, content: [batch]. Errors: as PruneSteps, on budgets and schedules that make no sense.
BatchPlan plan_batch(const VitConfig& config, const VitRun& run, const std::vector<int>& patches,
                     const std::vector<uint64_t>& content);

// The plan of the last batch, made anew only where something that it follows from has changed.
class PlanMemory {
 public:
  // True where `plan` is another than before.
  bool update(const VitConfig& config, const VitRun& run, const std::vector<int>& patches,
              const std::vector<uint64_t>& content);
  const BatchPlan& plan() const { return plan_; }

 private:
  Prune prune_;  // without callbacks
  std::vector<int> patches_;
  std::vector<uint64_t> content_;
  BatchPlan plan_;
};

// Shared with PruneSteps: throws Error unless the method, its budgets and lists fit the model and the batch.
void check_prune(const VitConfig& config, bool has_predictors, const Prune& prune, Layout layout, int batch);
const PruneBudget& budget_of(const Prune& prune, int image);
// A range of rates is drawn from the picture's content and the seed, never from its place in the batch.
double drawn_rate(const Prune& prune, int image, uint64_t content);
bool merges_rows(PruneMethod method);
bool is_evit(PruneMethod method);
// Methods that prune once, after Prune::after blocks.
bool prunes_after_a_block(PruneMethod method);
bool scores_by_attention_once(PruneMethod method);
// Does the method need the softmax row of the first query of this block's attention?
bool wants_first_row(const Prune& prune, int block, int layers);
// Does this block drop queries inside its attention (ATS)?
bool drops_queries(const Prune& prune, int block, int layers);

// One picture's values of a single prune: how many candidates its rate keeps (special rows that compete are
// counted), and the share for SelectMode::mass or quantile.
struct SinglePrune {
  int32_t count;
  float threshold;
  double mass;
  int32_t floor;
};
SinglePrune single_prune(const Prune& prune, int image, int patches, int special, uint64_t content);
// The paper's L2 and gate scorers let CLS compete for a place that it has anyway, and count it.
bool special_competes(const Prune& prune);
SelectMode mode_of(KeepRule rule);

}  // namespace hedgerow
