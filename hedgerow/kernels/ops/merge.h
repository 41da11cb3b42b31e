// SPDX-License-Identifier: Apache-2.0
// What the ops that find pairs of rows and fold them together are given, and the bookkeeping in between. How
// to read it: kernels.h.
#pragma once

#include <cstdint>

#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"

namespace hedgerow {

// out[i] = v / ||v||_2, v = mean over heads of x[i] (rank 3) or x[i] itself (rank 2). A zero row stays 0.
struct UnitRowArgs {
  Tensor x;    // f [rows, heads, head_dim] or f [rows, dim]
  Tensor out;  // f32 [rows, head_dim or dim]
  Ragged rows;
};

// For each source row: the target row of its sequence with the largest dot product (ties: lower row), packed
// index and value. Other rows: best = -1. A sequence without targets: best = -1 for its sources too.
struct MatchArgs {
  Tensor unit;  // f32 [rows, dim]
  Tensor role;  // u8 [rows]: 0 takes no part, 1 source, 2 target
  Ragged rows;
  Tensor best;        // out i32 [rows]
  Tensor similarity;  // out f32 [rows]
};

// ToMe: out[i] = (sum over members size[j] x[j]) / (sum size[j]), out_size = sum size[j].
// DiffRate: out[i] = plain mean over members, out_size = size[kept] + sum over absorbed of similarity[j] *
// size[j].
enum class MergeRule : uint8_t { size_weighted, plain_mean };

// Members of output row i: row kept[i] itself, then the absorbed rows j (ascending) with into[j] == kept[i].
struct MergeArgs {
  Tensor x;                // r [from rows, dim]
  Tensor size;             // f32 [from rows]
  Tensor into;             // i32 [from rows]: packed index of the row that absorbs row j; < 0: not absorbed
  Tensor similarity = {};  // f32 [from rows], plain_mean only
  Tensor kept;             // i32 [to rows]
  Ragged from, to;
  MergeRule rule = MergeRule::size_weighted;
  Tensor out;       // like x [to rows, dim]; not x
  Tensor out_size;  // f32 [to rows]; not size
};

// ToMe's halves: behind the special rows, rows at even places of a sequence are sources (role 1), at odd
// places targets (2); special rows, and all rows of a sequence with pairs[i] == 0, take no part (0).
struct TomeRolesArgs {
  Ragged rows;
  const int32_t* pairs = nullptr;  // [batch]
  int special = 1;
  Tensor role;    // out u8 [rows]
  Tensor source;  // out u8 [rows]: 1 where role is 1
};

// ToMe's order after a merge: special rows, sources that stay, targets (the next block's halves depend on
// it); a sequence with pairs[i] == 0 keeps its rows and their order. into[j] = best[j] for sources that
// merge, else -1.
struct TomeOrderArgs {
  Ragged rows;
  const int32_t* pairs = nullptr;  // [batch]
  int special = 1;
  Tensor role;                      // u8 [rows]
  Tensor merging;                   // u8 [rows]: of the sources, those that merge: pairs[i] in each sequence
  Tensor best;                      // i32 [rows], from match
  Tensor into;                      // out i32 [rows]
  Tensor kept;                      // out i32 [rows capacity]
  int32_t* kept_offsets = nullptr;  // out [batch + 1]
};

// DiffRate: of the rows that survive the prune, those that survive the merge too are targets (2), the others
// sources (1); special and pruned rows take no part (0).
struct SurvivorRolesArgs {
  Ragged rows;
  int special = 1;
  Tensor survives_prune, survives_merge;  // u8 [rows]
  Tensor role;                            // out u8 [rows]
};

}  // namespace hedgerow
