// SPDX-License-Identifier: Apache-2.0
// What a product may take, by kind of tile: how linear() chooses one. Constants are fitted to sweeps
// (bench/cuda).
#pragma once

#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {

// What the sweeps, a loop over one product, do not show: in a pass the second-level cache serves the kernel
// after at the same time. us for every 10^6 bytes that all blocks read; for few rows, where that is what
// bounds a pass.
constexpr float kCrowding = 0.05f;
constexpr int kCrowdedRows = 512;

// How the rows of a small product are read: as they are, layer-normalised, or divided by their deviation.
enum class SmallRows : uint8_t { plain, normed, divided };

// The best plan of its kind and what it may take.
struct LinearGuess {
  LinearPlan plan;
  float us = 0;
};
LinearGuess small_guess(int row_capacity, int n, int k, SmallRows how);
// x, the residual and out of one dtype.
LinearGuess staged_guess(int rows, int n, int k, bool residual, Activation act);

}  // namespace hedgerow::cuda
