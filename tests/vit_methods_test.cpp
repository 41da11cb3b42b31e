// SPDX-License-Identifier: Apache-2.0
// What the methods keep: exact token counts, budgets and draws; methods of one's own, tokens and errors
// through the public interface.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/prune_schedule.h"
#include "tests/vit_problem.h"

namespace hedgerow {
namespace {

// 196 patches and 12 blocks as the published counts assume; the width does not matter to a count.
constexpr const char* k196 = "dim=32,heads=1,layers=12,patch=4,image=56,classes=3,hidden=32,predictors=1";

std::vector<int32_t> counts(PruneMethod method, double keep, const std::string& rates = "", int merge = 13) {
  const auto w = weights(Dtype::f32, k196);
  VitState state(w, {.max_batch = 1}, 2);
  const std::vector<float> p = picture(56, 3);
  const VitImage image{p.data(), 56, 56, 0};
  VitRun r;
  r.prune.method = method;
  r.prune.budget.keep = keep;
  r.prune.budget.merge = merge;
  r.prune.rates = rates;
  r.output = Output::tokens;  // the last block's rows too
  return forward(state, &image, 1, r).kept[0];
}

TEST(TokenCounts, agree_with_the_published_ones) {
  using V = std::vector<int32_t>;
  const auto stages = [](const V& k) { return V{k[3], k[6], k[9]}; };
  const double keeps[] = {0.9, 0.8, 0.7, 0.6, 0.5};
  const V dynamicvit[] = {{177, 159, 143}, {157, 126, 101}, {138, 97, 68}, {118, 71, 43}, {99, 50, 25}};
  const V fused[] = {{179, 163, 148}, {159, 129, 105}, {140, 100, 72}, {120, 74, 46}, {100, 52, 28}};
  const V unfused[] = {{178, 161, 145}, {158, 127, 102}, {139, 98, 69}, {119, 72, 44}, {99, 50, 26}};
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(stages(counts(PruneMethod::dynamicvit, keeps[i])), dynamicvit[i]) << keeps[i];
    EXPECT_EQ(stages(counts(PruneMethod::evit, keeps[i])), fused[i]) << keeps[i];
    EXPECT_EQ(stages(counts(PruneMethod::evit_unfused, keeps[i])), unfused[i]) << keeps[i];
  }
  EXPECT_EQ(counts(PruneMethod::tome, 1), (V{184, 171, 158, 145, 132, 119, 106, 93, 80, 67, 54, 41}));
  for (const char* name :
       {"T 0.6", "T 0.8", "T 1.0", "S 2.3", "S 2.9", "S 3.1", "B 8.7", "B 11.5", "B 12.5"}) {
    const DiffRateList& list = diffrate_list(name, 32);
    V want;
    for (int b = 0, n = 197; b < 12; ++b) want.push_back(n = std::min({n, list.prune[b], list.merge[b]}));
    EXPECT_EQ(counts(PruneMethod::diffrate, 1, name), want) << name;
  }
}

TEST(Draws, depend_on_content_and_seed_not_on_place) {
  const auto w = weights(Dtype::f32);
  VitRun r;
  r.prune.method = PruneMethod::paper_l2;
  r.prune.seed = 5;
  PruneBudget range;
  range.keep = 0.3;
  range.keep_max = 0.9;
  Batch a, b;
  for (uint64_t i = 0; i < 6; ++i) a.add(48, i, range);
  for (uint64_t i = 6; i-- > 0;) b.add(48, i, range);
  const Out x = run(w, a, r, 1), y = run(w, b, r, 2);
  std::vector<int> seen;
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(x.kept[i], y.kept[5 - i]);
    EXPECT_TRUE(same_bits(x.logits[i], y.logits[5 - i]));
    seen.push_back(x.kept[i][5]);
  }
  EXPECT_NE(*std::min_element(seen.begin(), seen.end()), *std::max_element(seen.begin(), seen.end()));
  r.prune.seed = 6;
  EXPECT_NE(run(w, a, r, 1).kept, x.kept);
}

