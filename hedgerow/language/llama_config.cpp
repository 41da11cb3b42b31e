// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/llama_config.h"

#include <fmt/format.h>

#include <cmath>

#include "hedgerow/core/error.h"

namespace hedgerow {

int64_t LlamaConfig::parameters() const {
  const int64_t attention = int64_t{dim} * head_dim * (2 * heads + 2 * kv_heads);
  return layers * (attention + int64_t{3} * dim * hidden_dim) + int64_t{vocab} * dim;
}

std::vector<float> rope_frequencies(const LlamaConfig& c) {
  std::vector<float> f;
  for (int i = 0; i < c.head_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(c.head_dim);
    const auto power = static_cast<float>(std::pow(c.rope_base, static_cast<double>(exponent)));
    f.push_back(1.0f / power);
    if (!c.rope_factors.empty()) f.back() /= c.rope_factors[static_cast<size_t>(i)];
  }
  return f;
}

std::vector<float> llama3_factors(double base, int head_dim, double factor, double low, double high,
                                  double original_context) {
  std::vector<float> out;
  for (int i = 0; i < head_dim / 2; ++i) {
    const double wavelength = 2 * M_PI * std::pow(base, 2.0 * i / head_dim);
    if (wavelength < original_context / high) {
      out.push_back(1);
    } else if (wavelength > original_context / low) {
      out.push_back(static_cast<float>(factor));
    } else {
      const double smooth = (original_context / wavelength - low) / (high - low);
      out.push_back(static_cast<float>(1 / ((1 - smooth) / factor + smooth)));
    }
  }
  return out;
}

void check_config(const LlamaConfig& c, const std::string& where) {
  const auto in = [&](const char* field, int64_t v, int64_t low, int64_t high) {
    if (v < low || v > high)
      throw Error(fmt::format("{}: {}: wanted {} to {}, found {}", where, field, low, high, v));
  };
  in("hidden size", c.dim, 1, 1 << 16);
  in("layers", c.layers, 1, 1024);
  in("heads", c.heads, 1, 1024);
  in("key-value heads", c.kv_heads, 1, c.heads);
  in("intermediate size", c.hidden_dim, 1, 1 << 20);
  in("vocabulary", c.vocab, 1, 1 << 22);
  in("context", c.context, 1, 1 << 24);
  in("head_dim", c.head_dim, 2, 256);
  if (c.heads % c.kv_heads)
    throw Error(fmt::format("{}: heads: wanted a multiple of the {} key-value heads, found {}", where,
                            c.kv_heads, c.heads));
  if (c.head_dim % 2)
    throw Error(fmt::format("{}: head_dim: wanted an even number, found {}", where, c.head_dim));
  if (!(c.eps > 0 && c.eps < 1) || !(c.rope_base > 1 && c.rope_base < 1e12))
    throw Error(
        fmt::format("{}: norm epsilon and rope base: wanted numbers in (0, 1) and (1, 1e12), found {} and {}",
                    where, c.eps, c.rope_base));
  if (!c.rope_factors.empty() && static_cast<int>(c.rope_factors.size()) != c.head_dim / 2)
    throw Error(
        fmt::format("{}: rope factors: wanted {}, found {}", where, c.head_dim / 2, c.rope_factors.size()));
  for (const float f : c.rope_factors)
    if (!(f > 0 && f < 1e9f))
      throw Error(fmt::format("{}: rope factors: wanted numbers above 0, found {}", where, f));
}

}  // namespace hedgerow
