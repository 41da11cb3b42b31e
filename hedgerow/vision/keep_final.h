// SPDX-License-Identifier: Apache-2.0
// "Half of the patches left at the end", in each method's own terms: one prune keeps that half, three stages
// keep about four fifths each, ToMe merges so many pairs a block.
#pragma once

#include "hedgerow/vision/prune.h"
#include "hedgerow/vision/vit.h"

namespace hedgerow {

// Can the share of patches left at the end be asked of the method? Not of what the picture decides (ats) nor
// of published lists (diffrate).
bool has_final_share(PruneMethod method);

// Rows besides the special ones that reach the last block, by rate. The row that EViT's last stage fuses is
// not counted, one of an earlier stage may be among them; where special rows compete (paper-l2,
// paper-dynamicvit) and lose, a patch more stays for each.
int final_count(PruneMethod method, const PruneBudget& budget, const VitConfig& config, int patches);

// `budget` with the keep rate (ToMe: r) that leaves rate_count(patches, share) of them, or as near to it as
// the method gets. Error if it has no such share.
PruneBudget budget_for_final(PruneMethod method, PruneBudget budget, double share, const VitConfig& config,
                             int patches);

}  // namespace hedgerow
