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

void horizontal(const uint8_t* in, int in_width, int rows, const Taps& taps, int out_width, uint8_t* out) {
  for (int y = 0; y < rows; ++y, in += static_cast<size_t>(in_width) * 3)
    for (int x = 0; x < out_width; ++x, out += 3) {
      const uint8_t* from = in + static_cast<size_t>(taps.first[x]) * 3;
      const int32_t* w = taps.weight.data() + static_cast<size_t>(x) * taps.width;
      int32_t r = 1 << (kPrecision - 1), g = r, b = r;
      for (int t = 0, n = taps.count[x]; t < n; ++t, from += 3) {
        r += w[t] * from[0];
        g += w[t] * from[1];
        b += w[t] * from[2];
      }
      out[0] = to_byte(r);
      out[1] = to_byte(g);
      out[2] = to_byte(b);
    }
}

void vertical(const uint8_t* in, int width, const Taps& taps, int out_height, uint8_t* out) {
  const size_t row = static_cast<size_t>(width) * 3;
  std::vector<int32_t> sums(row);
  for (int y = 0; y < out_height; ++y, out += row) {
    std::fill(sums.begin(), sums.end(), 1 << (kPrecision - 1));
    for (int t = 0; t < taps.count[y]; ++t) {
      const int32_t w = taps.weight[static_cast<size_t>(y) * taps.width + t];
      const uint8_t* from = in + (taps.first[y] + t) * row;
      int32_t* sum = sums.data();
      for (size_t i = 0; i < row; ++i) sum[i] += w * from[i];
    }
    for (size_t i = 0; i < row; ++i) out[i] = to_byte(sums[i]);
  }
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
  if (width < 1 || height < 1 || width > kMaxPixels / height || width > kMaxPixels / in.height)
    throw Error(
        fmt::format("resize: {} x {} to {} x {} is not possible", in.width, in.height, width, height));
  if (width == in.width && height == in.height) return in;
  if (f == Interpolation::nearest) return nearest(in, width, height);

  Picture out{width, height, {}};
  out.rgb.resize(static_cast<size_t>(width) * height * 3);
  const uint8_t* rows = in.rgb.data();
  int first_row = 0;
  std::vector<uint8_t> between;
  Taps down = make_taps(in.height, height, f);
  if (width != in.width) {
    // Only the rows that the second pass reads.
    first_row = down.first.front();
    const int n = down.first.back() + down.count.back() - first_row;
    const Taps across = make_taps(in.width, width, f);
    between.resize(static_cast<size_t>(width) * n * 3);
    horizontal(rows + static_cast<size_t>(first_row) * in.width * 3, in.width, n, across, width,
               between.data());
    rows = between.data();
    for (int& first : down.first) first -= first_row;
  }
  if (height != in.height)
    vertical(rows, width, down, height, out.rgb.data());
  else
    std::memcpy(out.rgb.data(), rows, out.rgb.size());
  return out;
}

}  // namespace hedgerow
