// SPDX-License-Identifier: Apache-2.0
// Packing a norm with the product behind it, and the memory that lies between ops (ops/stream.h).
#include <algorithm>
#include <utility>

#include "hedgerow/kernels/between.h"
#include "hedgerow/kernels/fold_norm.h"
#include "hedgerow/kernels/kernels.h"

namespace hedgerow {

// The rows of gamma w are made to sum to zero, so that they take off a row's mean themselves.
FoldedNorm fold_norm(const float* w, const float* bias, const float* gamma, const float* beta, int n, int k) {
  FoldedNorm f;
  f.w.resize(static_cast<size_t>(n) * static_cast<size_t>(k)), f.bias.resize(static_cast<size_t>(n));
  for (int o = 0; o < n; ++o) {
    const float* row = w + static_cast<int64_t>(o) * k;
    double sum = 0, shift = bias ? bias[o] : 0;
    for (int c = 0; c < k; ++c) {
      const double v = static_cast<double>(row[c]);
      sum += v * gamma[c], shift += v * beta[c];
    }
    const double mean = sum / static_cast<double>(k);
    for (int c = 0; c < k; ++c)
      f.w[static_cast<size_t>(o) * static_cast<size_t>(k) + static_cast<size_t>(c)] =
          static_cast<float>(static_cast<double>(row[c]) * gamma[c] - mean);
    f.bias[static_cast<size_t>(o)] = static_cast<float>(shift);
  }
  return f;
}

PackedNormLinear pack_norm_linear(const Backend& on, const NormLinearWeights& a) {
  PackedNormLinear packed;
  packed.eps = a.eps;
  packed.folded = a.may_fold && on.folds_norm(a.dtype, a.stream);
  const size_t k = static_cast<size_t>(a.k), bytes = k * sizeof(float);
  if (packed.folded) {
    const FoldedNorm f = fold_norm(a.w, a.bias, a.gamma, a.beta, a.n, a.k);
    packed.w = pack_linear(on, f.w.data(), f.bias.data(), a.n, a.k, a.dtype);
    const std::vector<float> ones(k, 1.0f), zeros(k, 0.0f);
    packed.gamma = copy_on(on, ones.data(), bytes), packed.beta = copy_on(on, zeros.data(), bytes);
  } else {
    packed.w = pack_linear(on, a.w, a.bias, a.n, a.k, a.dtype);
    packed.gamma = copy_on(on, a.gamma, bytes), packed.beta = copy_on(on, a.beta, bytes);
  }
  packed.w.row_scale = a.row_scale;
  return packed;
}

PackedNormLinear pack_norm_quant(const Backend& on, const float* gamma, float eps, PackedLinear w) {
  PackedNormLinear packed;
  packed.eps = eps, packed.kind = NormKind::rms;
  packed.gamma = copy_on(on, gamma, static_cast<size_t>(w.k) * sizeof(float));
  packed.w = std::move(w);
  return packed;
}

size_t linear_workspace_bytes(int rows, const PackedLinear& w) {
  if (!w.band_count) return 0;
  size_t bytes = 0;
  bool shared = false;  // rows in their own order are made once
  for (int b = 0; b < w.band_count; ++b) {
    const bool ordered = w.bands[b].order != nullptr;
    if (ordered || !shared) bytes += w.owner->quant_row_bytes(w.k, ordered, w.rows_of);
    shared = shared || !ordered;
  }
  return static_cast<size_t>(rows) * bytes + 512;
}

size_t moments_bytes(const Backend& on, const PackedNormLinear& reader, int rows) {
  return on.reads_moments(reader, rows) ? static_cast<size_t>(rows) * static_cast<size_t>(reader.w.k / 64) * 8
                                        : 0;
}

size_t workspace_bytes(int rows, const PackedNormLinear& w1, const PackedLinear* w2) {
  const size_t hidden = w2 ? between_bytes(rows, w2->k, w2->dtype) : 0;
  const size_t coded =
      std::max(linear_workspace_bytes(rows, w1.w), w2 ? linear_workspace_bytes(rows, *w2) : 0);
  return between_bytes(rows, w1.w.k, w1.w.dtype) + hidden + coded;
}

}  // namespace hedgerow
