// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers: value i of stream (seed, key) is a pure function, the same on every platform,
// in any order and from any thread. (SplitMix64's finaliser over a Weyl sequence: Steele, Lea, Flood 2014.)
#pragma once

#include <cmath>
#include <cstdint>

namespace hedgerow {

struct Rng {
  uint64_t seed = 0, key = 0;

  static constexpr uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  constexpr uint64_t bits(uint64_t i) const {
    return mix(mix(seed + 0x9e3779b97f4a7c15ull * (key + 1)) + 0x9e3779b97f4a7c15ull * (i + 1));
  }
  // Uniform in [0, 1), 53 bits.
  constexpr double uniform(uint64_t i) const { return static_cast<double>(bits(i) >> 11) * 0x1p-53; }
  // Standard normal (Box-Muller on values 2i and 2i+1).
  double normal(uint64_t i) const {
    const double u = 1.0 - uniform(2 * i), v = uniform(2 * i + 1);
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
  }
};

}  // namespace hedgerow
