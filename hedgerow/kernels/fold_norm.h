// SPDX-License-Identifier: Apache-2.0
// A layer norm as part of the product after it: norm(x) w^T + bias = x (gamma w)^T / deviation(x) + (bias + w
// beta), where the rows of gamma w are made to sum to zero, so that they take off a row's mean themselves. A
// division is what stays.
#pragma once

#include <vector>

namespace hedgerow {

struct FoldedNorm {
  std::vector<float> w, bias;  // [n, k], [n]
};
// bias may be null.
FoldedNorm fold_norm(const float* w, const float* bias, const float* gamma, const float* beta, int n, int k);

}  // namespace hedgerow
