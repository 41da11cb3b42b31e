// SPDX-License-Identifier: Apache-2.0
// Which staged tile suits a product, and what it may take.
#include <algorithm>

#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/linear/guess.h"

namespace hedgerow::cuda {
namespace {

// Device time in us, fitted to sweeps over 84 products of ViT-T, -S and -B from 99 to 6,304 rows on an H100:
// so much to start, for every wave of blocks, for every 64 of k in a multiprocessor's blocks, for their GELU,
// for every 10^6 outputs written or read as a residual, and for every 10^6 bytes that all blocks fetch.
// Against the best tile that was timed the choice costs 1.5 % in the mean.
struct StagedCost {
  float start, wave, step, gelu, traffic, fetched;
};
constexpr StagedCost kCosts[] = {
    // in the order of kStagedTiles
    {1.259f, 0.233f, 0.085f, 0.172f, 0.349f, 0.032f},   // 1 x 48
    {1.417f, 0.267f, 0.079f, 0.118f, -0.214f, 0.061f},  // 1 x 64
    {1.265f, 0.271f, 0.084f, 0, 0.058f, 0.066f},        // 1 x 80
    {1.322f, 0.366f, 0.088f, 0.514f, 0.009f, 0.054f},   // 1 x 96
    {1.381f, 0.540f, 0.113f, 0.448f, -0.065f, 0.045f},  // 1 x 128
    {1.678f, 0.470f, 0.128f, 0.854f, -0.195f, 0.084f},  // 1 x 176
    {1.247f, 0.906f, 0.199f, 0, 0.022f, 0.029f},        // 1 x 192
    {1.551f, 0.664f, 0.263f, 0, 0.122f, 0.023f},        // 2 x 128
    {1.457f, 0.956f, 0.339f, 0.977f, 0.170f, 0.023f},   // 2 x 160
    {1.467f, 0.949f, 0.415f, 0.933f, 0.207f, 0.017f},   // 2 x 192
    {1.384f, 1.027f, 0.434f, 1.636f, 0.180f, 0.022f},   // 2 x 208
    {1.446f, 1.022f, 0.507f, 0, 0.267f, 0.017f},        // 2 x 240
    {1.590f, 1.036f, 0.611f, 1.228f, 0.283f, 0.016f},   // 3 x 192
};
static_assert(sizeof(kCosts) / sizeof(StagedCost) == kStagedTileCount);
constexpr int kMostRows =
    8000;  // from here on those that take turns are ahead; the tile that stays was timed beyond

int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

bool considered(const StagedTile& t, int rows, bool residual, Activation act) {
  if (rows > kMostRows && !(t.groups == 2 && t.cols == 192)) return false;
  if (residual && (!t.takes_residual() || t.cols == 176)) return false;  // 176: fc1's alone
  return t.takes(act);
}

}  // namespace

LinearGuess staged_guess(int rows, int n, int k, bool residual, Activation act) {
  const int64_t steps = up(k, 64), processors = std::max(1, device().multiprocessors);
  LinearGuess best;
  for (int i = 0; i < kStagedTileCount; ++i) {
    const StagedTile& t = kStagedTiles[i];
    const StagedCost& c = kCosts[i];
    if (!considered(t, rows, residual, act)) continue;
    const int64_t tiles = up(rows, 64 * t.groups) * up(n, t.cols),
                  resident = t.groups == 1 && t.cols == 64 ? 2 : 1;
    const float waves = static_cast<float>(up(tiles, processors * resident)),
                blocks = static_cast<float>(up(tiles, processors));
    const float outputs = static_cast<float>(rows) * static_cast<float>(n) * (residual ? 2e-6f : 1e-6f);
    const float fetched = 128e-6f * static_cast<float>(tiles * steps * (64 * t.groups + t.cols));
    const float us =
        c.start + waves * c.wave +
        blocks * (c.step * static_cast<float>(steps) + (act == Activation::none ? 0.0f : c.gelu)) +
        c.traffic * outputs + (c.fetched + (rows <= kCrowdedRows ? kCrowding : 0.0f)) * fetched;
    if (best.us == 0 || us < best.us)
      best = {{.tile = LinearTile::staged, .groups = t.groups, .cols = t.cols}, us};
  }
  return best;
}

}  // namespace hedgerow::cuda
