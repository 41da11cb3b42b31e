// SPDX-License-Identifier: Apache-2.0
// What the ops on single rows are given: moving, scoring, choosing, merging, bookkeeping. How to read it:
// kernels.h.
#pragma once

#include <cstdint>

#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"

namespace hedgerow {

// -----------------------------------------------------------------------------------------------------
// moving rows

// Images -> rows of patch values. Row offsets[i] + special + p holds patch p (row-major grid) of image i as
// (channel, y, x) - the order of a conv weight; the `special` rows in front become 0.
struct PatchifyArgs {
  const float* const* images = nullptr;  // [batch] CHW f32, 3 channels
  const int32_t* heights = nullptr;      // [batch] pixels, multiples of patch
  const int32_t* widths = nullptr;
  int patch = 16, special = 1;
  Tensor out;   // f [rows, 3 * patch * patch]
  Ragged rows;  // length i = special + (height/patch) * (width/patch)
};

// out[i] = index[i] < 0 ? 0 : x[index[i]], whole rows of any 4-byte dtype (f32, i32).
struct GatherArgs {
  Tensor x;      // [*, dim] or [*]
  Tensor index;  // i32 [rows]
  Tensor out;    // like x, [rows, ...]
  Ragged rows;   // rows of out
};

// out[index[i]] = x[i] for index[i] >= 0; other rows of out are left alone. index has no repeats. (Unpack to
// a grid.)
struct ScatterArgs {
  Tensor x;      // [rows, dim] or [rows], f32 or i32
  Tensor index;  // i32 [rows]
  Tensor out;
  Ragged rows;  // rows of x
};

// ------------------------------------------------------------------------------------------------- scores
// and choice

// out[i] = || x[i] ||_2 over the last axes (rank 2: dim; rank 3: heads x head_dim).
struct RowNormArgs {
  Tensor x;    // f [rows, dim] or [rows, heads, head_dim]
  Tensor out;  // f32 [rows]
  Ragged rows;
};

// out[i] = sum over heads of probs[i, h] / divisor, times weight[i] where given.
struct HeadScoreArgs {
  Tensor probs;       // f32 [rows, heads]
  Tensor weight;      // optional f32 [rows]
  float divisor = 1;  // heads: mean over heads
  Tensor out;         // f32 [rows]
  Ragged rows;
};

// How many rows of a sequence survive. Scores of special rows and of rows that are not alive take no part.
// Ties: the lower index wins. NaN counts as the lowest score. "candidates" = alive rows that are not special,
// m of them.
enum class SelectMode : uint8_t {
  top_k,      // the count[i] highest
  threshold,  // score >= threshold[i]
  quantile,   // score >= the (1 - mass[i]) quantile: the ceil(mass[i] * m) highest
  mass,  // highest first, the smallest set whose share of the sum reaches mass[i] (scores >= 0; computed in
         // double)
  ats,  // inverse-transform sampling at samples[i] heights (facts: Fayyaz et al. 2022, eq. 4-6, batch-1 form)
};

// Everything is per sequence, so one batch may mix rates. Unused arrays may be null.
struct SelectArgs {
  Tensor score;  // f32 [rows]
  Tensor alive;  // optional u8 [rows]: rows that still take part (masked layouts)
  Ragged rows;
  int special = 1;  // first rows of each sequence: always kept
  bool special_competes =
      false;  // top_k only: special rows are ranked too and use up count, kept all the same
  SelectMode mode = SelectMode::top_k;
  const int32_t* count = nullptr;    // [batch] candidates to keep (top_k)
  const float* threshold = nullptr;  // [batch]
  const double* mass = nullptr;      // [batch] in [0, 1]
  const int32_t* floor = nullptr;    // [batch] keep at least this many candidates (while there are as many)
  const int32_t* samples = nullptr;  // [batch] ATS sample heights
  int append = 0;  // 1: a sequence that drops anything gets one more row, index -1 (EViT's fused token)
  Tensor kept;     // out i32 [capacity]: packed row indices into `score`, ascending inside a sequence
  int32_t* kept_offsets = nullptr;  // out [batch + 1]
  Tensor alive_out;                 // optional out u8 [rows]: 1 = kept (may be `alive` itself)
};

// out[last row of sequence i of `to`] = sum over rows j of sequence i of `from` that are candidates and were
// dropped of score[j] * x[j], ascending j, weights not renormalised (EViT's fused token). Sequences without
// an appended row (last kept index >= 0) are left alone.
struct FuseDroppedArgs {
  Tensor x;      // f32 [from rows, dim]
  Tensor score;  // f32 [from rows]
  Tensor alive;  // optional u8 [from rows]
  Tensor kept;   // i32 [to rows], from select with append = 1
  Ragged from, to;
  int special = 1;
  Tensor out;  // f32 [to rows, dim]
};

// x[i, dim/2 .. dim) becomes its mean over the sequence's alive, non-special rows, for each of those rows
// (DynamicViT's global half). Rows that are special or not alive are left alone.
struct GlobalHalfArgs {
  Tensor x;      // f [rows, dim], in place
  Tensor alive;  // optional u8 [rows]
  int special = 1;
  Ragged rows;
};

// out[i] = log_softmax(x[i])[0] of two logits: DynamicViT's log-probability of "keep".
struct KeepLogProbArgs {
  Tensor x;    // f32 [rows, 2]
  Tensor out;  // f32 [rows]
  Ragged rows;
};

// ---------------------------------------------------------------------------------------------------------
// merging

// out[i] = v / ||v||_2, v = mean over heads of x[i] (rank 3) or x[i] itself (rank 2). A zero row stays 0.
struct UnitRowArgs {
  Tensor x;    // f [rows, heads, head_dim] or f32 [rows, dim]
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
  Tensor x;           // f32 [from rows, dim]
  Tensor size;        // f32 [from rows]
  Tensor into;        // i32 [from rows]: packed index of the row that absorbs row j; < 0: not absorbed
  Tensor similarity;  // f32 [from rows], plain_mean only
  Tensor kept;        // i32 [to rows]
  Ragged from, to;
  MergeRule rule = MergeRule::size_weighted;
  Tensor out;       // f32 [to rows, dim]; not x
  Tensor out_size;  // f32 [to rows]; not size
};

// --------------------------------------------------------------------------- bookkeeping between two ops
// Small steps that a caller with offsets in host memory could take by itself. They are ops so that a forward
// pass whose lengths live on a device never has to ask for them.

// index[i * special + t] = offsets[i] + t: the rows that lead each sequence (read-out rows). No sequence of
// `rows` is shorter than `special`.
struct LeadRowsArgs {
  Ragged rows;
  int special = 1;
  Tensor index;  // out i32 [batch * special]
};

// out[i] = (size ? log(size[i]) : 0), or -inf where a row is not alive: attention's key_bias.
struct KeyBiasArgs {
  Tensor size;   // optional f32 [rows]
  Tensor alive;  // optional u8 [rows]
  Tensor out;    // f32 [rows]
  Ragged rows;
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
