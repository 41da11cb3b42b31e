// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/vision/prune_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hedgerow/core/error.h"

namespace hedgerow {
namespace {

// Chen et al. 2023, the compression lists published with the method (prune / merge, rows left, CLS counted).
constexpr DiffRateList kDiffRate[] = {
    {"T 0.6",
     {197, 196, 180, 157, 130, 107, 86, 73, 63, 51, 40, 3},
     {197, 187, 167, 139, 114, 90, 76, 66, 57, 45, 37, 3}},
    {"T 0.8",
     {197, 197, 196, 186, 166, 147, 117, 103, 92, 80, 74, 3},
     {197, 196, 190, 172, 154, 125, 107, 96, 84, 78, 70, 3}},
    {"T 1.0",
     {197, 197, 196, 194, 188, 184, 178, 164, 156, 137, 129, 21},
     {197, 197, 196, 190, 186, 154, 148, 156, 145, 135, 125, 21}},
    {"S 2.3",
     {197, 192, 168, 143, 121, 105, 92, 74, 62, 45, 33, 3},
     {197, 180, 156, 127, 109, 98, 80, 66, 52, 37, 31, 3}},
    {"S 2.9",
     {197, 196, 190, 168, 150, 139, 129, 117, 99, 78, 58, 3},
     {197, 194, 176, 156, 141, 133, 121, 107, 88, 64, 56, 3}},
    {"S 3.1",
     {197, 197, 194, 180, 160, 147, 137, 129, 115, 92, 76, 3},
     {197, 196, 186, 164, 150, 141, 133, 121, 103, 78, 68, 3}},
    {"B 8.7",
     {197, 192, 172, 156, 131, 107, 90, 72, 56, 33, 17, 3},
     {197, 178, 162, 141, 115, 96, 78, 60, 47, 21, 13, 3}},
    {"B 11.5",
     {197, 197, 197, 188, 170, 154, 139, 123, 107, 72, 43, 3},
     {197, 197, 192, 178, 158, 145, 127, 111, 94, 50, 35, 3}},
    {"B 12.5",
     {197, 197, 196, 192, 184, 170, 154, 139, 129, 94, 58, 3},
     {197, 196, 194, 190, 176, 160, 145, 131, 115, 68, 47, 3}},
};

}  // namespace

int prune_stage(int block, int layers) {
  for (int stage = 0; stage < 3; ++stage) {
    const int at = (stage + 1) * layers / 4;
    if (block == at && at > 0 && (stage == 0 || at > stage * layers / 4)) return stage;
  }
  return -1;
}

int dynamicvit_count(int patches, double keep, int stage) {
  double rate = keep;  // r, r^2, r^3 as the original forms them
  if (stage >= 1) rate = std::pow(keep, stage + 1);
  return std::clamp(static_cast<int>(patches * rate), std::min(1, patches), patches);
}

int evit_count(int live, double keep) {
  return std::clamp(static_cast<int>(std::ceil(keep * live)), 0, live);
}

int rate_count(int patches, double keep) {
  return std::clamp(static_cast<int>(patches * keep), std::min(1, patches), patches);
}

int tome_pairs(int rows, int special, int r) { return std::clamp(r, 0, std::max(0, (rows - special) / 2)); }

const DiffRateList& diffrate_list(const std::string& name, int dim) {
  const std::string wanted = !name.empty() ? name : dim <= 192 ? "T 0.8" : dim <= 384 ? "S 2.9" : "B 11.5";
  std::string names;
  for (const auto& list : kDiffRate) {
    if (wanted == list.name) return list;
    names += names.empty() ? list.name : std::string(", ") + list.name;
  }
  throw Error(fmt::format("diffrate: wanted one of the lists {}; found '{}'", names, name));
}

int diffrate_count(int entry, int rows, int special) {
  constexpr int kListedPatches = 196;
  const int patches = rows - special;
  if (patches == kListedPatches) return entry - 1 + special;
  const int kept = static_cast<int>(std::lround(static_cast<double>(entry - 1) * patches / kListedPatches));
  return std::clamp(kept, std::min(1, patches), patches) + special;
}

}  // namespace hedgerow
