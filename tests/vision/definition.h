// SPDX-License-Identifier: Apache-2.0
// What a Vision Transformer with a pruning method means: the whole model on one picture, op by op as the
// papers have it, over the scalar definitions in double of kernels/reference. Nothing is packed, recorded,
// skipped or fused; no other picture is there. The oracle that every backend is held against.
//
// Which rows survive may hang on a rounding. So choices can be imposed, as an observer read them from a run:
// the definition then follows them and says how near a tie each was (definition_choice.h).
//
// From the engine it takes the published counts (prune_schedule.h) and the resampling of positions
// (positions.h), which have tests of their own.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hedgerow/vision/vit.h"
#include "tests/vision/definition_ops.h"

namespace hedgerow::test {

// Codes of rows: patch p is p + 1, special row t is -(t + 1), the fused row of
// stage s is kFusedRow + s (what others call 0).
constexpr int32_t kFusedRow = 1 << 24;

// A choice made in (or before) a block: rows that go on, in their new order, as indices among the rows
// before; a new fused row is not among them. into: for each row before, the row that absorbs it, else -1;
// empty where rows are not merged.
struct ImposedChoice {
  int block = 0;
  std::vector<int> kept, into;
  bool operator==(const ImposedChoice&) const = default;
};

struct DefinedRun {
  Numerics numerics;
  Prune prune;  // `budget` for this picture; per_image and imposed (its one list) as in a batch of one
  Layout layout = Layout::ragged;  // decides nothing but the multiply-adds; padded_max counts as ragged
  bool whole_last_block = false;   // also where tokens are asked for
  const std::vector<ImposedChoice>* imposed = nullptr;  // blocks without one: the definition's own choice
  // Called at every place that an observer sees (model/observer.h) with the rows there, which it may look at
  // and replace. code: of each row. The last block has "kv" and, of the rows that are read out, "q" for
  // "qkv", unless it is whole; "head_input" is [special, dim], "logits" [1, classes].
  // A bound of infinity: anything may stand there.
  std::function<void(const char* place, int block, Rows& rows, const std::vector<int32_t>& code)> at;
};

struct Defined {
  Rows logits;                // [1, classes]
  std::vector<int32_t> kept;  // rows leaving each block
  double macs = 0;
  Rows tokens;                       // all rows behind the last block after the final norm
  std::vector<int32_t> token_patch;  // -1: special or fused
  double strain = 0;                 // the largest of all imposed choices
};

Defined define(const VitParameters& parameters, const VitImage& image, const DefinedRun& run);

}  // namespace hedgerow::test
