// SPDX-License-Identifier: Apache-2.0
// A queued pass, which never asks for a length, gives the bits, the counts and the multiply-adds of the
// direct one: every method, mixed sizes and budgets, packed and in a full grid. It is what runs on a GPU;
// here it runs on the CPU's tables.
#include "hedgerow/vision/vit_queue.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/vision/prune_schedule.h"
#include "hedgerow/vision/vit_random.h"

namespace hedgerow {
namespace {

constexpr const char* kShape = "dim=64,heads=2,layers=12,patch=8,image=40,classes=10,hidden=128,predictors=1";

struct Batch {
  std::vector<std::vector<float>> pixels;
  std::vector<VitImage> images;
  std::vector<PruneBudget> budgets;

  explicit Batch(uint64_t seed, int pictures = 5) {
    const double keeps[] = {0.7, 0.3, 0.5, 1.0, 0.05};
    for (int i = 0; i < pictures; ++i) {
      const int side = (i + static_cast<int>(seed)) % 3 == 2 ? 56 : 40;
      std::vector<float> p(3 * static_cast<size_t>(side) * static_cast<size_t>(side));
      for (size_t k = 0; k < p.size(); ++k)
        p[k] = static_cast<float>(Rng{seed * 100 + static_cast<uint64_t>(i), 7}.normal(k));
      pixels.push_back(std::move(p));
      PruneBudget budget;
      budget.keep = keeps[(static_cast<size_t>(i) + seed) % 5];
      budget.merge = 1 + 2 * i;
      budget.threshold = 7.5;
      budget.mass = budget.keep;
      budget.floor = i;
      budgets.push_back(budget);
      images.push_back({nullptr, side, side, static_cast<uint64_t>(i) + 1});
    }
    for (size_t i = 0; i < images.size(); ++i) images[i].pixels = pixels[i].data();
  }
};

void expect_equal(const VitResult& want, const VitResult& got) {
  ASSERT_EQ(want.batch, got.batch);
  const size_t count = static_cast<size_t>(want.batch) * static_cast<size_t>(want.classes);
  EXPECT_EQ(0, std::memcmp(want.logits, got.logits, count * 4));
  for (size_t i = 0; i < count; ++i) ASSERT_TRUE(std::isfinite(got.logits[i]));
  EXPECT_EQ(want.kept, got.kept);
  for (size_t i = 0; i < want.macs.size(); ++i)
    EXPECT_DOUBLE_EQ(want.macs[i], got.macs[i]) << "picture " << i;
}

struct Case {
  PruneMethod method;
  KeepRule rule;
  Layout layout;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const PruneMethod m : all_prune_methods()) {
    all.push_back({m, KeepRule::rate, Layout::ragged});
    if (m == PruneMethod::threshold_l2 || m == PruneMethod::paper_evit)
      for (const KeepRule rule : {KeepRule::threshold, KeepRule::quantile, KeepRule::mass})
        all.push_back({m, rule, Layout::ragged});
    if (m != PruneMethod::evit && !merges_rows(m)) all.push_back({m, KeepRule::rate, Layout::padded});
  }
  return all;
}

class Queued : public testing::TestWithParam<std::tuple<Case, Dtype, const char*>> {};

TEST_P(Queued, gives_the_bits_of_the_direct_pass) {
  const auto [which, dtype, more] = GetParam();
  const auto weights = pack_vit(random_vit(std::string(kShape) + more), find_backend(), dtype);
  const VitLimits limits{.max_batch = 5, .max_tokens = 51};
  VitState state(weights, limits, 2);
  Context on(find_backend(), 2);
  VitQueue queue(weights, limits, on);
  VitRun run;
  run.prune.method = which.method;
  run.prune.rule = which.rule;
  run.layout = which.layout;
  for (uint64_t seed = 1; seed <= 2; ++seed) {  // one queue, other sizes, budgets and batches
    const Batch batch(seed, seed == 2 ? 3 : 5);
    run.prune.per_image = batch.budgets;
    run.whole_last_block = seed == 2;
    run.prune.seed = seed;
    const int n = static_cast<int>(batch.images.size());
    queue.submit(batch.images.data(), n, run);
    expect_equal(forward(state, batch.images.data(), n, run), queue.collect());
  }
}

std::string name_of_case(const testing::TestParamInfo<Queued::ParamType>& info) {
  const auto& [which, dtype, more] = info.param;
  std::string name = std::string(name_of(which.method)) + "_" + name_of(dtype) + "_rule" +
                     std::to_string(static_cast<int>(which.rule)) +
                     (which.layout == Layout::padded ? "_padded" : "") + (*more ? "_distilled" : "");
  for (char& c : name)
    if (c == '-') c = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, Queued,
                         testing::Combine(testing::ValuesIn(cases()),
                                          testing::Values(Dtype::f32, Dtype::bf16), testing::Values("")),
                         name_of_case);
INSTANTIATE_TEST_SUITE_P(Distilled, Queued,
                         testing::Combine(testing::ValuesIn(cases()), testing::Values(Dtype::f32),
                                          testing::Values(",distilled=1")),
                         name_of_case);

// What a plan follows from is remembered between batches; a change of any of it must be seen.
TEST(Queue, sees_a_plan_change_under_the_same_pictures) {
  const auto weights = pack_vit(random_vit(kShape), find_backend(), Dtype::f32);
  const VitLimits limits{.max_batch = 5, .max_tokens = 51};
  VitState state(weights, limits, 1);
  Context on(find_backend(), 1);
  VitQueue queue(weights, limits, on);
  Batch batch(1);
  VitRun run;
  run.prune.method = PruneMethod::paper_l2;
  run.prune.per_image = batch.budgets;
  const auto check = [&] {
    queue.submit(batch.images.data(), 5, run);
    expect_equal(forward(state, batch.images.data(), 5, run), queue.collect());
  };
  check();
  check();
  run.prune.per_image[3].keep = 0.4;
  check();
  run.prune.after = 6;
  check();
  run.prune.per_image[0].keep_max = 1.0;
  check();
  run.prune.seed = 9;
  check();
  batch.images[0].content_hash = 77;
  check();
  run.prune.per_image.clear();
  check();
  run.prune.rule = KeepRule::mass;
  run.prune.budget.mass = 0.3;
  check();
  run.prune.method = PruneMethod::none;
  check();
}

TEST(FoldNorm, a_division_is_what_stays_of_a_norm) {
  constexpr size_t kDim = 48, kOut = 5;
  const Rng rng{3, 1};
  std::vector<float> w(kOut * kDim), bias(kOut), gamma(kDim), beta(kDim), x(kDim);
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(rng.normal(i));
  for (size_t i = 0; i < kOut; ++i) bias[i] = static_cast<float>(rng.normal(1000 + i));
  for (size_t i = 0; i < kDim; ++i) {
    gamma[i] = static_cast<float>(1 + 0.3 * rng.normal(2000 + i)),
    beta[i] = static_cast<float>(rng.normal(3000 + i));
    x[i] = static_cast<float>(2 + 3 * rng.normal(4000 + i));
  }
  const FoldedNorm folded = fold_norm(w, bias, gamma, beta), unbiased = fold_norm(w, {}, gamma, beta);
  double mean = 0, variance = 0;
  for (float v : x) mean += v / kDim;
  for (float v : x) variance += (v - mean) * (v - mean) / kDim;
  for (size_t o = 0; o < kOut; ++o) {
    double want = bias[o], got = 0;
    for (size_t c = 0; c < kDim; ++c) {
      want += ((x[c] - mean) / std::sqrt(variance) * gamma[c] + beta[c]) * w[o * kDim + c];
      got += x[c] * folded.w[o * kDim + c];
    }
    EXPECT_NEAR(want, got / std::sqrt(variance) + folded.bias[o], 1e-5);
    EXPECT_NEAR(folded.bias[o], unbiased.bias[o] + bias[o], 1e-5);
  }
}

TEST(Queue, hands_out_tokens_with_their_patches) {
  const auto weights = pack_vit(random_vit(kShape), find_backend(), Dtype::f32);
  const VitLimits limits{.max_batch = 5, .max_tokens = 51};
  VitState state(weights, limits, 1);
  Context on(find_backend(), 1);
  VitQueue queue(weights, limits, on);
  for (const PruneMethod method :
       {PruneMethod::none, PruneMethod::evit, PruneMethod::tome, PruneMethod::threshold_l2}) {
    const Batch batch(4);
    VitRun run;
    run.prune.method = method;
    run.prune.per_image = batch.budgets;
    run.output = Output::tokens;
    queue.submit(batch.images.data(), 5, run);
    const VitResult& got = queue.collect();
    const VitResult& want = forward(state, batch.images.data(), 5, run);
    EXPECT_EQ(want.token_offsets, got.token_offsets);
    EXPECT_EQ(want.token_patch, got.token_patch);
    const size_t values = static_cast<size_t>(want.token_offsets.back()) * 64;
    EXPECT_EQ(0, std::memcmp(want.tokens, got.tokens, values * 4));
  }
}

TEST(Queue, refuses_what_needs_rows_on_the_host) {
  const auto weights = pack_vit(random_vit(kShape), find_backend(), Dtype::f32);
  Context on(find_backend(), 1);
  VitQueue queue(weights, {.max_batch = 2, .max_tokens = 51}, on);
  const Batch batch(1, 2);
  VitTrace trace;
  VitRun traced, hooked, longest;
  traced.trace = &trace;
  hooked.prune.after_block = [](const PruneView&, uint8_t*) {};
  longest.layout = Layout::padded_max;
  for (const VitRun* run : {&traced, &hooked, &longest})
    EXPECT_THROW(queue.submit(batch.images.data(), 2, *run), Error);
  EXPECT_THROW(queue.collect(), Error);
  EXPECT_THROW(queue.submit(batch.images.data(), 3, {}), Error);
}

}  // namespace
}  // namespace hedgerow