TEST(Budgets, keeping_everything_is_not_pruning) {
  const auto w = weights(Dtype::f32);
  Batch b;
  PruneBudget all;
  all.keep = 1;
  for (uint64_t i = 0; i < 3; ++i) b.add(48, i, all);
  const Out want = run(w, b, {}, 1);
  for (PruneMethod m : {PruneMethod::threshold_l2, PruneMethod::dynamicvit, PruneMethod::evit,
                        PruneMethod::evit_unfused, PruneMethod::paper_l2, PruneMethod::paper_dynamicvit,
                        PruneMethod::paper_evit, PruneMethod::paper_ats}) {
    VitRun r;
    r.prune.method = m;
    const Out got = run(w, b, r, 2);
    for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(same_bits(want.logits[i], got.logits[i])) << name_of(m);
  }
}

TEST(Budgets, floors_thresholds_and_extremes_hold) {
  const auto w = weights(Dtype::f32);
  VitRun r;
  r.prune.method = PruneMethod::threshold_l2;
  r.prune.rule = KeepRule::threshold;
  Batch b;
  PruneBudget nothing, floor, everything;
  nothing.threshold = 1e30;
  floor.threshold = 1e30;
  floor.floor = 5;
  everything.threshold = 0;
  b.add(48, 0, nothing);
  b.add(48, 1, floor);
  b.add(48, 2, everything);
  const Out out = run(w, b, r, 2);
  EXPECT_EQ(out.kept[0][5], 1);  // CLS alone
  EXPECT_EQ(out.kept[1][5], 6);
  EXPECT_EQ(out.kept[2][5], 37);
  for (const auto& logits : out.logits)
    for (float v : logits) EXPECT_TRUE(std::isfinite(v));
}

TEST(Custom, given_scores_choose_the_patches) {
  const auto w = weights(Dtype::f32);
  VitState state(w, {.max_batch = 1}, 1);
  const std::vector<float> p = picture(48, 1);
  const VitImage image{p.data(), 48, 48, 0};
  VitTrace trace;
  VitRun r;
  r.prune.method = PruneMethod::custom;
  r.prune.budget.keep = 0.25;
  r.prune.after = 2;
  r.prune.score = [](int, int block, int rows, int dim, const float*, const int32_t* patch, float* scores) {
    EXPECT_EQ(block, 2);
    EXPECT_EQ(dim, 64);
    for (int i = 0; i < rows; ++i) scores[i] = static_cast<float>(patch[i]);  // the last patches win
  };
  r.trace = &trace;
  EXPECT_EQ(forward(state, &image, 1, r).kept[0][2], 1 + 9);
  for (int q = 0; q < 36; ++q) EXPECT_EQ(trace.patch_to[0][0][static_cast<size_t>(q)], q >= 27 ? q + 1 : 0);
}

// A toy halting method through the public interface: rows stop by a score of their own, CLS too; the read-out
// is an accumulator that the method keeps.
TEST(Custom, a_halting_method_may_stop_even_cls) {
  const auto w = weights(Dtype::f32);
  VitState state(w, {.max_batch = 2}, 2);
  const std::vector<float> p0 = picture(48, 1), p1 = picture(48, 2);
  const VitImage images[] = {{p0.data(), 48, 48, 0}, {p1.data(), 48, 48, 0}};
  std::vector<float> last(2 * 64, 0.0f);
  VitRun r;
  r.prune.after_block = [&](const PruneView& view, uint8_t* keep) {
    for (int i = 0; i < view.batch; ++i) {
      const int begin = view.offsets[i], end = view.offsets[i + 1];
      // CLS goes first; remember it. Then a few patches a block, until nothing is left of picture 0.
      if (begin < end && view.patch[begin] < 0 && view.block == 3 + i) {
        std::copy_n(view.tokens + static_cast<int64_t>(begin) * view.dim, view.dim,
                    last.begin() + i * view.dim);
        keep[begin] = 0;
      }
      const int stop = i == 0 && view.block >= 4 ? 6 : 1;
      for (int k = 0, r = end - 1; k < stop && r >= begin; --r)
        if (view.patch[r] >= 0) keep[r] = 0, ++k;
    }
  };
  r.prune.readout = [&](int batch, int width, float* rows) {
    EXPECT_EQ(batch, 2);
    EXPECT_EQ(width, 64);
    std::copy(last.begin(), last.end(), rows);
  };
  const VitResult& result = forward(state, images, 2, r);
  EXPECT_EQ(result.kept[0][0], 36);
  EXPECT_EQ(result.kept[0][11], 0);
  EXPECT_GT(result.kept[1][11], 0);
  for (int k = 0; k < 2 * result.classes; ++k) EXPECT_TRUE(std::isfinite(result.logits[k]));
  EXPECT_NE(
      std::memcmp(result.logits, result.logits + result.classes, 4 * static_cast<size_t>(result.classes)), 0);
}

