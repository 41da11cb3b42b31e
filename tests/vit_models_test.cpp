// SPDX-License-Identifier: Apache-2.0
// Models by name: random ones, position embeddings at other resolutions, where models are found.
#include "hedgerow/vision/vit_describe.h"
#include "hedgerow/vision/vit_load.h"
#include "hedgerow/vision/vit_random.h"
#include "loading.h"

namespace hedgerow {
namespace {

TEST(VitLoad, random_models_are_the_same_everywhere) {
  const VitParameters p =
      random_vit("dim=64,heads=2,layers=1,patch=8,image=24,classes=5,predictors=1,distilled=1");
  EXPECT_EQ(p.pos_embed.size(), 11u * 64);
  EXPECT_EQ(p.predictors.size(), 3u);
  EXPECT_EQ(p.cls_token, random_vit("dim=64,heads=1,layers=2").cls_token);
  EXPECT_NE(p.cls_token, random_vit("dim=64,heads=1,layers=1,seed=2").cls_token);
  const VitCheckpoint c = load_vit("random:deit-tiny@384:distilled,layers=1", 224);
  EXPECT_EQ(c.parameters.config.image_size, 224);
  EXPECT_EQ(c.parameters.config.dim, 192);
  EXPECT_EQ(c.preprocess.width, 224);
  ASSERT_EQ(c.notes.size(), 1u);
  EXPECT_NE(c.notes[0].find("from 24 x 24 to 14 x 14"), std::string::npos);
  EXPECT_ERROR(random_vit("deit-huge"), "should be deit-tiny");
  EXPECT_ERROR(random_vit("deit-tiny:fast"), "should be distilled");
  EXPECT_ERROR(random_vit("dim=1000000000"), "the width (dim) should be from 32 to 8192");
  EXPECT_ERROR(random_vit("dim=9x"), "wanted a whole number, found \"9x\"");
  EXPECT_ERROR(random_vit("depth=9"), "\"depth\" is not dim");
  EXPECT_ERROR(random_vit("image=100"), "not a multiple of the patch");
}

TEST(VitLoad, positions_resample_as_torch_does) {
  // torch.nn.functional.interpolate of [[0, 1], [2, 4]] to 3 x 3, align_corners=False, in each of the three
  // ways.
  VitParameters p;
  p.config.patch = 16;
  p.config.image_size = 32;
  p.config.dim = 1;
  p.pos_embed = {9, 0, 1, 2, 4};
  const auto check = [&](bool antialias, VitConfig::Resample how, const std::vector<float>& want) {
    p.config.antialias_positions = antialias;
    p.config.resample = how;
    const std::vector<float> got = resample_positions(p, 3, 3);
    ASSERT_EQ(got.size(), 10u);
    EXPECT_EQ(got[0], 9);
    for (size_t i = 0; i < 9; ++i) EXPECT_NEAR(got[i + 1], want[i], 2e-6) << i;
  };
  using R = VitConfig::Resample;
  check(false, R::bilinear, {0, 0.5, 1, 1, 1.75, 2.5, 2, 3, 4});
  check(false, R::bicubic,
        {-0.25288159, 0.28298616, 0.81885362, 0.86979187, 1.75, 2.6302083, 1.992465, 3.2170138, 4.4415627});
  check(true, R::bicubic,
        {-0.19303973, 0.3355267, 0.86409336, 0.90131605, 1.75, 2.5986845, 1.9956723, 3.164474, 4.3332763});
  EXPECT_EQ(resample_positions(p, 2, 2), p.pos_embed);
  EXPECT_ERROR(resample_positions(p, 0, 2), "wanted 1 to 4096");
  p.pos_embed.pop_back();
  EXPECT_ERROR(resample_positions(p, 3, 3), "are not 1 + 2 x 2 rows");
}

TEST(VitLoad, finds_models_by_name) {
  const Folder folder;
  std::filesystem::create_directories(folder.path("mine"));
  setenv("HEDGEROW_MODELS", folder.path().c_str(), 1);
  EXPECT_EQ(find_model("mine"), folder.path("mine"));
  EXPECT_EQ(find_model("./mine"), "./mine");
  EXPECT_ERROR(find_model("yours"), "not a path, and not in " + folder.path());
  EXPECT_ERROR(find_model(""), "no model given");
  unsetenv("HEDGEROW_MODELS");
}

}  // namespace
}  // namespace hedgerow
