// SPDX-License-Identifier: Apache-2.0
// What sets one pruning method apart from another, a row of traits each: the engine, the program and the
// benchmarks read these and ask for no method by name.
#pragma once

#include "hedgerow/vision/prune.h"

namespace hedgerow {

// Which blocks choose. Blocks count from 0.
enum class ChoosesIn : uint8_t {
  none,
  one,           // the block after which Prune::after blocks have run
  quarters,      // those at a quarter, half and three quarters of the depth: 3, 6, 9 of 12
  from_quarter,  // every one from a quarter of the depth on
  all,
};
// Where in such a block.
enum class ChoosesAt : uint8_t { before_block, inside_attention, after_attention, after_block };
// What ranks the rows.
enum class RanksBy : uint8_t {
  nothing,
  row_norm,                 // length of the residual row
  predictor,                // DynamicViT's trained heads
  gate,                     // the paper's untrained gate (paper_gate.h)
  cls_attention,            // softmax row of the first query, mean over heads
  cls_attention_and_norm,   // the same times the residual row's length
  cls_attention_and_value,  // its sum over heads times the value's length
  key_similarity,           // of rows to their partners
  caller,                   // Prune::score
};

struct MethodTraits {
  PruneMethod method;
  const char* name;
  ChoosesIn blocks = ChoosesIn::none;
  ChoosesAt place = ChoosesAt::after_block;
  RanksBy ranks = RanksBy::nothing;
  bool keep_rate = false;          // PruneBudget::keep says how much stays
  bool keep_range = false;         // it may be a range that a rate is drawn from
  bool any_rule = false;           // every KeepRule
  bool competing_special = false;  // by rate, special rows take up places that they would have anyway
  bool fuses_dropped = false;      // what a choice drops becomes one row
  bool merges = false;             // rows fold into others: packed rows only, attention weighs them by size
  bool runs_full_grid = true;      // Layout::padded
};

const MethodTraits& traits_of(PruneMethod method);

// Does the method choose in this block of so many?
bool chooses_in(const MethodTraits& m, const Prune& prune, int block, int layers);
// Does it need the softmax row of the first query of this block's attention?
bool wants_first_row(const MethodTraits& m, const Prune& prune, int block, int layers);
// Does this block drop queries inside its attention?
bool drops_queries(const MethodTraits& m, const Prune& prune, int block, int layers);

}  // namespace hedgerow
