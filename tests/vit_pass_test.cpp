// SPDX-License-Identifier: Apache-2.0
// A state that has run other batches gives the bits of a fresh one: sizes, budgets, methods, layouts and
// outputs may change between passes. What an observer sees is what the pass computes, and watching changes
// nothing.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/vision/methods.h"
#include "hedgerow/vision/vit.h"
#include "hedgerow/vision/vit_random.h"

namespace hedgerow {
namespace {

constexpr const char* kShape = "dim=64,heads=2,layers=12,patch=8,image=40,classes=10,hidden=128,predictors=1";
constexpr VitLimits kLimits{.max_batch = 5, .max_tokens = 51};

struct Pictures {
  std::vector<std::vector<float>> pixels;
  std::vector<VitImage> images;
  std::vector<PruneBudget> budgets;

  explicit Pictures(uint64_t seed, int count = 5) {
    const double keeps[] = {0.7, 0.3, 0.5, 1.0, 0.05};
    for (int i = 0; i < count; ++i) {
      const int side = (i + static_cast<int>(seed)) % 3 == 2 ? 56 : 40;
      pixels.emplace_back(3 * static_cast<size_t>(side * side));
      for (size_t k = 0; k < pixels.back().size(); ++k)
        pixels.back()[k] = static_cast<float>(Rng{seed * 100 + static_cast<uint64_t>(i), 7}.normal(k));
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
  const VitResult& run(VitState& state, const VitRun& how) const {
    return forward(state, images.data(), static_cast<int>(images.size()), how);
  }
};

void expect_equal(const VitResult& want, const VitResult& got) {
  ASSERT_EQ(want.batch, got.batch);
  const size_t count = static_cast<size_t>(want.batch) * static_cast<size_t>(want.classes);
  EXPECT_EQ(0, std::memcmp(want.logits, got.logits, count * 4));
  EXPECT_EQ(want.kept, got.kept);
  EXPECT_EQ(want.macs, got.macs);
  ASSERT_EQ(want.tokens != nullptr, got.tokens != nullptr);
  if (!want.tokens) return;
  EXPECT_EQ(want.token_offsets, got.token_offsets);
  EXPECT_EQ(want.token_patch, got.token_patch);
  const size_t values = static_cast<size_t>(want.token_offsets.back()) * static_cast<size_t>(want.dim);
  EXPECT_EQ(0, std::memcmp(want.tokens, got.tokens, values * 4));
}

class UsedState : public testing::Test {
 protected:
  std::shared_ptr<const VitWeights> weights = pack_vit(random_vit(kShape), find_backend(), Dtype::f32);
  VitState used{weights, kLimits, 2};
  VitRun run;

  void expect_as_fresh(const Pictures& pictures) {
    VitState fresh(weights, kLimits, 1);
    const VitResult& got = pictures.run(used, run);
    expect_equal(pictures.run(fresh, run), got);
  }
};

TEST_F(UsedState, forgets_the_batch_before) {
  for (const PruneMethod method : all_prune_methods())
    for (const Layout layout : {Layout::ragged, Layout::padded, Layout::padded_max})
      for (uint64_t seed = 1; seed <= 2; ++seed) {
        if (layout == Layout::padded && !traits_of(method).runs_full_grid) continue;
        SCOPED_TRACE(fmt::format("{} layout {} seed {}", name_of(method), static_cast<int>(layout), seed));
        const Pictures pictures(seed, seed == 2 ? 3 : 5);
        run = {};
        run.prune.method = method;
        run.prune.per_image = pictures.budgets;
        run.prune.seed = seed;
        run.layout = layout;
        run.whole_last_block = seed == 2;
        run.output = layout == Layout::padded_max || seed == 2 ? Output::tokens : Output::logits;
        expect_as_fresh(pictures);
      }
}

TEST_F(UsedState, sees_a_plan_change_under_the_same_pictures) {
  Pictures pictures(1);
  run.prune.method = PruneMethod::paper_l2;
  run.prune.per_image = pictures.budgets;
  const std::vector<std::function<void()>> changes = {
      [] {},
      [] {},
      [&] { run.prune.per_image[3].keep = 0.4; },
      [&] { run.prune.after = 6; },
      [&] { run.prune.per_image[0].keep_max = 1.0; },
      [&] { run.prune.seed = 9; },
      [&] { pictures.images[0].content_hash = 77; },
      [&] { run.prune.per_image.clear(); },
      [&] { run.prune.rule = KeepRule::mass, run.prune.budget.mass = 0.3; },
      [&] { run.prune.method = PruneMethod::none; }};
  for (const auto& change : changes) {
    change();
    expect_as_fresh(pictures);
  }
}

TEST_F(UsedState, recovers_from_a_batch_that_was_refused) {
  const Pictures few(1, 2), many(3, 5);
  few.run(used, run);
  EXPECT_THROW(forward(used, many.images.data(), 6, run), Error);
  VitRun wrong;
  wrong.prune.method = PruneMethod::paper_l2;
  wrong.prune.after = 99;
  EXPECT_THROW(many.run(used, wrong), Error);
  expect_as_fresh(many);
}

TEST_F(UsedState, is_not_there_to_collect_from_before_a_submit) { EXPECT_THROW(collect(used), Error); }

TEST_F(UsedState, computes_the_same_bits_while_somebody_watches) {
  const Pictures pictures(2);
  for (const PruneMethod method : all_prune_methods()) {
    run = {};
    run.prune.method = method;
    run.prune.per_image = pictures.budgets;
    VitState fresh(weights, kLimits, 1);
    const VitResult& want = pictures.run(fresh, run);
    std::set<std::string> places;
    int choices = 0, moves = 0;
    const Observer watch = [&](const Observation& o) {
      ASSERT_EQ(o.rows.offsets[0], 0);
      ASSERT_EQ(o.rows.batch, 5);
      places.insert(fmt::format("{} {}", o.name, o.block));
      choices += o.name == std::string("choice"), moves += o.name == std::string("kept");
      if (o.name == std::string("logits"))
        EXPECT_EQ(0, std::memcmp(o.value.data, want.logits, static_cast<size_t>(5 * want.classes) * 4));
      // Codes say which rows are special, which patches.
      if (o.name == std::string("embed"))
        for (int r = 0; r < o.rows.rows(); ++r) EXPECT_NE(o.patch[r], 0);
    };
    run.observer = &watch;
    expect_equal(want, pictures.run(used, run));
    for (const char* place :
         {"embed -1", "qkv 0", "attention 5", "proj 10", "block 11", "head_input 12", "logits 12"})
      EXPECT_TRUE(places.count(place)) << place << ", " << name_of(method);
    EXPECT_EQ(choices > 0, method != PruneMethod::none) << name_of(method);
    if (traits_of(method).place != ChoosesAt::inside_attention) EXPECT_EQ(moves, choices) << name_of(method);
  }
}

}  // namespace
}  // namespace hedgerow
