// SPDX-License-Identifier: Apache-2.0
// What the host knows of a batch before it runs: how many rows each choice of each picture keeps. Counts
// follow from the method's arithmetic alone; where the data decides (thresholds, mass, ATS), they stay open
// and only the rule is here.
#pragma once

#include <cstdint>
#include <vector>

#include "hedgerow/model/pass.h"
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
  RowBounds bounds;       // of the batch leaving each block, special rows counted

  const int32_t* counts_at(int block) const { return counts.data() + static_cast<size_t>(block) * batch; }
  const int32_t* merges_at(int block) const { return merges.data() + static_cast<size_t>(block) * batch; }
};

// patches, content: [batch]; `plan` is filled anew. For a method and budgets that check_prune() has let
// through.
void plan_batch(const VitConfig& config, const Prune& prune, const std::vector<int>& patches,
                const std::vector<uint64_t>& content, BatchPlan& plan);

// The plan of the last batch, made anew only where something that it follows from has changed.
class PlanMemory {
 public:
  // True where `plan` is another than before.
  bool update(const VitConfig& config, const Prune& prune, const std::vector<int>& patches,
              const std::vector<uint64_t>& content);
  const BatchPlan& plan() const { return plan_; }

 private:
  Prune prune_;  // without callbacks
  std::vector<int> patches_;
  std::vector<uint64_t> content_;
  BatchPlan plan_;
};

// Throws Error unless the method, its budgets and lists fit the model and the batch.
void check_prune(const VitConfig& config, bool has_predictors, const Prune& prune, Layout layout, int batch);
const PruneBudget& budget_of(const Prune& prune, int image);
// A range of rates is drawn from the picture's content and the seed, never from its place in the batch.
double drawn_rate(const Prune& prune, int image, uint64_t content);

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
