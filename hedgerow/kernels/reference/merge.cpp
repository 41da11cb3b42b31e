// SPDX-License-Identifier: Apache-2.0
// Definitions: pairs and folding (ops/merge.h).
#include <cmath>

#include "hedgerow/kernels/reference/values.h"

namespace hedgerow::reference {

std::vector<double> direction(const DirectionArgs& a) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    std::vector<double> v;
    if (a.x.rank == 2) {
      v = row(a.x, i);
    } else {
      v.assign(a.x.extents[2], 0);
      for (int64_t h = 0; h < a.x.extents[1]; ++h)
        for (int64_t d = 0; d < a.x.extents[2]; ++d)
          v[d] += value(a.x, i, h, d) / static_cast<double>(a.x.extents[1]);
    }
    const double length = length_of(v);
    for (double& x : v) x = length == 0 ? 0 : x / length;
    append(out, v);
  }
  return out;
}

Matched match(const MatchArgs& a) {
  Matched result;
  result.best.assign(a.rows.rows(), -1);
  result.similarity.assign(a.rows.rows(), 0);
  const uint8_t* role = a.role.as<uint8_t>();
  for (int s = 0; s < a.rows.batch; ++s)
    for (int i = a.rows.begin(s); i < a.rows.end(s); ++i) {
      if (role[i] != 1) continue;
      for (int j = a.rows.begin(s); j < a.rows.end(s); ++j) {
        if (role[j] != 2) continue;
        double dot = 0;
        for (int64_t c = 0; c < a.directions.extents[1]; ++c)
          dot += static_cast<double>(a.directions.row<float>(i)[c]) * a.directions.row<float>(j)[c];
        if (std::isnan(dot)) dot = -INFINITY;
        if (result.best[i] >= 0 && !(dot > result.similarity[i])) continue;
        result.best[i] = j;
        result.similarity[i] = dot;
      }
    }
  return result;
}

Merged merge(const MergeArgs& a) {
  const int64_t dim = a.x.extents[1];
  const int32_t* kept = a.kept.as<int32_t>();
  const float* size = a.size.as<float>();
  const bool weighted = a.rule == MergeRule::size_weighted;
  Merged result;
  for (int s = 0; s < a.to.batch; ++s)
    for (int o = a.to.begin(s); o < a.to.end(s); ++o) {
      std::vector<int> members = {kept[o]};
      for (int j = a.from.begin(s); j < a.from.end(s); ++j)
        if (a.into.as<int32_t>()[j] == kept[o]) members.push_back(j);
      double total = 0, new_size = 0;
      std::vector<double> sum(dim, 0.0);
      for (int j : members) {
        const double share = weighted ? size[j] : 1;
        for (int64_t c = 0; c < dim; ++c) sum[c] += share * value(a.x, j, c);
        total += share;
        new_size +=
            weighted || j == kept[o] ? size[j] : static_cast<double>(a.similarity.as<float>()[j]) * size[j];
      }
      for (double v : sum) result.out.push_back(v / total);
      result.out_size.push_back(new_size);
    }
  return result;
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
