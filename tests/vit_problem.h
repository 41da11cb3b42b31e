// SPDX-License-Identifier: Apache-2.0
// A small model, batches of pictures and what a run of them gives: what the tests of the whole model share.
#pragma once

#include <cstring>

#include "hedgerow/core/rng.h"
#include "hedgerow/vision/vit.h"
#include "hedgerow/vision/vit_random.h"

namespace hedgerow {

// 36 patches, 12 blocks, DynamicViT predictors: small enough for the scalar level, deep enough for every
// method.
inline constexpr const char* kSmall =
    "dim=64,heads=2,layers=12,patch=8,image=48,classes=10,hidden=128,predictors=1";

inline std::vector<float> picture(int side, uint64_t seed) {
  std::vector<float> p(3 * static_cast<size_t>(side) * static_cast<size_t>(side));
  for (size_t i = 0; i < p.size(); ++i) p[i] = static_cast<float>(Rng{seed, 7}.normal(i));
  return p;
}

struct Batch {
  std::vector<std::vector<float>> pixels;
  std::vector<VitImage> images;
  std::vector<PruneBudget> budgets;

  void add(int side, uint64_t seed, PruneBudget budget = {}) {
    pixels.push_back(picture(side, seed));
    images.push_back({nullptr, side, side, 0});
    budgets.push_back(budget);
    for (size_t i = 0; i < images.size(); ++i) images[i].pixels = pixels[i].data();
  }
};

inline Batch mixed_batch() {
  Batch b;
  const double keeps[] = {0.7, 0.3, 0.5, 1.0, 0.05};
  for (int i = 0; i < 5; ++i) {
    PruneBudget budget;
    budget.keep = keeps[i];
    budget.merge = 1 + 2 * i;
    b.add(i == 2 ? 64 : 48, static_cast<uint64_t>(i), budget);  // one picture of another resolution
  }
  return b;
}

struct Out {
  std::vector<std::vector<float>> logits;
  std::vector<std::vector<int32_t>> kept;
  std::vector<double> macs;
};

inline Out run(const std::shared_ptr<const VitWeights>& w, const Batch& b, VitRun run, int threads,
               Output output = Output::logits) {
  VitState state(w, {.max_batch = static_cast<int>(b.images.size()), .max_tokens = 66}, threads);
  run.output = output;
  run.prune.per_image = b.budgets;
  const VitResult& r = forward(state, b.images.data(), static_cast<int>(b.images.size()), run);
  Out out;
  for (int i = 0; i < r.batch; ++i)
    out.logits.emplace_back(r.logits + i * r.classes, r.logits + (i + 1) * r.classes);
  out.kept = r.kept;
  out.macs = r.macs;
  return out;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), 4 * a.size()) == 0;
}

inline std::shared_ptr<const VitWeights> weights(Dtype dtype, const char* shape = kSmall) {
  return pack_vit(random_vit(shape), find_backend(), dtype);
}

}  // namespace hedgerow
