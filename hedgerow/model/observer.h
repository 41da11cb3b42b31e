// SPDX-License-Identifier: Apache-2.0
// An eye into a pass: what rows hold after each named step, on every backend.
//
// An observed pass computes the same bits; on a device it is queued op by op, and every observation waits for
// it.
#pragma once

#include <cstdint>
#include <functional>

#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"

namespace hedgerow {

struct Observation {
  // A place in the pass. Values: "embed", "qkv", "attention", "proj", "block", "head_input" [rows, ...],
  // "logits" [batch, classes]; in a last block of read-out rows only, "kv" and (of those rows) "q" for "qkv".
  // What a choice goes by: "predictor" [rows, dim] (the middle of a small network that scores rows), and f32
  // [rows] "score" and "similarity" of a row to the one that would absorb it (of rows that cannot be
  // absorbed: anything). Choices, i32: "choice" [rows], the row before it that each row goes on from (-1: a
  // row made of those that were dropped); "into" [rows before], the row before that absorbs it (-1: none).
  // The rows that go on from a choice outside attention that moves them: "kept" [rows, dim].
  const char* name;
  int block;             // from 0; -1: before the blocks; their number: behind them
  Tensor value;          // in host memory, of the pass's own dtype
  Ragged rows;           // of `value`, offsets in host memory
  const int32_t* patch;  // [rows] patch codes (vision/patch_code.h); null where rows are no tokens
};

using Observer = std::function<void(const Observation&)>;

}  // namespace hedgerow
