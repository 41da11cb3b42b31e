// SPDX-License-Identifier: Apache-2.0
// Which rows of a sequence survive. Ordering and sampling in integers and double: one build for all levels,
// so that every level keeps the same rows.
//
// A candidate becomes one 64-bit key: its score's place among all floats above, its index (inverted) below.
// Larger key = better candidate, ties are already decided, NaN lies below -inf, and -0 equals +0.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "hedgerow/kernels/cpu/cpu.h"

namespace hedgerow::cpu {
namespace {

uint64_t key_of(float score, int index) {
  uint32_t u = 0;
  if (score == score) {
    score += 0.0f;  // -0 + 0 = +0
    std::memcpy(&u, &score, 4);
    u = u & 0x80000000u ? ~u : u | 0x80000000u;
  }
  return static_cast<uint64_t>(u) << 32 | (0xffffffffu - static_cast<uint32_t>(index));
}
int index_of(uint64_t key) { return static_cast<int>(0xffffffffu - static_cast<uint32_t>(key)); }

int clamped(double count, int m) { return count >= m ? m : count > 0 ? static_cast<int>(count) : 0; }

// Turns the sorted keys' scores into non-negative weights and returns their sum, added in key order. Negative
// scores and NaN weigh nothing; if some are infinite, only those weigh, equally; if nothing weighs anything,
// all weigh the same.
double weigh(const float* score, const uint64_t* keys, int m, double* weight) {
  bool infinite = false;
  for (int i = 0; i < m; ++i) infinite |= score[index_of(keys[i])] == INFINITY;
  double sum = 0;
  for (int i = 0; i < m; ++i) {
    const float s = score[index_of(keys[i])];
    weight[i] = infinite ? (s == INFINITY ? 1.0 : 0.0) : s > 0 ? static_cast<double>(s) : 0.0;
    sum += weight[i];
  }
  if (sum > 0) return sum;
  std::fill(weight, weight + m, 1.0);
  return m;
}

// The smallest number of leading keys (highest first) whose share of the sum reaches `mass`.
int count_for_mass(const float* score, uint64_t* keys, int m, double mass, double* weight) {
  if (!(mass > 0)) return 0;
  std::sort(keys, keys + m, std::greater<>());
  const double wanted = mass * weigh(score, keys, m, weight);
  double reached = 0;
  int count = 0;
  while (count < m && reached < wanted) reached += weight[count++];
  return count;
}

// Inverse-transform sampling (Fayyaz et al. 2022). The cumulative sum of the ascending scores, stretched so
// that the weakest candidate lies at 0 and the strongest at 1, is read at `samples` heights, evenly spaced
// from its smallest non-zero value to 1; each height takes the nearest entry (the weaker one if two are as
// near). Of equal scores the lower index counts as the stronger. One height alone, or one candidate alone,
// takes the strongest. Moves what was taken to the front of `keys` and returns how many.
int sample_ats(const float* score, uint64_t* keys, int m, int samples, double* cdf) {
  if (m == 0 || samples <= 0) return 0;
  std::sort(keys, keys + m);
  weigh(score, keys, m, cdf);
  for (int i = 1; i < m; ++i) cdf[i] += cdf[i - 1];
  const double low = cdf[0], span = cdf[m - 1] - cdf[0];
  if (samples == 1 || !(span > 0)) {
    std::swap(keys[0], keys[m - 1]);
    return 1;
  }
  for (int i = 0; i < m; ++i) cdf[i] = (cdf[i] - low) / span;
  int above = 0;
  while (cdf[above] <= 0) ++above;  // the last entry is 1
  const double start = cdf[above];

  // Heights and entries both rise, so one walk pairs them; `above` is the first entry not below the height.
  int taken = 0, previous = -1;
  for (int i = 0; i < samples; ++i) {
    const double height = start + (1.0 - start) * (static_cast<double>(i) / (samples - 1));
    while (above < m - 1 && cdf[above] < height) ++above;
    const int pick = height - cdf[above - 1] <= std::fabs(cdf[above] - height) ? above - 1 : above;
    if (pick == previous) continue;
    std::swap(keys[taken++], keys[pick]);  // picks rise: keys[pick] has not moved yet
    previous = pick;
  }
  return taken;
}

// Moves the chosen candidates to the front of `keys` and returns how many.
int choose(const SelectArgs& a, int sequence, const float* score, uint64_t* keys, int m, double* weight) {
  int count = 0;
  switch (a.mode) {
    case SelectMode::top_k:
      count = clamped(a.count[sequence], m);
      break;
    case SelectMode::threshold:
      for (int i = 0; i < m; ++i) count += score[index_of(keys[i])] >= a.threshold[sequence];
      break;
    case SelectMode::quantile:
      count = clamped(std::ceil(a.mass[sequence] * m), m);
      break;
    case SelectMode::mass:
      count = count_for_mass(score, keys, m, a.mass[sequence], weight);
      break;
    case SelectMode::ats:
      count = sample_ats(score, keys, m, a.samples[sequence], weight);
      break;
  }
  const int least = a.floor ? std::clamp(a.floor[sequence], 0, m) : 0;
  // Sampling leaves gaps: its floor is made up from the best of the rest. Elsewhere the chosen are simply the
  // best.
  uint64_t* rest = a.mode == SelectMode::ats ? keys + count : keys;
  count = std::max(count, least);
  if (keys + count > rest && count < m) std::nth_element(rest, keys + count, keys + m, std::greater<>());
  return count;
}

}  // namespace

size_t select_scratch_bytes(int max_len) {
  return static_cast<size_t>(max_len) * (sizeof(uint64_t) + sizeof(double) + sizeof(uint8_t));
}

int select_sequence(const SelectArgs& a, int sequence, int32_t* kept, void* scratch) noexcept {
  const int first = a.rows.begin(sequence), length = a.rows.length(sequence),
            special = std::min(a.special, length);
  const float* score = a.score.as<float>() + first;
  const uint8_t* alive = a.alive ? a.alive.as<uint8_t>() + first : nullptr;
  uint64_t* keys = static_cast<uint64_t*>(scratch);
  double* weight = reinterpret_cast<double*>(keys + length);
  uint8_t* keep = reinterpret_cast<uint8_t*>(weight + length);

  int m = 0;
  for (int i = a.special_competes ? 0 : special; i < length; ++i)
    if (i < special || !alive || alive[i]) keys[m++] = key_of(score[i], i);
  const int count = choose(a, sequence, score, keys, m, weight);
  std::memset(keep, 1, static_cast<size_t>(special));
  std::memset(keep + special, 0, static_cast<size_t>(length - special));
  for (int i = 0; i < count; ++i) keep[index_of(keys[i])] = 1;

  int written = 0;
  for (int i = 0; i < length; ++i)
    if (keep[i]) kept[written++] = first + i;
  bool dropped = false;
  for (int i = count; i < m; ++i) dropped |= !keep[index_of(keys[i])];
  if (a.append && dropped) kept[written++] = -1;
  if (a.alive_out) std::memcpy(a.alive_out.as<uint8_t>() + first, keep, static_cast<size_t>(length));
  return written;
}

}  // namespace hedgerow::cpu