TEST(Tokens, come_with_positions_and_unpack_to_the_grid) {
  const auto w = weights(Dtype::f32);
  VitState state(w, {.max_batch = 2}, 1);
  const std::vector<float> p = picture(48, 1);
  const VitImage images[] = {{p.data(), 48, 48, 0}, {p.data(), 48, 48, 0}};
  VitRun r;
  r.prune.method = PruneMethod::evit;
  r.prune.budget.keep = 0.5;
  r.output = Output::tokens;
  const VitResult& result = forward(state, images, 2, r);
  ASSERT_EQ(result.token_offsets.size(), 3u);
  EXPECT_EQ(result.token_offsets[1], result.kept[0][11]);
  EXPECT_EQ(result.token_patch[0], -1);
  std::vector<float> grid(36 * 64);
  unpack_tokens(result, 1, 36, -7.0f, grid.data());
  int alive = 0;
  for (int q = 0; q < 36; ++q) alive += grid[static_cast<size_t>(q) * 64] != -7.0f;
  const int begin = result.token_offsets[1],
            end = result.token_offsets[2];  // CLS and fused tokens have no place
  EXPECT_EQ(alive, std::count_if(result.token_patch.begin() + begin, result.token_patch.begin() + end,
                                 [](int q) { return q >= 0; }));
  EXPECT_GE(result.kept[1][11], alive + 2);
  EXPECT_THROW(unpack_tokens(result, 2, 36, 0, grid.data()), Error);
}

TEST(Distilled, both_read_out_rows_survive_every_method) {
  const auto w = weights(
      Dtype::f32, "dim=64,heads=1,layers=12,patch=8,image=48,classes=10,hidden=64,distilled=1,predictors=1");
  const Batch batch = mixed_batch();
  for (PruneMethod m : all_prune_methods()) {
    VitRun r;
    r.prune.method = m;
    const Out want = run(w, batch, r, 1), tokens = run(w, batch, r, 2, Output::tokens);
    for (size_t i = 0; i < want.logits.size(); ++i)
      EXPECT_TRUE(same_bits(want.logits[i], tokens.logits[i])) << name_of(m);
  }
}

TEST(Errors, name_what_does_not_fit) {
  const auto w = weights(Dtype::f32);
  VitState state(w, {.max_batch = 1}, 1);
  const std::vector<float> p = picture(64, 1);
  const VitImage good{p.data(), 48, 48, 0}, big{p.data(), 64, 64, 0}, odd{p.data(), 48, 50, 0}, none{};
  EXPECT_THROW(forward(state, &big, 1, {}), Error);
  EXPECT_THROW(forward(state, &odd, 1, {}), Error);
  EXPECT_THROW(forward(state, &none, 1, {}), Error);
  EXPECT_THROW(forward(state, &good, 2, {}), Error);
  EXPECT_THROW(forward(state, &good, 0, {}), Error);
  VitRun r;
  r.prune.method = PruneMethod::threshold_l2;
  r.prune.budget.keep = 1.5;
  EXPECT_THROW(forward(state, &good, 1, r), Error);
  r.prune.budget.keep = std::nan("");
  EXPECT_THROW(forward(state, &good, 1, r), Error);
  r.prune.budget.keep = 0.5;
  r.prune.after = 12;
  EXPECT_THROW(forward(state, &good, 1, r), Error);
  EXPECT_THROW(prune_method("thresh"), Error);
  EXPECT_THROW(diffrate_list("S 9", 384), Error);
  EXPECT_NO_THROW(forward(state, &good, 1, {}));
}

}  // namespace
}  // namespace hedgerow
