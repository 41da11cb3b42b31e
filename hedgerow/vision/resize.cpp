// SPDX-License-Identifier: Apache-2.0
// Two passes over 8-bit pixels, weights in 22-bit fixed point, rounding to 8 bits in between: the arithmetic
// of Pillow, because that is what the models were trained and measured with.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/preprocess.h"

namespace hedgerow {
namespace {

constexpr int kPrecision = 22;
constexpr int32_t kHalf = 1 << (kPrecision - 1);

double filter_support(Interpolation f) {
  return f == Interpolation::bilinear ? 1 : f == Interpolation::bicubic ? 2 : 3;
}

double sinc(double x) {
  if (x == 0) return 1;
  x *= M_PI;
  return std::sin(x) / x;
}

double filter_value(Interpolation f, double x) {
  if (f == Interpolation::lanczos) return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  x = std::fabs(x);
  if (f == Interpolation::bilinear) return x < 1 ? 1 - x : 0;
  constexpr double a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// For each output position: the first input it reads, how many, and their weights.
struct Taps {
  int width = 0;  // weights per output position, padded with zeros
  std::vector<int> first, count;
  std::vector<int32_t> weight;
};

Taps make_taps(int in, int out, Interpolation f) {
  const double scale = static_cast<double>(in) / out, stretch = std::max(scale, 1.0);
  const double support = filter_support(f) * stretch, inverse = 1.0 / stretch;
  Taps taps;
  taps.width = static_cast<int>(std::ceil(support)) * 2 + 1;
  taps.first.resize(out);
  taps.count.resize(out);
  taps.weight.assign(static_cast<size_t>(out) * taps.width, 0);
  std::vector<double> w(taps.width);
  for (int i = 0; i < out; ++i) {
    const double centre = (i + 0.5) * scale;
    const int begin = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int n = std::min(static_cast<int>(centre + support + 0.5), in) - begin;
    double sum = 0;
    for (int t = 0; t < n; ++t) sum += w[t] = filter_value(f, (t + begin - centre + 0.5) * inverse);
    taps.first[i] = begin;
    taps.count[i] = n;
    for (int t = 0; t < n; ++t) {
      const double v = (sum != 0 ? w[t] / sum : w[t]) * (1 << kPrecision);
      taps.weight[static_cast<size_t>(i) * taps.width + t] = static_cast<int32_t>(v < 0 ? v - 0.5 : v + 0.5);
    }
  }
  return taps;
}

inline uint8_t to_byte(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecision, 0, 255)); }

Picture resize_width(const Picture& in, int width, Interpolation f) {
  if (width == in.width) return in;
  const Taps taps = make_taps(in.width, width, f);
  Picture out{width, in.height, std::vector<uint8_t>(static_cast<size_t>(width) * in.height * 3)};
  const uint8_t* row = in.rgb.data();
  uint8_t* to = out.rgb.data();
  for (int y = 0; y < in.height; ++y, row += static_cast<size_t>(in.width) * 3)
    for (int x = 0; x < width; ++x, to += 3) {
      const uint8_t* from = row + static_cast<size_t>(taps.first[x]) * 3;
      const int32_t* w = taps.weight.data() + static_cast<size_t>(x) * taps.width;
      int32_t r = kHalf, g = kHalf, b = kHalf;
      for (int t = 0, n = taps.count[x]; t < n; ++t, from += 3) {
        r += w[t] * from[0];
        g += w[t] * from[1];
        b += w[t] * from[2];
      }
      to[0] = to_byte(r);
      to[1] = to_byte(g);
      to[2] = to_byte(b);
    }
  return out;
}

Picture resize_height(const Picture& in, int height, Interpolation f) {
  if (height == in.height) return in;
  const Taps taps = make_taps(in.height, height, f);
  Picture out{in.width, height, std::vector<uint8_t>(static_cast<size_t>(in.width) * height * 3)};
  const size_t row = static_cast<size_t>(in.width) * 3;
  std::vector<int32_t> sums(row);
  uint8_t* to = out.rgb.data();
  for (int y = 0; y < height; ++y, to += row) {
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int t = 0; t < taps.count[y]; ++t) {
      const int32_t w = taps.weight[static_cast<size_t>(y) * taps.width + t];
      const uint8_t* from = in.rgb.data() + (taps.first[y] + t) * row;
      int32_t* sum = sums.data();
      for (size_t i = 0; i < row; ++i) sum[i] += w * from[i];
    }
    for (size_t i = 0; i < row; ++i) to[i] = to_byte(sums[i]);
  }
  return out;
}

Picture nearest(const Picture& in, int width, int height) {
  Picture out{width, height, {}};
  out.rgb.resize(static_cast<size_t>(width) * height * 3);
  // Positions are summed up, not multiplied out: that is where Pillow's ties fall.
  const double dx = static_cast<double>(in.width) / width, dy = static_cast<double>(in.height) / height;
  std::vector<int> columns(width);
  double at = dx * 0.5;
  for (int& c : columns) {
    c = std::min(static_cast<int>(at), in.width - 1);
    at += dx;
  }
  uint8_t* to = out.rgb.data();
  at = dy * 0.5;
  for (int y = 0; y < height; ++y, at += dy) {
    const uint8_t* row =
        in.rgb.data() + static_cast<size_t>(std::min(static_cast<int>(at), in.height - 1)) * in.width * 3;
    for (int c : columns) {
      std::memcpy(to, row + static_cast<size_t>(c) * 3, 3);
      to += 3;
    }
  }
  return out;
}

}  // namespace

Picture resize(const Picture& in, int width, int height, Interpolation f) {
  if (in.width < 1 || in.height < 1 || in.rgb.size() != static_cast<size_t>(in.width) * in.height * 3)
    throw Error(
        fmt::format("resize: {} bytes are not a picture of {} x {}", in.rgb.size(), in.width, in.height));
  if (width < 1 || height < 1 || width > kMaxPixels / height || width > kMaxPixels / in.height ||
      in.width > kMaxPixels / height)
    throw Error(
        fmt::format("resize: {} x {} to {} x {} is not possible", in.width, in.height, width, height));
  if (width == in.width && height == in.height) return in;
  if (f == Interpolation::nearest) return nearest(in, width, height);

  // Rounding in between makes the order matter. Pillow 13 begins with the height where it shrinks by more
  // than twice what the width does (up to 12 it always began with the width). A pass that would change
  // nothing is left out.
  if (in.height > height && in.height - height > 2 * (in.width - width))
    return resize_width(resize_height(in, height, f), width, f);
  return resize_height(resize_width(in, width, f), height, f);
}

}  // namespace hedgerow
