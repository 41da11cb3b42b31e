// SPDX-License-Identifier: Apache-2.0
// Separable resampling of a small grid of rows. The filter matters: checkpoints were fine-tuned or measured
// with one of these three, and the wrong one costs accuracy silently.
#include "hedgerow/vision/positions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hedgerow/core/error.h"

namespace hedgerow {
namespace {

constexpr int kMaxGrid = 4096;

using Resample = VitConfig::Resample;

// The cubic kernel is sharper (a = -0.75) without antialiasing than with it (-0.5): so it is in PyTorch.
double cubic(double x, double a) {
  x = std::fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

struct Tap {
  int from;
  float weight;
};

// What each output position reads. Pixel centres at half (align_corners = false).
std::vector<std::vector<Tap>> make_taps(int in, int out, Resample filter, bool antialias) {
  const double scale = static_cast<double>(in) / out;
  std::vector<std::vector<Tap>> taps(out);
  for (int i = 0; i < out; ++i) {
    const double centre = (i + 0.5) * scale;
    if (antialias) {
      // The kernel widens when shrinking and is cut and renormalised at the border.
      const double stretch = std::max(scale, 1.0);
      const double support = (filter == Resample::bicubic ? 2 : 1) * stretch;
      const int begin = std::max(static_cast<int>(centre - support + 0.5), 0);
      const int end = std::min(static_cast<int>(centre + support + 0.5), in);
      std::vector<double> w;
      double sum = 0;
      for (int j = begin; j < end; ++j) {
        const double x = (j - centre + 0.5) / stretch;
        w.push_back(filter == Resample::bicubic ? cubic(x, -0.5) : std::max(0.0, 1 - std::fabs(x)));
        sum += w.back();
      }
      for (int j = begin; j < end; ++j) taps[i].push_back({j, static_cast<float>(w[j - begin] / sum)});
    } else if (filter == Resample::bicubic) {
      // Four neighbours; those beyond the border are the border again.
      const double at = centre - 0.5, base = std::floor(at);
      for (int k = -1; k <= 2; ++k)
        taps[i].push_back({std::clamp(static_cast<int>(base) + k, 0, in - 1),
                           static_cast<float>(cubic(at - base - k, -0.75))});
    } else {
      const double at = std::max(centre - 0.5, 0.0);
      const int base = std::min(static_cast<int>(at), in - 1);
      const float far = static_cast<float>(at - base);
      taps[i] = {{base, 1 - far}, {std::min(base + 1, in - 1), far}};
    }
  }
  return taps;
}

}  // namespace

std::vector<float> resample_positions(const VitParameters& parameters, int grid_h, int grid_w) {
  const VitConfig& config = parameters.config;
  const int special = config.special(), grid = config.grid();
  const size_t dim = static_cast<size_t>(config.dim);
  if (grid_h < 1 || grid_w < 1 || grid_h > kMaxGrid || grid_w > kMaxGrid)
    throw Error(fmt::format("positions for a grid of {} x {} patches: wanted 1 to {} a side", grid_h, grid_w,
                            kMaxGrid));
  if (parameters.pos_embed.size() != (special + static_cast<size_t>(grid) * grid) * dim)
    throw Error(fmt::format("positions: {} values are not {} + {} x {} rows of {}",
                            parameters.pos_embed.size(), special, grid, grid, dim));
  if (grid_h == grid && grid_w == grid) return parameters.pos_embed;

  const auto rows = make_taps(grid, grid_h, config.resample, config.antialias_positions);
  const auto columns = make_taps(grid, grid_w, config.resample, config.antialias_positions);
  std::vector<float> out((special + static_cast<size_t>(grid_h) * grid_w) * dim);
  std::copy_n(parameters.pos_embed.begin(), special * dim, out.begin());
  const float* from = parameters.pos_embed.data() + special * dim;
  float* to = out.data() + special * dim;
  // Along x for every input row, then along y.
  std::vector<float> between(static_cast<size_t>(grid) * grid_w * dim, 0.0f);
  for (int y = 0; y < grid; ++y)
    for (int x = 0; x < grid_w; ++x) {
      float* sum = between.data() + (static_cast<size_t>(y) * grid_w + x) * dim;
      for (const Tap& tap : columns[x]) {
        const float* row = from + (static_cast<size_t>(y) * grid + tap.from) * dim;
        for (size_t c = 0; c < dim; ++c) sum[c] += tap.weight * row[c];
      }
    }
  for (int y = 0; y < grid_h; ++y)
    for (int x = 0; x < grid_w; ++x, to += dim)
      for (const Tap& tap : rows[y]) {
        const float* row = between.data() + (static_cast<size_t>(tap.from) * grid_w + x) * dim;
        for (size_t c = 0; c < dim; ++c) to[c] += tap.weight * row[c];
      }
  return out;
}

std::string describe_resampling(const VitConfig& config) {
  return fmt::format("{}{}", config.resample == Resample::bicubic ? "bicubic" : "bilinear",
                     config.antialias_positions ? " with antialiasing" : ", no antialiasing");
}

}  // namespace hedgerow
