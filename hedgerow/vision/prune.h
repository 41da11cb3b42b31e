// SPDX-License-Identifier: Apache-2.0
// Pruning methods as data: which method, where, and how much per image. vit_prune.cpp turns them into ops at
// four places of a block (before it, inside attention, between attention and MLP, after it).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace hedgerow {

enum class PruneMethod : uint8_t {
  none,
  threshold_l2,  // L2 norm of the token after `after` blocks; top-k, threshold, quantile or mass
  dynamicvit,    // Rao et al. 2021: predictors before blocks 3, 6, 9
  evit,          // Liang et al. 2022: CLS attention in blocks 3, 6, 9, dropped tokens fused into one
  evit_unfused,  // the same, dropped tokens discarded
  ats,           // Fayyaz et al. 2022: blocks 3 to 11, queries dropped after the softmax
  tome,          // Bolya et al. 2023: bipartite merging in every block
  diffrate,      // Chen et al. 2023: prune and merge lists per block
  paper_l2,      // the four scorers of "Dispatch-Aware Ragged Attention", one prune after `after` blocks
  paper_dynamicvit,
  paper_evit,
  paper_ats,
  custom,  // scores from a callback or an array, one prune after `after` blocks
};

const char* name_of(PruneMethod method);              // "threshold-l2", ...
PruneMethod prune_method(const std::string& name);    // Error listing the names if unknown
const std::vector<PruneMethod>& all_prune_methods();  // without custom

// How many patches survive where the method leaves that open (threshold-l2, paper-*, custom).
enum class KeepRule : uint8_t {
  rate,       // int(keep * patches) of the highest scores
  threshold,  // scores at or above budget.threshold
  quantile,   // scores at or above the budget.threshold-quantile of the image's own scores: 0.5 keeps the
              // upper half
  mass,       // the smallest set whose share of the summed scores reaches budget.mass
};

// What may differ per image in one batch.
struct PruneBudget {
  double keep = 0.7;  // kept fraction; also the per-stage rate of DynamicViT and EViT
  double keep_max =
      0;  // paper-*: above keep, the rate is drawn uniformly from [keep, keep_max] (seed, picture content)
  double threshold = 0;  // KeepRule::threshold; KeepRule::quantile
  double mass = 0.9;     // KeepRule::mass
  int floor = 0;         // keep at least this many patches
  int merge = 13;        // ToMe's r

  bool operator==(const PruneBudget&) const = default;
};

// Scores for PruneMethod::custom: fill `scores` [rows] for one image given its token rows [rows, dim]
// (special rows first) and their patch positions; `block` blocks have run. Called on one thread, images in
// order.
using ScoreFunction = std::function<void(int image, int block, int rows, int dim, const float* tokens,
                                         const int32_t* patch, float* scores)>;

// What a method of your own sees after a block: all rows of the batch, sequence i at offsets[i] .. offsets[i
// + 1] - 1.
struct PruneView {
  int block = 0, batch = 0, dim = 0, special = 1;
  const int32_t* offsets = nullptr;  // [batch + 1]
  const int32_t* patch = nullptr;    // [rows] patch position, -1 for special and fused rows
  const float* tokens = nullptr;     // [rows, dim]
};

struct Prune {
  PruneMethod method = PruneMethod::none;
  KeepRule rule = KeepRule::rate;
  PruneBudget budget;                  // for every image,
  std::vector<PruneBudget> per_image;  // unless given here, one per image
  int after = 4;                       // single-prune methods: after this many blocks
  std::string rates;                   // diffrate: name of its list ("T 0.8"); empty: by model width
  uint64_t seed = 0;
  // ats, for speed studies: [image][block] rows leaving each block, special rows counted; that many of the
  // best-scored patches stay instead of those that sampling would pick.
  std::vector<std::vector<int32_t>> imposed;
  ScoreFunction score = {};  // custom
  // A method of your own. after_block: set keep[row] = 0 to stop a row, special rows too (a picture may end
  // up with none). readout: fill rows [batch, special * dim], what the final norm and head see, in place of
  // the surviving special rows.
  std::function<void(const PruneView& view, uint8_t* keep)> after_block = {};
  std::function<void(int batch, int width, float* rows)> readout = {};
};

}  // namespace hedgerow
