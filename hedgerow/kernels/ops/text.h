// SPDX-License-Identifier: Apache-2.0
// What ops on tokens are given: their rows, the best of what a model says of the next, the accepted path of a
// tree. How to read it: kernels.h.
#pragma once

#include <cstdint>

#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"
#include "hedgerow/kernels/ops/linear.h"

namespace hedgerow {

// out[i] = row ids[i] of a matrix of codes or values with one band.
struct EmbedArgs {
  Tensor ids;  // i32 [rows], in [0, n)
  const PackedLinear* w = nullptr;
  Tensor out;  // f32 [rows, k]
  Ragged rows;
};

// The `count` largest columns of each row, the largest first, a lower column first where values are equal;
// what is no number comes last.
struct TopColumnsArgs {
  Tensor x;  // f32 [rows, columns]
  int count = 1;
  Tensor columns;        // i32 [rows, count]; -1 where a row has fewer columns
  Tensor values = {};    // optional f32 [rows, count]
  Tensor log_sums = {};  // optional f32 [rows]: the logarithm of the sum of e^x over a row's columns
  Ragged rows;
};

// Greedy verification of one tree a batch entry (Sequoia's greedy walk): from row 0 on to the child whose
// token is the row's choice, as long as there is one.
struct LongestPathArgs {
  Tensor parents;  // i32 [rows]: row of the same tree, before its own; -1 for row 0
  Tensor tokens;   // i32 [rows]
  Tensor choice;   // i32 [rows]: the token that follows each row
  Tensor path;     // i32 [rows]: rows of the tree from row 0 on, as many as `lengths` says
  Tensor lengths;  // i32 [batch]: at least 1
  Ragged rows;
};

}  // namespace hedgerow
