// SPDX-License-Identifier: Apache-2.0
// Scales of e4m3 rows hold whatever a block can put out, and are not much larger than that.
#include <gtest/gtest.h>

#include <cmath>

#include "hedgerow/core/rng.h"
#include "hedgerow/vision/vit_eight_bits.h"

namespace hedgerow {
namespace {

constexpr int kDim = 48, kHidden = 80;
constexpr float kMost = 448;

std::vector<float> random(size_t count, uint64_t seed, float mean, float spread) {
  std::vector<float> v(count);
  for (size_t i = 0; i < count; ++i) v[i] = mean + spread * static_cast<float>(Rng{seed, 1}.normal(i));
  return v;
}

VitBlockParameters block() {
  VitBlockParameters b;
  b.norm1_weight = random(kDim, 1, 1, 0.5f), b.norm1_bias = random(kDim, 2, 0, 0.5f);
  b.norm2_weight = random(kDim, 3, 0.2f, 0.3f), b.norm2_bias = random(kDim, 4, 0, 2);
  b.fc1_weight = random(kHidden * kDim, 5, 0, 0.3f), b.fc1_bias = random(kHidden, 6, 0, 1);
  return b;
}

// The largest value over directions z of length sqrt(dim) that point along one channel, or against it.
TEST(EightBits, scales_hold_normalised_rows) {
  const VitBlockParameters b = block();
  const E4m3Scales scales = e4m3_scales(b);
  double most = 0;
  for (int k = 0; k < kDim; ++k)
    for (const double sign : {-1.0, 1.0})
      most = std::max(most, std::fabs(sign * std::sqrt(1.0 * kDim) * b.norm1_weight[k] + b.norm1_bias[k]));
  EXPECT_LE(most, kMost * scales.norm1);
  EXPECT_GT(most, kMost * scales.norm1 / 2);
}

// The direction that an output likes best: its own weights, times gamma.
TEST(EightBits, scales_hold_what_fc1_makes_of_them) {
  const VitBlockParameters b = block();
  const E4m3Scales scales = e4m3_scales(b);
  double most = 0;
  for (int n = 0; n < kHidden; ++n)
    for (const double sign : {-1.0, 1.0}) {
      double squares = 0, y = b.fc1_bias[n];
      for (int k = 0; k < kDim; ++k) squares += std::pow(b.fc1_weight[n * kDim + k] * b.norm2_weight[k], 2);
      for (int k = 0; k < kDim; ++k) {
        const double w = b.fc1_weight[n * kDim + k], gamma = b.norm2_weight[k];
        const double z = sign * std::sqrt(1.0 * kDim) * w * gamma / std::sqrt(squares);
        y += w * (z * gamma + b.norm2_bias[k]);
      }
      most = std::max(most, std::fabs(y));
    }
  EXPECT_LE(most, kMost * scales.hidden);
  EXPECT_GT(most, kMost * scales.hidden / 2.3);  // a power of two, and both factors' rounding
}

TEST(EightBits, last_block_is_16_bits_and_int8_leaves_half_of_fc2) {
  for (const Dtype asked : {Dtype::e4m3, Dtype::i8}) EXPECT_EQ(bytes_of(eight_bits_of(asked, 11, 12).qkv), 2);
  EXPECT_EQ(eight_bits_of(Dtype::e4m3, 0, 12).fc2, Dtype::e4m3);
  EXPECT_EQ(eight_bits_of(Dtype::i8, 0, 12).fc1, Dtype::i8);
  EXPECT_EQ(eight_bits_of(Dtype::i8, 5, 12).fc2, Dtype::f16);
  EXPECT_EQ(eight_bits_of(Dtype::i8, 6, 12).fc2, Dtype::e4m3);
}

}  // namespace
}  // namespace hedgerow
