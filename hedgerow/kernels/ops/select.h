// SPDX-License-Identifier: Apache-2.0
// What the ops that score rows and choose among them are given. How to read it: kernels.h.
#pragma once

#include <cstdint>

#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"

namespace hedgerow {

// out[i] = || x[i] ||_2 over the last axes (rank 2: dim; rank 3: heads x head_dim).
struct RowNormArgs {
  Tensor x;    // f [rows, dim] or [rows, heads, head_dim]
  Tensor out;  // f32 [rows]
  Ragged rows;
};

// out[i] = sum over heads of probs[i, h] / divisor, times weight[i] where given.
struct HeadScoreArgs {
  Tensor probs;        // f32 [rows, heads]
  Tensor weight = {};  // optional f32 [rows]
  float divisor = 1;   // heads: mean over heads
  Tensor out;          // f32 [rows]
  Ragged rows;
};

// x[i, dim/2 .. dim) becomes its mean over the sequence's alive, non-special rows, for each of those rows
// (DynamicViT's global half). Rows that are special or not alive are left alone.
struct GlobalHalfArgs {
  Tensor x;           // f [rows, dim], in place
  Tensor alive = {};  // optional u8 [rows]
  int special = 1;
  Ragged rows;
};

// out[i] = log_softmax(x[i])[0] of two logits: DynamicViT's log-probability of "keep".
struct KeepLogProbArgs {
  Tensor x;    // f32 [rows, 2]
  Tensor out;  // f32 [rows]
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
  Tensor score;       // f32 [rows]
  Tensor alive = {};  // optional u8 [rows]: rows that still take part (masked layouts)
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
  Tensor alive_out = {};            // optional out u8 [rows]: 1 = kept (may be `alive` itself)
};

// out[last row of sequence i of `to`] = sum over rows j of sequence i of `from` that are candidates and were
// dropped of score[j] * x[j], ascending j, weights not renormalised (EViT's fused token). Sequences without
// an appended row (last kept index >= 0) are left alone.
struct FuseDroppedArgs {
  Tensor x;           // r [from rows, dim]
  Tensor score;       // f32 [from rows]
  Tensor alive = {};  // optional u8 [from rows]
  Tensor kept;        // i32 [to rows], from select with append = 1
  Ragged from, to;
  int special = 1;
  Tensor out;  // like x [to rows, dim]
};

}  // namespace hedgerow
