// SPDX-License-Identifier: Apache-2.0
// The bookkeeping ops: integers and one logarithm a row, one build for all levels, on the caller's thread.
#include <cmath>
#include <limits>

#include "hedgerow/kernels/cpu/cpu.h"

namespace hedgerow::cpu {

void lead_rows(Context&, const LeadRowsArgs& a) noexcept {
  int32_t* to = a.index.as<int32_t>();
  for (int i = 0; i < a.rows.batch; ++i)
    for (int t = 0; t < a.special; ++t) *to++ = a.rows.begin(i) + t;
}

void key_bias(Context&, const KeyBiasArgs& a) noexcept {
  const int n = a.rows.rows();
  const float* size = a.size.as<float>();
  const uint8_t* alive = a.alive.as<uint8_t>();
  float* out = a.out.as<float>();
  for (int i = 0; i < n; ++i) {
    out[i] = size ? std::log(size[i]) : 0.0f;
    if (alive && !alive[i]) out[i] = -std::numeric_limits<float>::infinity();
  }
}

void tome_roles(Context&, const TomeRolesArgs& a) noexcept {
  uint8_t *role = a.role.as<uint8_t>(), *source = a.source.as<uint8_t>();
  for (int i = 0; i < a.rows.batch; ++i)
    for (int r = a.rows.begin(i), place = 0; r < a.rows.end(i); ++r, ++place) {
      role[r] = a.pairs[i] == 0 || place < a.special ? 0 : place % 2 == 0 ? 1 : 2;
      source[r] = role[r] == 1;
    }
}

void tome_order(Context&, const TomeOrderArgs& a) noexcept {
  const uint8_t *role = a.role.as<uint8_t>(), *merging = a.merging.as<uint8_t>();
  const int32_t* best = a.best.as<int32_t>();
  int32_t *into = a.into.as<int32_t>(), *kept = a.kept.as<int32_t>();
  int m = a.kept_offsets[0] = 0;
  for (int i = 0; i < a.rows.batch; ++i) {
    const int begin = a.rows.begin(i), end = a.rows.end(i);
    const bool merges = a.pairs[i] != 0;
    for (int r = begin; r < end; ++r) into[r] = merges && role[r] == 1 && merging[r] ? best[r] : -1;
    for (int part = 0; part < 3; ++part)  // special rows, sources that stay, targets
      for (int r = begin; r < end; ++r) {
        const bool merged = merges && role[r] == 1 && merging[r];
        if (!merged && (merges ? role[r] == part : part == 0)) kept[m++] = r;
      }
    a.kept_offsets[i + 1] = m;
  }
}

void survivor_roles(Context&, const SurvivorRolesArgs& a) noexcept {
  const uint8_t *prune = a.survives_prune.as<uint8_t>(), *merge = a.survives_merge.as<uint8_t>();
  uint8_t* role = a.role.as<uint8_t>();
  for (int i = 0; i < a.rows.batch; ++i)
    for (int r = a.rows.begin(i), place = 0; r < a.rows.end(i); ++r, ++place)
      role[r] = place < a.special || !prune[r] ? 0 : merge[r] ? 2 : 1;
}

}  // namespace hedgerow::cpu
