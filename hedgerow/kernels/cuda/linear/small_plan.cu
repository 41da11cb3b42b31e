// SPDX-License-Identifier: Apache-2.0
// Which small tile computes a product, and whether it beats the large ones: a guess at the time from
// capacities alone, fitted to a sweep (bench/cuda/small_sweep.cpp) over the products of ViT-T, -S and -B at 8
// to 1,576 rows on an H200.
#include <algorithm>
#include <cmath>

#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/linear/small_queue.h"

namespace hedgerow::cuda {
namespace {

// Device time in us: so much to start, for every further wave of blocks, for every 64 of k, for every further
// block on a multiprocessor, for every 64 of k in those, and for every 10^6 bytes that all blocks read.
struct SmallCost {
  bool normed;
  int rows, groups, split;
  float start, wave, step, block, block_step, traffic;
};
constexpr SmallCost kCosts[] = {
    {false, 8, 1, 1, 1.33f, 2.06f, 0.12f, 0.171f, 0.032f, 0.038f},
    {false, 8, 1, 2, 1.46f, 3.35f, 0.13f, 0.000f, 0.071f, 0.048f},
    {false, 16, 1, 1, 1.38f, 2.24f, 0.11f, 0.226f, 0.000f, 0.063f},
    {false, 16, 1, 2, 1.50f, 3.05f, 0.12f, 0.132f, 0.000f, 0.098f},
    {false, 16, 1, 4, 1.73f, 0.00f, 0.09f, 0.204f, 0.000f, 0.090f},
    {false, 32, 1, 1, 1.57f, 1.81f, 0.13f, 0.308f, 0.000f, 0.061f},
    {false, 32, 1, 2, 1.74f, 2.19f, 0.11f, 0.190f, 0.043f, 0.086f},
    {false, 32, 1, 4, 1.97f, 2.45f, 0.03f, 0.000f, 0.000f, 0.168f},
    {false, 64, 1, 1, 2.09f, 1.84f, 0.14f, 0.304f, 0.000f, 0.069f},
    {false, 64, 1, 2, 2.62f, 2.46f, 0.07f, 0.055f, 0.000f, 0.115f},
    {false, 64, 1, 4, 2.74f, 2.90f, 0.04f, 0.179f, 0.000f, 0.147f},
    {false, 64, 2, 1, 2.21f, 1.85f, 0.23f, 0.000f, 0.000f, 0.089f},
    {false, 64, 2, 2, 2.84f, 3.35f, 0.18f, 0.604f, 0.008f, 0.087f},
    {false, 64, 2, 4, 3.32f, 2.57f, 0.08f, 0.490f, 0.000f, 0.146f},
    {false, 64, 2, 8, 3.16f, 2.71f, 0.10f, 0.000f, 0.044f, 0.184f},
    {false, 104, 1, 1, 2.61f, 2.14f, 0.16f, 0.000f, 0.000f, 0.076f},
    {false, 104, 1, 2, 3.32f, 3.02f, 0.11f, 0.204f, 0.022f, 0.092f},
    {false, 104, 1, 4, 3.60f, 2.35f, 0.07f, 0.609f, 0.000f, 0.134f},
    {false, 104, 1, 8, 3.88f, 2.50f, 0.00f, 0.000f, 0.000f, 0.205f},
    {false, 104, 2, 1, 2.53f, 2.40f, 0.33f, 0.096f, 0.168f, 0.064f},
    {false, 104, 2, 2, 3.40f, 4.27f, 0.32f, 0.171f, 0.078f, 0.078f},
    {false, 104, 2, 4, 4.17f, 4.46f, 0.25f, 0.178f, 0.000f, 0.124f},
    {false, 104, 2, 8, 4.24f, 5.05f, 0.35f, 0.202f, 0.015f, 0.122f},
    {false, 128, 2, 1, 2.84f, 5.95f, 0.35f, 0.238f, 0.035f, 0.040f},
    {false, 128, 2, 2, 3.89f, 5.15f, 0.33f, 0.206f, 0.065f, 0.077f},
    {false, 128, 2, 4, 4.50f, 5.03f, 0.29f, 0.201f, 0.000f, 0.119f},
    {false, 128, 2, 8, 4.81f, 5.46f, 0.34f, 0.218f, 0.039f, 0.128f},
    {true, 8, 1, 1, 1.48f, 0.95f, 0.12f, 0.000f, 0.072f, 0.100f},
    {true, 16, 1, 1, 1.67f, 0.81f, 0.12f, 0.000f, 0.007f, 0.201f},
    {true, 32, 1, 1, 1.87f, 0.88f, 0.20f, 0.000f, 0.000f, 0.216f},
    {true, 64, 1, 1, 2.59f, 3.29f, 0.19f, 0.000f, 0.000f, 0.163f},
    {true, 64, 2, 1, 2.84f, 1.59f, 0.23f, 0.040f, 0.311f, 0.134f},
};

// How many blocks a multiprocessor holds, by their memory and their registers.
int resident(const SmallCost& c, int steps, bool divided) {
  const int outputs = 64 * c.groups, fixed = c.normed ? steps * c.rows * 128 + steps * 512 : 0;
  const int stage = outputs * 128 + (c.normed ? 0 : c.rows * 128);
  const int stages = std::min(std::max((kSmallRoom - fixed) / stage, 2), steps);
  const int bytes = std::max(fixed + stages * stage, c.rows * (outputs + 4) * 4) +
                    (c.split > 1 ? c.rows * outputs * 4 : 0) + 2048;
  const bool wide = c.groups == 2 || (c.normed && c.rows * steps >= 192);
  const int registers = c.rows >= 104 || (c.normed && c.rows * steps > 192) ? 168
                        : c.rows >= 64 || c.normed                          ? 96
                                                                            : 56;
  const int threads = (wide ? 288 : 160) + (divided ? 128 : 0);
  return std::max(1, std::min(227 * 1024 / bytes, 65536 / (registers * threads)));
}

}  // namespace

LinearGuess small_guess(int row_capacity, int n, int k, SmallRows how) {
  constexpr float kDividing = 0.5f;
  const bool normed = how == SmallRows::normed, divided = how == SmallRows::divided;
  const auto up = [](int a, int b) { return (a + b - 1) / b; };
  const int processors = std::max(1, device().multiprocessors);
  LinearGuess best{{LinearTile::small, 1, 16}, 0};
  for (const SmallCost& c : kCosts) {
    const int all_steps = up(k, 64);
    if (c.normed != normed || (c.split > 1 && all_steps < 2 * c.split)) continue;
    if (normed && c.rows * c.groups >= 64 && k > 384) continue;
    if (divided && (c.split > 1 || c.rows * c.groups > 128)) continue;
    const int row_tiles = up(row_capacity, c.rows), columns = up(n, 64 * c.groups);
    const int steps = up(all_steps, c.split);
    const float blocks = static_cast<float>(row_tiles * columns * c.split);
    const float waves = std::ceil(blocks / static_cast<float>(processors * resident(c, steps, divided)));
    const float further = std::ceil(blocks / static_cast<float>(processors)) - 1;
    const float depth = static_cast<float>(all_steps) / static_cast<float>(c.split);
    const float bytes = blocks * depth * 128e-6f * static_cast<float>(64 * c.groups + c.rows);
    const float us = c.start + (waves - 1) * c.wave + depth * c.step +
                     further * (c.block + c.block_step * depth) +
                     bytes * (c.traffic + (row_capacity <= kCrowdedRows ? kCrowding : 0.0f));
    if (best.us == 0 || us < best.us) best = {{LinearTile::small, c.split, c.rows, c.groups}, us};
  }
  if (divided) best.us += kDividing;
  return best;
}

}  // namespace hedgerow::cuda
