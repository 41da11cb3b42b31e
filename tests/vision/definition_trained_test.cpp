// SPDX-License-Identifier: Apache-2.0
// The model that comes with the source, on pictures, against its definition: trained weights have rows,
// scores and near ties that random ones have not.
#include <gtest/gtest.h>

#include <algorithm>

#include "hedgerow/io/image.h"
#include "hedgerow/vision/vit_load.h"
#include "tests/vision/definition.h"
#include "tests/vision/observed_run.h"

namespace hedgerow::test {
namespace {

class Trained : public testing::TestWithParam<std::tuple<PruneMethod, Dtype>> {};

TEST_P(Trained, holds_from_place_to_place_and_at_every_choice) {
  const auto [method, dtype] = GetParam();
  static const VitCheckpoint model = load_vit(HEDGEROW_SOURCE_DIR "/models/hedgerow-vit-mini");
  const VitConfig& c = model.parameters.config;
  if (method == PruneMethod::dynamicvit && model.parameters.predictors.empty())
    GTEST_SKIP() << "the model has no predictors";
  std::vector<std::vector<float>> pixels;
  std::vector<VitImage> images;
  for (const char* name : {"drawn1.png", "drawn3.png"}) {
    const Picture drawn = read_picture(std::string(HEDGEROW_SOURCE_DIR "/tests/data/reference/") + name);
    pixels.push_back(preprocess(drawn, model.preprocess));
    images.push_back({pixels.back().data(), c.image_size, c.image_size, 0});
  }
  const int patches = c.grid() * c.grid();

  VitState state(pack_vit(model.parameters, find_backend(), dtype), {.max_batch = 2}, 2);
  ObservedRun seen(Layout::ragged, c.special());
  const Observer observer = seen.observer();
  VitRun run;
  run.prune.method = method;
  run.observer = &observer;
  const VitResult& result = forward(state, images.data(), 2, run);
  for (int i = 0; i < 2; ++i) {
    const std::vector<ImposedChoice> choices = seen.choices(i, patches);
    double worst = 0;
    const Defined want =
        define(model.parameters, images[static_cast<size_t>(i)],
               {.numerics = Numerics::of(find_backend(), dtype),
                .prune = run.prune,
                .imposed = &choices,
                .at = [&](const char* place, int block, Rows& rows, const std::vector<int32_t>& code) {
                  const double off = seen.distance(i, patches, place, block, rows, code, true);
                  EXPECT_LE(off, 1) << "picture " << i << " " << place << " of block " << block;
                  worst = std::max(worst, off);
                }});
    EXPECT_LE(want.strain, 1) << "picture " << i;
    EXPECT_EQ(want.kept, result.kept[static_cast<size_t>(i)]) << "picture " << i;
    EXPECT_EQ(want.macs, result.macs[static_cast<size_t>(i)]) << "picture " << i;
    if (std::getenv("HEDGEROW_VERBOSE"))
      std::printf("picture %d: %.3g of the bound, strain %.3g\n", i, worst, want.strain);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Trained,
                         testing::Combine(testing::ValuesIn(all_prune_methods()),
                                          testing::Values(Dtype::f32, Dtype::bf16)),
                         [](const testing::TestParamInfo<std::tuple<PruneMethod, Dtype>>& info) {
                           std::string name = std::string(name_of(std::get<0>(info.param))) + "_" +
                                              name_of(std::get<1>(info.param));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace hedgerow::test
