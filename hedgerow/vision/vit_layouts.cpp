// SPDX-License-Identifier: Apache-2.0
// The padded layouts' share of a pruning step. They are opponents of packed rows and run where rows are in
// host memory: what a step does to them is done here by the host. In both, the rows alive are those at kept_,
// counted by live_slot_.
#include <algorithm>
#include <cstring>

#include "hedgerow/vision/vit_pass.h"

namespace hedgerow {

// Full grid: room at the end of every picture for the fused tokens to come.
void VitPass::make_room_for_fused() {
  const int slot = pass_.new_slot();
  pass_.host_step([&] {
    const Ragged from = rows();
    int32_t *index = index_.as<int32_t>(), *to = pass_.offsets(slot), *kept = kept_.as<int32_t>();
    uint8_t* alive = alive_.as<uint8_t>();
    int n = 0;
    for (int i = 0; i < batch_; ++i) {
      to[i] = n;
      for (int r = from.begin(i); r < from.end(i); ++r) *kept++ = n, alive[n] = 1, index[n++] = r;
      for (int f = 0; f < kFusedRows; ++f) alive[n] = 0, index[n++] = -1;
    }
    to[batch_] = n;
  });
  const int live = live_slot_;
  Rows next = now_;
  next.slot = slot, next.set = 1 - now_.set;
  move_rows(column(index_, Dtype::i32), next);
  live_slot_ = live;
}

// Full grid: the fused token of each picture is made in the other set, then takes its slot behind the
// patches.
void VitPass::place_fused(const SelectArgs& chosen) {
  Rows made = now_;
  made.slot = live_slot_;
  const Tensor fused = stream(sets_[1 - now_.set].x);
  fuse_dropped(on_, {.x = x(),
                     .score = chosen.score,
                     .alive = chosen.alive,
                     .kept = chosen.kept,
                     .from = rows(),
                     .to = ragged(made),
                     .special = special(),
                     .out = fused});
  pass_.host_step([&] {
    const Ragged all = rows(), to = ragged(made);
    std::memcpy(alive_.as(), role_.as(), static_cast<size_t>(all.rows()));
    int32_t* kept = kept_.as<int32_t>();
    const size_t bytes = static_cast<size_t>(config().dim) * sizeof(float);
    for (int i = 0; i < batch_; ++i) {
      const int last = to.end(i) - 1;
      if (to.length(i) == 0 || kept[last] >= 0) continue;
      const int place = all.begin(i) + special() + patches_[static_cast<size_t>(i)] + fused_;
      std::memcpy(x().row<float>(place), fused.row<float>(last), bytes);
      alive_.as<uint8_t>()[place] = 1;
      kept[last] = place;
    }
  });
  ++fused_;
}

// Every picture gets as many rows as the longest one; the extra rows are zeros that nobody sees.
void VitPass::pad_to_longest(int block) {
  const int slot = pass_.new_slot();
  pass_.host_step([&] {
    const Ragged from = rows();
    int longest = 0, n = 0;
    for (int i = 0; i < batch_; ++i) longest = std::max(longest, from.length(i));
    int32_t *index = index_.as<int32_t>(), *to = pass_.offsets(slot), *kept = kept_.as<int32_t>();
    uint8_t* alive = alive_.as<uint8_t>();
    for (int i = 0; i < batch_; ++i) {
      to[i] = n;
      for (int j = 0; j < longest; ++j, ++n) {
        const bool lives = j < from.length(i);
        index[n] = lives ? from.begin(i) + j : -1;
        alive[n] = lives;
        if (lives) *kept++ = n;
      }
    }
    to[batch_] = n;
  });
  const int live = now_.slot;
  Rows next = block < 0 ? now_ : rows_after(block);
  next.slot = slot, next.set = 1 - now_.set;
  next.capacity = batch_ * next.longest;
  move_rows(column(index_, Dtype::i32), next);
  live_slot_ = live;
  if (!method().merges) return;
  pass_.host_step([&] {  // log(1): a padding row has no weight of its own, the mask hides it
    float* size = sets_[now_.set].size.as<float>();
    for (int r = 0; r < rows().rows(); ++r)
      if (!alive_.as<uint8_t>()[r]) size[r] = 1.0f;
  });
}

// ToMe's roles go by place: padding has none.
void VitPass::padding_takes_no_part() {
  pass_.host_step([&] {
    for (int r = 0; r < rows().rows(); ++r)
      if (!alive_.as<uint8_t>()[r]) role_.as<uint8_t>()[r] = survivors_.as<uint8_t>()[r] = 0;
  });
}

// ToMe keeps every row that does not merge, padding too.
void VitPass::leave_padding_behind() {
  pass_.host_step([&] {
    int32_t *offsets = pass_.offsets(pass_.newest_slot()), *kept = kept_.as<int32_t>();
    int n = 0;
    for (int i = 0, begin = 0; i < batch_; ++i) {
      const int end = offsets[i + 1];
      for (int r = begin; r < end; ++r)
        if (alive_.as<uint8_t>()[kept[r]]) kept[n++] = kept[r];
      begin = end;
      offsets[i + 1] = n;
    }
  });
}

}  // namespace hedgerow
