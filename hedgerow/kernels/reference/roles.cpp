// SPDX-License-Identifier: Apache-2.0
// Definitions of the bookkeeping between two ops.
#include <cmath>

#include "hedgerow/kernels/reference/reference.h"

namespace hedgerow::reference {

std::vector<int32_t> lead_rows(const LeadRowsArgs& a) {
  std::vector<int32_t> index;
  for (int s = 0; s < a.rows.batch; ++s)
    for (int t = 0; t < a.special; ++t) index.push_back(a.rows.begin(s) + t);
  return index;
}

std::vector<double> key_bias(const KeyBiasArgs& a) {
  std::vector<double> bias;
  for (int j = 0; j < a.rows.rows(); ++j) {
    const bool alive = !a.alive || a.alive.as<uint8_t>()[j];
    const double size = a.size ? static_cast<double>(a.size.as<float>()[j]) : 1.0;
    bias.push_back(alive ? std::log(size) : -INFINITY);
  }
  return bias;
}

std::vector<uint8_t> tome_roles(const TomeRolesArgs& a) {
  std::vector<uint8_t> role;
  for (int s = 0; s < a.rows.batch; ++s)
    for (int place = 0; place < a.rows.length(s); ++place)
      role.push_back(a.pairs[s] == 0 || place < a.special ? 0 : 1 + place % 2);
  return role;
}

TomeOrder tome_order(const TomeOrderArgs& a) {
  TomeOrder result;
  result.offsets.push_back(0);
  for (int s = 0; s < a.rows.batch; ++s) {
    std::vector<int32_t> first, stay, targets;
    for (int j = a.rows.begin(s); j < a.rows.end(s); ++j) {
      const int role = a.pairs[s] == 0 ? 0 : a.role.as<uint8_t>()[j];
      const bool merges = role == 1 && a.merging.as<uint8_t>()[j];
      result.into.push_back(merges ? a.best.as<int32_t>()[j] : -1);
      if (!merges) (role == 0 ? first : role == 1 ? stay : targets).push_back(j);
    }
    for (const auto* part : {&first, &stay, &targets})
      result.kept.insert(result.kept.end(), part->begin(), part->end());
    result.offsets.push_back(static_cast<int32_t>(result.kept.size()));
  }
  return result;
}

std::vector<uint8_t> survivor_roles(const SurvivorRolesArgs& a) {
  std::vector<uint8_t> role;
  for (int s = 0; s < a.rows.batch; ++s)
    for (int j = a.rows.begin(s); j < a.rows.end(s); ++j) {
      const bool special = j - a.rows.begin(s) < a.special;
      role.push_back(special || !a.survives_prune.as<uint8_t>()[j] ? 0
                     : a.survives_merge.as<uint8_t>()[j]           ? 2
                                                                   : 1);
    }
  return role;
}

}  // namespace hedgerow::reference
