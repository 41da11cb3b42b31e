// SPDX-License-Identifier: Apache-2.0
// One Weights, many States, the caller's own threads: no races (run under the thread sanitizer), the same
// bits as alone.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "hedgerow/core/error.h"
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

// One picture through a small model of its own seed, in a state that the caller makes.
struct Small {
  explicit Small(uint64_t seed)
      : weights(pack_vit(random_vit("dim=64,heads=2,layers=3,patch=8,image=32,classes=5,hidden=128,seed=" +
                                    std::to_string(seed)),
                         find_backend(), Dtype::f32)),
        pixels(3 * 32 * 32) {
    for (size_t k = 0; k < pixels.size(); ++k) pixels[k] = static_cast<float>(Rng{seed}.normal(k));
  }
  std::vector<float> logits(VitState& state) const {
    const VitImage image{pixels.data(), 32, 32, 0};
    const VitResult& result = forward(state, &image, 1, {});
    return {result.logits, result.logits + result.classes};
  }
  std::shared_ptr<const VitWeights> weights;
  std::vector<float> pixels;
};

TEST(Concurrency, states_that_share_a_pool_run_in_turn) {
  const Small one(1), two(2);
  VitState alone_one(one.weights, {.max_batch = 1}), alone_two(two.weights, {.max_batch = 1});
  const std::vector<float> want_one = one.logits(alone_one), want_two = two.logits(alone_two);
  EXPECT_NE(want_one, want_two);
  const auto pool = std::make_shared<Pool>(2);
  VitState first(one.weights, {.max_batch = 1}, {.pool = pool}),
      second(two.weights, {.max_batch = 1}, {.pool = pool});
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(one.logits(first), want_one);
    EXPECT_EQ(two.logits(second), want_two);
  }
}

TEST(Concurrency, a_second_caller_at_the_same_time_is_refused_and_harms_nobody) {
  const Small model(3);
  const auto pool = std::make_shared<Pool>(2);
  VitState state(model.weights, {.max_batch = 1}, {.pool = pool});
  const std::vector<float> want = model.logits(state);
  {
    const Pool::Turn other(*pool);
    std::thread second([&] {
      try {
        model.logits(state);
        ADD_FAILURE() << "accepted while another had the pool";
      } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find("pool: wanted one caller at a time"), std::string::npos)
            << e.what();
      }
    });
    second.join();
  }
  EXPECT_EQ(model.logits(state), want);
}

TEST(Concurrency, callers_that_race_for_a_pool_get_an_error_or_the_right_bits) {
  constexpr int kRows = 40, kDim = 64, kCalls = 300;
  const auto pool = std::make_shared<Pool>(2);
  std::vector<float> w(kDim * kDim), x(kRows * kDim);
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(Rng{5}.normal(i));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(Rng{6}.normal(i));
  const PackedLinear packed = pack_linear(find_backend(), w.data(), nullptr, kDim, kDim, Dtype::f32);
  const int32_t offsets[] = {0, kRows};
  const auto call = [&](Context& on, std::vector<float>& out) {
    linear(on, {.x = matrix_view(x.data(), Dtype::f32, kRows, kDim),
                .w = &packed,
                .out = matrix_view(out.data(), Dtype::f32, kRows, kDim),
                .rows = {offsets, 1, kRows, kRows}});
  };
  std::vector<float> want(kRows * kDim);
  Context alone(find_backend(), 1);
  alone.reserve_scratch(find_backend().scratch_bytes(kRows, 2, 32));
  call(alone, want);
  std::atomic<int> done{0};
  const auto user = [&] {
    Context on(find_backend(), pool);
    on.reserve_scratch(find_backend().scratch_bytes(kRows, 2, 32));
    std::vector<float> out(want.size());
    for (int i = 0; i < kCalls; ++i) {
      try {
        call(on, out);
      } catch (const Error&) {
        continue;
      }
      ASSERT_EQ(out, want);
      ++done;
    }
  };
  std::thread other(user);
  user();
  other.join();
  EXPECT_GT(done.load(), 0);
}

}  // namespace
}  // namespace hedgerow
