// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/vision/paper_gate.h"

#include <algorithm>
#include <cmath>

#include "hedgerow/core/rng.h"

namespace hedgerow {
namespace {

// PyTorch's default for nn.Linear: uniform in +-1/sqrt(k), weights and bias.
std::vector<float> uniform(uint64_t seed, uint64_t key, size_t count, int k) {
  const Rng rng{seed, key};
  const double bound = 1.0 / std::sqrt(static_cast<double>(k));
  std::vector<float> v(count);
  for (size_t i = 0; i < count; ++i) v[i] = static_cast<float>(bound * (2 * rng.uniform(i) - 1));
  return v;
}

}  // namespace

PaperGate make_paper_gate(const VitWeights& weights, uint64_t seed) {
  const int d = weights.config.dim, half = d / 2;
  const size_t n = static_cast<size_t>(d), h = static_cast<size_t>(half);
  PaperGate gate;
  gate.seed = seed;
  gate.norm = norm_on(*weights.backend, std::vector<float>(n, 1.0f), std::vector<float>(n, 0.0f));
  std::vector<float> local = uniform(seed, 0, h * n, d), local_bias = uniform(seed, 1, h, d);
  local.insert(local.end(), local.begin(), local.begin() + static_cast<int64_t>(h * n));
  local_bias.insert(local_bias.end(), local_bias.begin(), local_bias.begin() + half);
  const std::vector<float> w0 = uniform(seed, 2, h * n, d), b0 = uniform(seed, 3, h, d);
  const std::vector<float> w1 = uniform(seed, 4, 2 * h, half), b1 = uniform(seed, 5, 2, half);
  const auto pack = [&weights](const float* w, const float* bias, int n, int k, Dtype dtype) {
    PackedLinear packed = weights.backend->pack_linear(w, bias, n, k, dtype);
    packed.owner = weights.backend;
    return packed;
  };
  gate.local = pack(local.data(), local_bias.data(), 2 * half, d, weights.dtype);
  gate.head0 = pack(w0.data(), b0.data(), half, d, weights.dtype);
  gate.head1 = pack(w1.data(), b1.data(), 2, half, weights.dtype);
  return gate;
}

}  // namespace hedgerow
