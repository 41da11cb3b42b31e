// SPDX-License-Identifier: Apache-2.0
// What the ops that make, move and mark rows are given. The last two are small steps that a caller with
// offsets in host memory could take by itself; they are ops so that a pass whose lengths live on a device
// never has to ask. How to read it: kernels.h.
#pragma once

#include <cstdint>

#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"

namespace hedgerow {

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

// out[i] = index[i] < 0 ? 0 : x[index[i]], whole rows of f, r or i32.
struct GatherArgs {
  Tensor x;      // [*, dim] or [*]
  Tensor index;  // i32 [rows]
  Tensor out;    // like x, [rows, ...]
  Ragged rows;   // rows of out
};

// out[index[i]] = x[i] for index[i] >= 0; other rows of out are left alone. index has no repeats. (Unpack to
// a grid.)
struct ScatterArgs {
  Tensor x;      // [rows, dim] or [rows], like x of gather
  Tensor index;  // i32 [rows]
  Tensor out;
  Ragged rows;  // rows of x
};

// index[i * special + t] = offsets[i] + t: the rows that lead each sequence (read-out rows). No sequence of
// `rows` is shorter than `special`.
struct LeadRowsArgs {
  Ragged rows;
  int special = 1;
  Tensor index;  // out i32 [batch * special]
};

// out[i] = (size ? log(size[i]) : 0), or -inf where a row is not alive: attention's key_bias.
struct KeyBiasArgs {
  Tensor size = {};   // optional f32 [rows]
  Tensor alive = {};  // optional u8 [rows]
  Tensor out;         // f32 [rows]
  Ragged rows;
};

}  // namespace hedgerow
