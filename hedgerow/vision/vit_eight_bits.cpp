// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/vision/vit_eight_bits.h"

#include <algorithm>
#include <cmath>

namespace hedgerow {
namespace {

// Largest |z_k gamma_k + beta_k| with |z| <= sqrt(dim).
double most_normed(const std::vector<float>& gamma, const std::vector<float>& beta) {
  const double length = std::sqrt(static_cast<double>(gamma.size()));
  double most = 0;
  for (size_t k = 0; k < gamma.size(); ++k)
    most = std::max(
        most, length * std::fabs(static_cast<double>(gamma[k])) + std::fabs(static_cast<double>(beta[k])));
  return most;
}

// Largest |w (z gamma + beta) + bias| over the outputs, the same z.
double most_behind(const std::vector<float>& w, const std::vector<float>& bias,
                   const std::vector<float>& gamma, const std::vector<float>& beta) {
  const size_t dim = gamma.size();
  double most = 0;
  for (size_t n = 0; n * dim < w.size(); ++n) {
    double squares = 0, constant = bias.empty() ? 0 : bias[n];
    for (size_t k = 0; k < dim; ++k) {
      const double v = w[n * dim + k];
      squares += v * gamma[k] * v * gamma[k];
      constant += v * beta[k];
    }
    most = std::max(most, std::sqrt(static_cast<double>(dim) * squares) + std::fabs(constant));
  }
  return most;
}

float scale_for(double most) { return std::isfinite(most) ? e4m3_scale(static_cast<float>(most)) : 1.0f; }

}  // namespace

E4m3Scales e4m3_scales(const VitBlockParameters& b) {
  constexpr double kRounded = (1 + 0x1p-4) * (1 + 0x1p-4);  // both factors of fc1 may have been rounded up
  return {
      .norm1 = scale_for(most_normed(b.norm1_weight, b.norm1_bias)),
      .norm2 = scale_for(most_normed(b.norm2_weight, b.norm2_bias)),
      .hidden = scale_for(kRounded * most_behind(b.fc1_weight, b.fc1_bias, b.norm2_weight, b.norm2_bias))};
}

EightBits eight_bits_of(Dtype asked, int block, int layers) {
  if (block + 1 == layers) return {Dtype::f16, Dtype::f16, Dtype::f16};
  if (asked == Dtype::e4m3) return {Dtype::e4m3, Dtype::e4m3, Dtype::e4m3};
  return {Dtype::i8, Dtype::i8, block >= layers / 2 ? Dtype::e4m3 : Dtype::f16};
}

}  // namespace hedgerow
