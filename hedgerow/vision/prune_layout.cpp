// SPDX-License-Identifier: Apache-2.0
// The padded layouts' share of a pruning step, and the trace of where every patch went.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "hedgerow/vision/prune_steps.h"

namespace hedgerow {

// Full grid: the fused token of each picture is made in the other set, then takes its slot behind the
// patches.
void PruneSteps::place_fused(const SelectArgs& chosen) {
  const size_t d = static_cast<size_t>(s_.config().dim);
  const Ragged to = s_.next_rows();
  fuse_dropped(s_.on, {.x = s_.x(),
                       .score = chosen.score,
                       .alive = chosen.alive,
                       .kept = chosen.kept,
                       .from = s_.rows(),
                       .to = to,
                       .special = s_.special(),
                       .out = s_.f32_rows(s_.next().x, s_.config().dim)});
  for (int i = 0; i < s_.batch; ++i) {
    const int last = to.end(i) - 1;
    if (chosen.kept.as<int32_t>()[last] >= 0) continue;
    const int slot = s_.rows().begin(i) + s_.special() + s_.patches[static_cast<size_t>(i)] + fused_;
    std::memcpy(s_.now().x.as<float>() + static_cast<size_t>(slot) * d,
                s_.next().x.as<float>() + static_cast<size_t>(last) * d, d * 4);
  }
}

// Every picture gets as many rows as the longest one; the extra rows are zeros that nobody sees.
void PruneSteps::pad_to_longest() {
  const Ragged from = s_.rows();
  int longest = 0, n = 0;
  for (int i = 0; i < s_.batch; ++i) longest = std::max(longest, from.length(i));
  int32_t* index = s_.into.as<int32_t>();
  int32_t* to = s_.next().offsets.as<int32_t>();
  uint8_t* alive = s_.alive.as<uint8_t>();
  for (int i = 0; i < s_.batch; ++i) {
    to[i] = n;
    for (int j = 0; j < longest; ++j, ++n) {
      const bool lives = j < from.length(i);
      index[n] = lives ? from.begin(i) + j : -1;
      alive[n] = lives;
    }
  }
  to[s_.batch] = n;
  s_.gather_rows(index);
  if (s_.sized)  // log(1): a padding row has no weight of its own, the mask hides it
    for (int r = 0; r < n; ++r)
      if (!alive[r]) s_.now().size.as<float>()[r] = 1.0f;
}

void PruneSteps::trace_stage(int block) {
  VitTrace& t = *run_.trace;
  t.stages.push_back(fmt::format("block {}", block));
  auto& images = t.patch_to.emplace_back(static_cast<size_t>(s_.batch));
  const Ragged rows = s_.rows();
  std::vector<uint8_t> present;
  for (int i = 0; i < s_.batch; ++i) {
    present.assign(static_cast<size_t>(s_.patches[static_cast<size_t>(i)]), 0);
    for (int r = rows.begin(i); r < rows.end(i); ++r) {
      const int p = s_.now().patch.as<int32_t>()[r];
      if (p > 0 && (!s_.masked || s_.alive.as<uint8_t>()[r])) present[static_cast<size_t>(p - 1)] = 1;
    }
    auto& to = images[static_cast<size_t>(i)];
    for (int q = s_.rep_begin[static_cast<size_t>(i)]; q < s_.rep_begin[static_cast<size_t>(i) + 1]; ++q) {
      int& rep = s_.rep[static_cast<size_t>(q)];
      if (rep >= 0 && !present[static_cast<size_t>(rep)]) rep = -1;
      to.push_back(rep + 1);
    }
  }
}

}  // namespace hedgerow
