// SPDX-License-Identifier: Apache-2.0
// Which tree pays: what passes cost here, how often drafted tokens were right, and the tree that adds most
// tokens a second. Nothing of it changes a token; it decides what is drafted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hedgerow/language/tree.h"

namespace hedgerow {

// Seconds of a pass by its rows: measured at some, straight lines in between, corrected as passes go by.
class CostCurve {
 public:
  CostCurve() = default;
  CostCurve(std::vector<int> rows, std::vector<double> seconds);
  double at(int rows) const;
  void note(int rows, double seconds);  // a pass that was made
  bool empty() const { return rows_.empty(); }
  const std::vector<int>& rows() const { return rows_; }
  const std::vector<double>& seconds() const { return seconds_; }

 private:
  std::vector<int> rows_;
  std::vector<double> seconds_;
};

struct Costs {
  CostCurve target = {}, draft = {};  // decode passes
  double draft_prefill = 0;           // seconds a token of a long pass
};

// How often a drafted token was the target's choice where its parent was, by what the draft said of it: rank
// among siblings and probability, tables of counts that forget slowly.
class Acceptance {
 public:
  Acceptance();
  double of(int rank, float probability) const;
  double of_lookup(int depth) const;
  // First choices behind nodes of this depth, whatever their probability.
  double first_choice() const;
  void note(const TokenTree& tree, int node, bool accepted);

 private:
  static constexpr int kRanks = 4, kBins = 10, kDepths = 8;
  struct Count {
    double hits = 0, all = 0;
    void note(bool hit) { hits = hits * 0.995 + hit, all = all * 0.995 + 1; }
    double rate() const { return hits / all; }
  };
  Count by_[kRanks][kBins], lookup_[kDepths], first_;
};

// Decides step by step. Maximises tokens - rate x seconds, where `rate` is what is reached of late: so the
// tokens a second are maximised (Dinkelbach).
class Policy {
 public:
  explicit Policy(const Costs& costs) : costs_(costs), rate_(1 / costs.target.at(1)) {}

  // Would drafting with the model pay at all this step? What its cache lacks of the text is read for later
  // steps too and does not count here.
  bool model_pays() const;
  // After a level: is one more pass of the model, for the best leaf, worth its time? `reach`: of that leaf,
  // as estimated; `nodes`: in the tree.
  bool deeper_pays(double reach, int nodes) const;
  // Is one more row worth its time in the target's pass?
  bool row_pays(double reach, int nodes) const;
  void note_step(int tokens, double seconds);

  Acceptance acceptance;
  Costs& costs() { return costs_; }

 private:
  Costs costs_;
  double rate_, tokens_ = 0, seconds_ = 0;
};

}  // namespace hedgerow
