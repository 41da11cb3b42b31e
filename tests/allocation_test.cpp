// SPDX-License-Identifier: Apache-2.0
// Once a kind of batch has been seen, a pass allocates nothing, whatever its sizes, budgets and counts:
// operator new is replaced and counts.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "hedgerow/core/rng.h"
#include "hedgerow/vision/methods.h"
#include "hedgerow/vision/vit.h"
#include "hedgerow/vision/vit_random.h"

namespace {
std::atomic<long> allocations{0};
void* counted(size_t bytes) {
  ++allocations;
  if (void* p = std::malloc(bytes ? bytes : 1)) return p;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(size_t bytes) { return counted(bytes); }
void* operator new[](size_t bytes) { return counted(bytes); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }

namespace hedgerow {
namespace {

constexpr int kMost = 4;

// Batches of 1 to 4 pictures of three sizes, each with budgets of its own.
struct Pictures {
  std::vector<std::vector<float>> pixels;
  std::vector<std::vector<VitImage>> batches;
  std::vector<std::vector<PruneBudget>> budgets;

  explicit Pictures(int count) {
    const Rng rng{5, 1};
    const int sides[] = {24, 32, 40};
    for (int side : sides) {
      pixels.emplace_back(3 * static_cast<size_t>(side * side));
      for (size_t i = 0; i < pixels.back().size(); ++i)
        pixels.back()[i] = static_cast<float>(rng.normal(i + static_cast<size_t>(side)));
    }
    for (int b = 0; b < count; ++b) {
      const uint64_t draw = static_cast<uint64_t>(b) * 100;
      const int n = 1 + static_cast<int>(rng.uniform(draw) * kMost);
      auto& images = batches.emplace_back();
      auto& own = budgets.emplace_back();
      for (int i = 0; i < n; ++i) {
        const size_t which = static_cast<size_t>(rng.uniform(draw + 10 + static_cast<uint64_t>(i)) * 3);
        images.push_back({pixels[which].data(), sides[which], sides[which], 1 + draw});
        PruneBudget budget;
        budget.keep = rng.uniform(draw + 20 + static_cast<uint64_t>(i));
        budget.keep_max = i % 2 ? 1 : 0;
        budget.mass = budget.keep;
        budget.merge = static_cast<int>(budget.keep * 6);
        own.push_back(budget);
      }
    }
  }
};

class Submit : public testing::TestWithParam<std::tuple<PruneMethod, Layout>> {};

TEST_P(Submit, allocates_nothing_once_a_kind_of_batch_was_seen) {
  const auto [method, layout] = GetParam();
  if (layout == Layout::padded && !traits_of(method).runs_full_grid) GTEST_SKIP() << "not in a full grid";
  constexpr int kBatches = 40, kRounds = 25;  // 1,000 batches
  static const Pictures pictures(kBatches);
  const auto weights =
      pack_vit(random_vit("dim=32,heads=1,layers=12,patch=8,image=40,classes=3,hidden=32,predictors=1"),
               find_backend(), Dtype::f32);
  VitState state(weights, {.max_batch = kMost}, 1);
  VitRun run;
  run.prune.method = method;
  run.layout = layout;
  long seen = 0;
  for (int round = 0; round < kRounds + 1; ++round) {
    if (round == 1) seen = allocations;  // the first round has shown every kind
    for (int b = 0; b < kBatches; ++b) {
      const auto& images = pictures.batches[static_cast<size_t>(b)];
      run.prune.per_image.assign(pictures.budgets[static_cast<size_t>(b)].begin(),
                                 pictures.budgets[static_cast<size_t>(b)].end());
      forward(state, images.data(), static_cast<int>(images.size()), run);
    }
  }
  EXPECT_EQ(allocations - seen, 0) << name_of(method);
}

INSTANTIATE_TEST_SUITE_P(Methods, Submit,
                         testing::Combine(testing::ValuesIn(all_prune_methods()),
                                          testing::Values(Layout::ragged, Layout::padded,
                                                          Layout::padded_max)),
                         [](const auto& info) {
                           std::string name = name_of(std::get<0>(info.param));
                           for (char& c : name) c = c == '-' ? '_' : c;
                           const Layout layout = std::get<1>(info.param);
                           return name + (layout == Layout::ragged   ? "_ragged"
                                          : layout == Layout::padded ? "_padded"
                                                                     : "_padded_max");
                         });

}  // namespace
}  // namespace hedgerow
