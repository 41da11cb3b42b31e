// SPDX-License-Identifier: Apache-2.0
// The sizes and roundings are torchvision's Resize, CenterCrop, ToTensor and Normalize.
#include "hedgerow/vision/preprocess.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "hedgerow/core/error.h"

namespace hedgerow {
namespace {

constexpr const char* kNames[] = {"nearest", "bilinear", "bicubic", "lanczos"};

constexpr uint8_t kBlack[3] = {0, 0, 0};

// Half rounds to even, as Python does.
int half_of(int n) { return static_cast<int>(std::nearbyint(n / 2.0)); }

// Where the crop starts in the resized picture; negative: black pixels come first.
int crop_start(int have, int want) { return have >= want ? half_of(have - want) : -((want - have) / 2); }

}  // namespace

const char* name_of(Interpolation interpolation) { return kNames[static_cast<int>(interpolation)]; }

Interpolation interpolation_named(const std::string& name) {
  for (int i = 0; i < 4; ++i)
    if (name == kNames[i]) return static_cast<Interpolation>(i);
  throw Error("interpolation \"" + name + "\": wanted nearest, bilinear, bicubic or lanczos");
}

int Preprocess::resize_target() const {
  return resize > 0 ? resize : static_cast<int>(std::floor(std::min(width, height) / crop_pct));
}

std::string describe(const Preprocess& p) {
  const int target = p.resize_target();
  const std::string sides =
      p.squash ? fmt::format("both sides to {}", target) : fmt::format("shorter side to {}", target);
  return fmt::format("{}, {}, centre {} x {}, mean {:g} {:g} {:g}, std {:g} {:g} {:g}",
                     name_of(p.interpolation), sides, p.width, p.height, p.mean[0], p.mean[1], p.mean[2],
                     p.std[0], p.std[1], p.std[2]);
}

Preprocess at_size(const Preprocess& p, int width, int height) {
  Preprocess out = p;
  out.width = width;
  out.height = height;
  if (p.resize > 0)
    out.resize = static_cast<int>(static_cast<int64_t>(p.resize) * std::min(width, height) /
                                  std::min(p.width, p.height));
  return out;
}

void preprocess(const Picture& picture, const Preprocess& how, float* chw) {
  const int w = picture.width, h = picture.height, target = how.resize_target();
  if (w < 1 || h < 1 || how.width < 1 || how.height < 1 || target < 1)
    throw Error(fmt::format("preprocess: {} x {} to {} x {} by way of {} is not possible", w, h, how.width,
                            how.height, target));
  int64_t new_w = target, new_h = target;
  if (!how.squash) {
    if (w <= h) {
      new_h = static_cast<int64_t>(static_cast<double>(target) * h / w);
    } else {
      new_w = static_cast<int64_t>(static_cast<double>(target) * w / h);
    }
  }
  if (new_w > kMaxPixels / new_h)
    throw Error(fmt::format("preprocess: {} x {} is too long and thin to resize to {}", w, h, target));
  const Picture resized =
      resize(picture, static_cast<int>(new_w), static_cast<int>(new_h), how.interpolation);

  std::array<std::array<float, 256>, 3> value;
  for (int c = 0; c < 3; ++c)
    for (int i = 0; i < 256; ++i) value[c][i] = (static_cast<float>(i) / 255.0f - how.mean[c]) / how.std[c];
  const int left = crop_start(resized.width, how.width), top = crop_start(resized.height, how.height);
  const size_t plane = static_cast<size_t>(how.width) * how.height;
  for (int y = 0; y < how.height; ++y) {
    const int sy = y + top;
    float* out = chw + static_cast<size_t>(y) * how.width;
    for (int x = 0; x < how.width; ++x) {
      const int sx = x + left;
      const bool inside = sy >= 0 && sy < resized.height && sx >= 0 && sx < resized.width;
      const uint8_t* pixel = kBlack;
      if (inside) pixel = resized.rgb.data() + 3 * (static_cast<size_t>(sy) * resized.width + sx);
      for (int c = 0; c < 3; ++c) out[c * plane + x] = value[c][pixel[c]];
    }
  }
}

std::vector<float> preprocess(const Picture& picture, const Preprocess& how) {
  std::vector<float> chw(static_cast<size_t>(how.width) * how.height * 3);
  preprocess(picture, how, chw.data());
  return chw;
}

}  // namespace hedgerow
