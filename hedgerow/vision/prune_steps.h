// SPDX-License-Identifier: Apache-2.0
// A pruning method at work in one forward pass: it sequences ops at four places of a block and knows nothing
// of the block's own mathematics. prune_steps.cpp drops rows, merge_steps.cpp folds rows into others.
#pragma once

#include "hedgerow/vision/batch_plan.h"
#include "hedgerow/vision/prune_schedule.h"
#include "hedgerow/vision/vit_state.h"

namespace hedgerow {

class PruneSteps {
 public:
  // Checks that the method fits the model and the layout; sets up the batch's budgets. Rows must be embedded.
  PruneSteps(VitState::Impl& state, const VitRun& run);

  // Only the read-out rows matter after the last attention. False where somebody looks at all rows.
  bool may_skip_to_readout() const {
    return !run_.prune.after_block && run_.output == Output::logits && !run_.whole_last_block;
  }
  // Does the method need the softmax row of the first query of this block's attention?
  bool wants_first_row(int block) const {
    return hedgerow::wants_first_row(run_.prune, block, s_.config().layers);
  }
  // Are dropped rows moved out (packed layouts), or only marked (full grid)?
  bool packs() const { return layout_ != Layout::padded; }
  // Does this block drop queries inside its attention (ATS)?
  bool drops_queries(int block) const {
    return hedgerow::drops_queries(run_.prune, block, s_.config().layers);
  }

  void before_block(int block);
  // ATS, packed layouts: chooses the rows that go on, from first_row and v. Afterwards kept and next's
  // offsets hold them.
  void choose_queries(int block, const Tensor& v);
  // ATS, full grid: every row was computed; marks the ones that go on.
  void mark_queries(int block, const Tensor& v);
  void after_attention(int block, const Tensor& k);  // k: this block's keys [rows, heads, head_dim]
  void after_block(int block);
  // Ends a step that moved rows into place by itself (ATS): padding for the padded-max layout, trace.
  void settle(int block);

 private:
  void score_first_row(float divisor, Tensor weight);
  void score_predictor(int stage);
  void score_paper_gate();
  void score_custom(int block);
  void rule_by_budget(SelectArgs& how);
  void drop(SelectArgs how, bool fuse, int block);
  void place_fused(const SelectArgs& chosen);
  void pad_to_longest();
  void run_hook(int block);
  void trace_stage(int block);

  void merge_tome(int block, const Tensor& k);
  void merge_diffrate(int block);
  void apply_merge(MergeRule rule, int block);
  bool cut(int block, const int* list);

  VitState::Impl& s_;
  const VitRun& run_;
  const PruneMethod method_;
  const Layout layout_;
  int fused_ = 0;  // fused tokens placed so far (full grid)
  const DiffRateList* list_ = nullptr;
};

}  // namespace hedgerow
