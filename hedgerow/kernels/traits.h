// SPDX-License-Identifier: Apache-2.0
// What is legal on a backend, as plain data. What pays there is the backend's own affair.
#pragma once

#include <limits>
#include <string>

#include "hedgerow/core/tensor.h"

namespace hedgerow {

// Asked of the machine once. Where an args struct says `f`, it means one of `rows`; `r`, one of `residual`.
struct Traits {
  DtypeSet weights;    // of matrices, and of rows that meet them: with weights of 8 bits, x is of their dtype
  DtypeSet rows;       // activations and what is computed from them, but for those of 8 bits
  DtypeSet residual;   // the residual stream, and what is scored, moved and merged of it
  bool codes = false;  // takes weights of codes, in f32 rows (pack_quant)
  // Whether products and attention store rows of any of these dtypes, whatever they multiply; else products
  // store f32 or the dtype of their weights, attention that of its queries.
  bool converts = false;
  int most_select_len = std::numeric_limits<int>::max();  // rows of a sequence that select takes
};

// "f32, bf16 or f16"
std::string text_of(DtypeSet set);

}  // namespace hedgerow
