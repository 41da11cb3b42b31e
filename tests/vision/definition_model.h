// SPDX-License-Identifier: Apache-2.0
// The model on one picture, step by step; private to the definition.
#pragma once

#include <vector>

#include "hedgerow/vision/prune_schedule.h"
#include "tests/vision/definition.h"
#include "tests/vision/definition_choice.h"

namespace hedgerow::test {

class Model {
 public:
  Model(const VitParameters& parameters, const VitImage& image, const DefinedRun& run);
  Defined run();

 private:
  // definition.cpp
  void embed();
  void whole_block(int block);
  void last_block_for_readout(int block);
  void feed_forward(int block);
  void read_out();

  // definition_prune.cpp
  void dynamicvit(int block);
  std::vector<int> adaptive_sampling(int block, const Rows& first_row, const Rows& v);
  void evit(int block, const Rows& first_row);
  void tome(int block, const Rows& keys);
  void diffrate(int block, const Rows& first_row);
  void prune_once(int block, const Rows& first_row);
  Rows predictor(int block);
  Rows paper_gate(int block);
  Rows custom(int block) const;
  const ImposedChoice* imposed(int block) const;
  std::vector<int> choose(int block, const Rule& rule, Rows& score);
  void keep(const std::vector<int>& kept);
  void fold(int block, const std::vector<int>& kept, const std::vector<int>& into, const Rows& similarity,
            MergeRule rule);
  void check_order(int block, const std::vector<int>& kept);

  PruneMethod method() const { return run_.prune.method; }
  const PruneBudget& budget() const { return run_.prune.budget; }
  int special() const { return c_.special(); }
  int live() const { return x_.count - special(); }  // patches and fused rows
  int stage(int block) const { return prune_stage(block, c_.layers); }
  // In a full grid every row is computed; only those alive are looked at here.
  double computed() const { return run_.layout == Layout::padded ? grid_ : x_.count; }
  void at(const char* place, int block, Rows& rows, const std::vector<int32_t>& code) const {
    if (run_.at) run_.at(place, block, rows, code);
  }
  // In a full grid nothing moves.
  void moved(int block) {
    if (run_.layout != Layout::padded) at("kept", block, x_, code_);
  }

  const VitParameters& p_;
  const VitConfig& c_;
  const VitImage& image_;
  const DefinedRun& run_;
  const Ops ops_;
  const int patches_, grid_;
  Rows x_;                     // the residual stream
  std::vector<int32_t> code_;  // of its rows
  Rows size_;                  // of its rows, where methods merge
  Defined out_;
};

}  // namespace hedgerow::test
