// SPDX-License-Identifier: Apache-2.0
// The token counts of the pruning methods: which blocks prune, and how many patches each leaves. Plain
// arithmetic, in double as the originals compute it, so that the counts agree with the published ones
// exactly.
#pragma once

#include <string>

#include "hedgerow/vision/prune.h"

namespace hedgerow {

// Stage of DynamicViT and EViT at `block`: 0, 1, 2, or -1 where the block does not prune. A quarter, half and
// three quarters of the depth: blocks 3, 6, 9 of 12.
int prune_stage(int block, int layers);

// DynamicViT: int(patches * keep^(stage + 1)), truncated.
int dynamicvit_count(int patches, double keep, int stage);
// EViT: ceil(keep * live), live = patches alive before, an earlier fused token among them.
int evit_count(int live, double keep);
// One prune by rate over the patches: int(patches * keep), at least 1 (0 patches: 0).
int rate_count(int patches, double keep);
// ToMe: pairs merged in a block: r, at most half of the rows that are not special.
int tome_pairs(int rows, int special, int r);

// DiffRate's published lists: rows left by pruning and by merging in each of 12 blocks, CLS counted, for 197
// tokens.
struct DiffRateList {
  const char* name;  // model size and GMACs, "S 2.9"
  int prune[12], merge[12];
};
// By name, or by the model's width when the name is empty (192: T 0.8, 384: S 2.9, else B 11.5). Error
// listing the names.
const DiffRateList& diffrate_list(const std::string& name, int dim);
// An entry for a picture of `rows` tokens at the start: as listed for 197, else in proportion (rounded, at
// least special + 1).
int diffrate_count(int entry, int rows, int special);

}  // namespace hedgerow
