// SPDX-License-Identifier: Apache-2.0
// From a picture to what the network sees: resize (bit for bit Pillow's 8-bit resampling), centre crop,
// normalise.
#pragma once

#include <string>
#include <vector>

#include "hedgerow/io/image.h"

namespace hedgerow {

enum class Interpolation : uint8_t { nearest, bilinear, bicubic, lanczos };

const char* name_of(Interpolation interpolation);
Interpolation interpolation_named(const std::string& name);  // Error listing the names if unknown

struct Preprocess {
  int width = 224, height = 224;  // after the crop
  double crop_pct = 0.875;        // the shorter side becomes floor(side / crop_pct), unless
  int resize = 0;                 // above 0: it becomes this
  bool squash = false;            // both sides become the target, whatever the picture's proportions
  Interpolation interpolation = Interpolation::bicubic;
  float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f};

  int resize_target() const;  // of the shorter side (of both, with squash)
};

// One line: "bicubic, shorter side to 248, centre 224 x 224, mean ..., std ...".
std::string describe(const Preprocess& preprocess);

// Another input size; what is resized beforehand grows in proportion. width and height > 0.
Preprocess at_size(const Preprocess& preprocess, int width, int height);

Picture resize(const Picture& picture, int width, int height, Interpolation interpolation);

// chw: [3, height, width] f32. Error on an empty picture or sizes beyond kMaxPixels on the way.
void preprocess(const Picture& picture, const Preprocess& how, float* chw);
std::vector<float> preprocess(const Picture& picture, const Preprocess& how);

}  // namespace hedgerow
