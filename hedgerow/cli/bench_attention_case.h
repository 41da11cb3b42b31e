// SPDX-License-Identifier: Apache-2.0
// A batch for the attention benchmarks.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "hedgerow/core/rng.h"
#include "hedgerow/kernels/kernels.h"

namespace hedgerow::cli {

inline constexpr int kHeadDim = 64;

// Packed q, k, v of sequences whose lengths are drawn around a mean, and the call on them, in the memory that
// the backend computes in.
class AttentionCase {
 public:
  AttentionCase(const Backend& backend, int batch, int heads, double mean, double spread, Dtype dtype) {
    const Rng rng{3, 0};
    std::vector<int32_t> offsets(1, 0);
    int longest = 0;
    for (int i = 0; i < batch; ++i) {
      const double factor = batch == 1 ? 1 : 1 + spread * (2 * rng.uniform(static_cast<uint64_t>(i)) - 1);
      const int n = std::max(1, static_cast<int>(std::lround(mean * factor)));
      offsets.push_back(offsets.back() + n);
      longest = std::max(longest, n);
      flops_ += 4.0 * n * n * heads * kHeadDim;
    }
    const int rows = offsets.back();
    const size_t values = static_cast<size_t>(rows) * 3 * heads * kHeadDim,
                 width = static_cast<size_t>(bytes_of(dtype));
    Buffer qkv(values * width);
    for (size_t i = 0; i < values; ++i) {
      const float v = static_cast<float>(rng.uniform(i) * 2 - 1);
      if (dtype == Dtype::f32) qkv.as<float>()[i] = v;
      if (dtype == Dtype::bf16) qkv.as<uint16_t>()[i] = f32_to_bf16(v);
      if (dtype == Dtype::f16) qkv.as<uint16_t>()[i] = f32_to_f16(v);
    }
    qkv_ = backend.host ? std::move(qkv) : copy_on(backend, qkv.as(), values * width);
    offsets_ = copy_on(backend, offsets.data(), offsets.size() * sizeof(int32_t));
    out_ = allocate_on(backend, values / 3 * width);
    const Ragged ragged{offsets_.as<int32_t>(), batch, rows, longest};
    const auto part = [&](size_t i) {
      const size_t at = i * static_cast<size_t>(heads) * kHeadDim * width;
      return heads_view(qkv_.as<char>() + at, dtype, rows, heads, kHeadDim, 3 * heads * kHeadDim);
    };
    args_.q = part(0);
    args_.kv = {part(1), part(2)};
    args_.q_rows = args_.kv_rows = ragged;
    args_.scale = 1.0f / std::sqrt(static_cast<float>(kHeadDim));
    args_.out = heads_view(out_.as(), dtype, rows, heads, kHeadDim);
  }
  const AttentionArgs& args() const { return args_; }
  double flops() const { return flops_; }
  int longest() const { return args_.q_rows.max_len; }

 private:
  Buffer offsets_, qkv_, out_;
  AttentionArgs args_;
  double flops_ = 0;
};

}  // namespace hedgerow::cli
