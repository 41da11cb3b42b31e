// SPDX-License-Identifier: Apache-2.0
// The promises of the vision half, on random weights: packed == padded == one by one == any order == any
// thread count, bit for bit, every method, both dtypes.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/prune_schedule.h"
#include "tests/vit_problem.h"

namespace hedgerow {
namespace {

class EveryMethod : public testing::TestWithParam<std::tuple<PruneMethod, Dtype>> {
 protected:
  VitRun vit_run() const {
    VitRun r;
    r.prune.method = std::get<0>(GetParam());
    return r;
  }
  Dtype dtype() const { return std::get<1>(GetParam()); }
};

TEST_P(EveryMethod, layouts_orders_threads_and_batches_agree_bit_for_bit) {
  const auto w = weights(dtype());
  const Batch batch = mixed_batch();
  const VitRun ragged = vit_run();
  const Out want = run(w, batch, ragged, 1);
  for (const auto& logits : want.logits)
    for (float v : logits) ASSERT_TRUE(std::isfinite(v));

  const Out two = run(w, batch, ragged, 2), three = run(w, batch, ragged, 3);
  VitRun longest = ragged;
  longest.layout = Layout::padded_max;
  const Out padded = run(w, batch, longest, 2);
  Batch reversed = batch;
  std::reverse(reversed.images.begin(), reversed.images.end());
  std::reverse(reversed.budgets.begin(), reversed.budgets.end());
  for (size_t i = 0; i < reversed.images.size(); ++i)
    reversed.images[i].pixels = batch.images[batch.images.size() - 1 - i].pixels;
  const Out back = run(w, reversed, ragged, 2);
  for (size_t i = 0; i < want.logits.size(); ++i) {
    EXPECT_TRUE(same_bits(want.logits[i], two.logits[i])) << "2 threads, picture " << i;
    EXPECT_TRUE(same_bits(want.logits[i], three.logits[i])) << "3 threads, picture " << i;
    EXPECT_TRUE(same_bits(want.logits[i], padded.logits[i])) << "padded to the longest, picture " << i;
    EXPECT_TRUE(same_bits(want.logits[i], back.logits[want.logits.size() - 1 - i]))
        << "other order, picture " << i;
    EXPECT_EQ(want.kept[i], padded.kept[i]);
    Batch one;
    one.add(batch.images[i].height, i, batch.budgets[i]);
    const Out alone = run(w, one, ragged, 1);
    EXPECT_TRUE(same_bits(want.logits[i], alone.logits[0])) << "alone, picture " << i;
    EXPECT_EQ(want.kept[i], alone.kept[0]);
    EXPECT_EQ(want.macs[i], alone.macs[0]);
  }
}

TEST_P(EveryMethod, full_grid_with_masked_keys_agrees) {
  const PruneMethod method = std::get<0>(GetParam());
  VitRun padded = vit_run();
  padded.layout = Layout::padded;
  const auto w = weights(dtype());
  const Batch batch = mixed_batch();
  if (method == PruneMethod::tome || method == PruneMethod::diffrate) {
    EXPECT_THROW(run(w, batch, padded, 1), Error);
    return;
  }
  const Out want = run(w, batch, vit_run(), 1), got = run(w, batch, padded, 2);
  for (size_t i = 0; i < want.logits.size(); ++i) {
    EXPECT_TRUE(same_bits(want.logits[i], got.logits[i])) << "picture " << i;
    EXPECT_EQ(want.kept[i], got.kept[i]);
    if (method != PruneMethod::none) EXPECT_GE(got.macs[i], want.macs[i]);
  }
}

TEST_P(EveryMethod, skipping_to_the_readout_changes_no_logit) {
  const auto w = weights(dtype());
  const Batch batch = mixed_batch();
  const Out want = run(w, batch, vit_run(), 1), all = run(w, batch, vit_run(), 2, Output::tokens);
  for (size_t i = 0; i < want.logits.size(); ++i) EXPECT_TRUE(same_bits(want.logits[i], all.logits[i])) << i;
}

std::string method_name(const testing::TestParamInfo<std::tuple<PruneMethod, Dtype>>& info) {
  std::string name = fmt::format("{}_{}", name_of(std::get<0>(info.param)), name_of(std::get<1>(info.param)));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Methods, EveryMethod,
                         testing::Combine(testing::ValuesIn(all_prune_methods()),
                                          testing::Values(Dtype::f32, Dtype::bf16)),
                         method_name);

}  // namespace
}  // namespace hedgerow
