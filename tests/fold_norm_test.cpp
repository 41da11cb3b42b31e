// SPDX-License-Identifier: Apache-2.0
// A folded norm is a product and a division.
#include "hedgerow/kernels/fold_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "hedgerow/core/rng.h"

namespace hedgerow {
namespace {

TEST(FoldNorm, a_division_is_what_stays_of_a_norm) {
  constexpr int kDim = 48, kOut = 5;
  const auto normal = [](uint64_t i) { return static_cast<float>(Rng{3, 1}.normal(i)); };
  std::vector<float> w(kOut * kDim), bias(kOut), gamma(kDim), beta(kDim), x(kDim);
  for (size_t i = 0; i < w.size(); ++i) w[i] = normal(i);
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = normal(1000 + i);
  for (size_t i = 0; i < x.size(); ++i)
    gamma[i] = 1 + 0.3f * normal(2000 + i), beta[i] = normal(3000 + i), x[i] = 2 + 3 * normal(4000 + i);
  const FoldedNorm folded = fold_norm(w.data(), bias.data(), gamma.data(), beta.data(), kOut, kDim),
                   unbiased = fold_norm(w.data(), nullptr, gamma.data(), beta.data(), kOut, kDim);
  double mean = 0, variance = 0;
  for (float v : x) mean += v / kDim;
  for (float v : x) variance += (v - mean) * (v - mean) / kDim;
  for (size_t o = 0; o < kOut; ++o) {
    double want = bias[o], got = 0;
    for (size_t c = 0; c < kDim; ++c) {
      want += ((x[c] - mean) / std::sqrt(variance) * gamma[c] + beta[c]) * w[o * kDim + c];
      got += x[c] * folded.w[o * kDim + c];
    }
    EXPECT_NEAR(want, got / std::sqrt(variance) + folded.bias[o], 1e-5);
    EXPECT_NEAR(folded.bias[o], unbiased.bias[o] + bias[o], 1e-5);
  }
}

}  // namespace
}  // namespace hedgerow
