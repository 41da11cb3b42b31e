// SPDX-License-Identifier: Apache-2.0
// One Weights, many States, the caller's own threads: no races (run under the thread sanitizer), the same
// bits as alone.
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "hedgerow/core/rng.h"
#include "hedgerow/vision/vit.h"
#include "hedgerow/vision/vit_random.h"

namespace hedgerow {
namespace {

TEST(Concurrency, states_share_weights_from_many_threads) {
  const auto weights =
      pack_vit(random_vit("dim=64,heads=2,layers=4,patch=8,image=32,classes=5,hidden=64,predictors=1"),
               find_backend(), Dtype::f32);
  constexpr int kUsers = 4, kRounds = 6;
  std::vector<std::vector<float>> pixels;
  for (uint64_t i = 0; i < kUsers; ++i) {
    pixels.emplace_back(3 * 32 * 32);
    for (size_t k = 0; k < pixels.back().size(); ++k) pixels.back()[k] = static_cast<float>(Rng{i}.normal(k));
  }
  const PruneMethod methods[] = {PruneMethod::none, PruneMethod::evit, PruneMethod::dynamicvit,
                                 PruneMethod::ats};
  const auto logits = [&](int user, int threads) {
    VitState state(weights, {.max_batch = 2}, threads);
    const VitImage images[] = {{pixels[static_cast<size_t>(user)].data(), 32, 32, 0},
                               {pixels[0].data(), 32, 32, 0}};
    VitRun run;
    run.prune.method = methods[user];
    std::vector<float> out;
    for (int r = 0; r < kRounds; ++r) {
      const VitResult& result = forward(state, images, 1 + r % 2, run);
      out.insert(out.end(), result.logits, result.logits + result.classes);
    }
    return out;
  };
  std::vector<std::vector<float>> together(kUsers);
  std::vector<std::thread> users;
  for (int u = 0; u < kUsers; ++u)
    users.emplace_back([&, u] { together[static_cast<size_t>(u)] = logits(u, 1 + u % 2); });
  for (auto& t : users) t.join();
  for (int u = 0; u < kUsers; ++u) {
    const std::vector<float> alone = logits(u, 1);
    EXPECT_EQ(std::memcmp(alone.data(), together[static_cast<size_t>(u)].data(), 4 * alone.size()), 0)
        << "user " << u;
  }
}

}  // namespace
}  // namespace hedgerow
