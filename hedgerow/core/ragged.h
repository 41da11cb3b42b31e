// SPDX-License-Identifier: Apache-2.0
// Ragged: a packed batch of token rows. Sequence i owns rows offsets[i] .. offsets[i+1]-1; a dense batch is
// the ragged batch whose lengths happen to be equal.
//
// The offsets live where the backend computes (host memory for the CPU table, device memory for a GPU table).
// The host knows bounds only: how many sequences, how many rows at most, how long a sequence at most. Ops
// read the live row count from offsets[batch], never from a tensor's extent.
#pragma once

#include <cstdint>

#include "hedgerow/core/tensor.h"

namespace hedgerow {

struct Ragged {
  const int32_t* offsets = nullptr;  // [batch + 1], int32, first 0, never falling
  int batch = 0;                     // sequences
  int row_capacity = 0;              // offsets[batch] is at most this
  int max_len = 0;                   // no sequence is longer than this
  int likely_rows = 0;  // a guess at offsets[batch], for choosing how to compute; 0: row_capacity

  HEDGEROW_INLINE int expected_rows() const { return likely_rows > 0 ? likely_rows : row_capacity; }

  // Only where the offsets are in host memory.
  HEDGEROW_INLINE int begin(int i) const { return offsets[i]; }
  HEDGEROW_INLINE int end(int i) const { return offsets[i + 1]; }
  HEDGEROW_INLINE int length(int i) const { return offsets[i + 1] - offsets[i]; }
  HEDGEROW_INLINE int rows() const { return offsets[batch]; }
};

}  // namespace hedgerow
