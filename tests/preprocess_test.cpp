// SPDX-License-Identifier: Apache-2.0
// Resized pixels equal Pillow's bit for bit; sizes, crops and normalisation follow torchvision.
#include "hedgerow/vision/preprocess.h"

#include "loading.h"

namespace hedgerow {
namespace {

TEST(Preprocess, resizes_as_pillow_does) {
  const Picture in = read_picture(data_path("resize.png"));
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(data_path(""))) {
    char filter[16];
    int width = 0, height = 0;
    const std::string name = entry.path().filename();
    if (std::sscanf(name.c_str(), "resize_%15[a-z]_%d_%d.expected", filter, &width, &height) != 3) continue;
    SCOPED_TRACE(name);
    const Picture out = resize(in, width, height, interpolation_named(filter));
    EXPECT_EQ(std::string(out.rgb.begin(), out.rgb.end()), slurp(entry.path()).substr(8));
    ++seen;
  }
  EXPECT_EQ(seen, 16);
}

TEST(Preprocess, scales_the_shorter_side_then_crops_the_centre) {
  // A gradient along x: the crop's place can be read from the values. No resize: 8 rows of 21.
  Picture p{21, 8, {}};
  for (int y = 0; y < 8; ++y)
    for (int x = 0; x < 21; ++x)
      p.rgb.insert(p.rgb.end(), {static_cast<uint8_t>(x), static_cast<uint8_t>(y), 255});
  Preprocess how;
  how.width = how.height = 8;
  how.resize = 8;
  for (int c = 0; c < 3; ++c) how.mean[c] = 0, how.std[c] = 1.0f / 255;
  const std::vector<float> chw = preprocess(p, how);
  EXPECT_NEAR(chw[0], 6, 1e-4);  // (21 - 8) / 2 = 6.5 rounds to even
  EXPECT_NEAR(chw[7], 13, 1e-4);
  EXPECT_NEAR(chw[64 + 8], 1, 1e-4);
  EXPECT_NEAR(chw[128], 255, 1e-3);
  // A crop larger than the picture is framed in black.
  how.width = 25;
  const std::vector<float> framed = preprocess(p, how);
  EXPECT_EQ(framed[200], 0);
  EXPECT_EQ(framed[400 + 1], 0);
  EXPECT_NEAR(framed[400 + 2], 255, 1e-3);
  EXPECT_NEAR(framed[400 + 22], 255, 1e-3);
  EXPECT_EQ(framed[400 + 23], 0);
}

TEST(Preprocess, the_resize_target_follows_from_the_crop_and_scales_with_the_size) {
  Preprocess how;
  how.crop_pct = 0.9;
  EXPECT_EQ(how.resize_target(), 248);
  how.crop_pct = 0.875;
  EXPECT_EQ(how.resize_target(), 256);
  EXPECT_EQ(at_size(how, 384, 384).resize_target(), 438);
  how.resize = 256;
  EXPECT_EQ(at_size(how, 384, 384).resize_target(), 438);
  EXPECT_EQ(describe(how),
            "bicubic, shorter side to 256, centre 224 x 224, mean 0.485 0.456 0.406, std 0.229 0.224 0.225");
}

TEST(Preprocess, refuses_impossible_sizes) {
  const Picture p = read_picture(data_path("rgb.png"));
  EXPECT_ERROR(resize(p, 0, 5, Interpolation::bicubic), "not possible");
  EXPECT_ERROR(resize(p, 100000, 100000, Interpolation::bicubic), "not possible");
  EXPECT_ERROR(resize(Picture{4, 4, {}}, 5, 5, Interpolation::bicubic), "0 bytes are not a picture");
  const Picture thread{1, 200000, std::vector<uint8_t>(600000)};
  EXPECT_ERROR(preprocess(thread, Preprocess{}), "too long and thin");
  EXPECT_ERROR(interpolation_named("cubic"), "wanted nearest");
}

}  // namespace
}  // namespace hedgerow
