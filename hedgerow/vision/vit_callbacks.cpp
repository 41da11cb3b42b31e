// SPDX-License-Identifier: Apache-2.0
// Steps of the caller's own: scores, rows that stop, what is read out. They want rows on the host: at once
// where those are, on a device behind a wait, with copies both ways.
#include <algorithm>
#include <cstring>

#include "hedgerow/vision/patch_code.h"
#include "hedgerow/vision/vit_pass.h"

namespace hedgerow {

// All rows of the batch as a caller sees them. `copies` hold them where they had to be brought over.
PruneView VitPass::rows_for_caller(int block) {
  const Ragged all = rows();
  const int32_t* offsets =
      pass_.here(pass_.offsets(now_.slot), static_cast<size_t>(batch_) + 1, scratch_here_[0]);
  const size_t n = static_cast<size_t>(offsets[batch_]);
  codes_here_ = pass_.here(codes_at(now_.column), n, scratch_here_[1]);
  patch_here_.resize(n);
  std::transform(codes_here_, codes_here_ + n, patch_here_.begin(), patch_of);
  return {.block = block,
          .batch = all.batch,
          .dim = config().dim,
          .special = special(),
          .offsets = offsets,
          .patch = patch_here_.data(),
          .tokens = pass_.rows_here(x(), static_cast<int>(n), values_here_, scratch_here_[2])};
}

void VitPass::score_by_caller(int block) {
  pass_.host_step([&] {
    const PruneView view = rows_for_caller(block);
    scores_here_.resize(static_cast<size_t>(view.offsets[batch_]));
    for (int i = 0; i < batch_; ++i) {
      const int64_t first = view.offsets[i];
      run_->prune.score(i, block, view.offsets[i + 1] - view.offsets[i], view.dim,
                        view.tokens + first * view.dim, view.patch + first, scores_here_.data() + first);
    }
    pass_.store(score_.as(), scores_here_.data(), scores_here_.size() * sizeof(float));
  });
}

void VitPass::ask_after_block(int block) {
  const int slot = pass_.new_slot();
  bool all_stay = true;
  pass_.host_step([&] {
    const PruneView view = rows_for_caller(block);
    const int n = view.offsets[batch_];
    keep_here_.assign(static_cast<size_t>(n), 1);
    run_->prune.after_block(view, keep_here_.data());
    kept_here_.clear();
    offsets_here_.clear();
    for (int i = 0; i < batch_; ++i) {
      offsets_here_.push_back(static_cast<int32_t>(kept_here_.size()));
      for (int r = view.offsets[i]; r < view.offsets[i + 1]; ++r)
        if (keep_here_[static_cast<size_t>(r)]) kept_here_.push_back(r);
    }
    offsets_here_.push_back(static_cast<int32_t>(kept_here_.size()));
    all_stay = static_cast<int>(kept_here_.size()) == n;
    pass_.store(kept_.as(), kept_here_.data(), kept_here_.size() * sizeof(int32_t));
    pass_.store(pass_.offsets(slot), offsets_here_.data(), offsets_here_.size() * sizeof(int32_t));
  });
  if (all_stay) return;
  move_rows(column(kept_, Dtype::i32), rows_after(block));
  see_choice(block);
  trace({.block = block});
}

// The special rows that are left, -1 for those that have stopped: nobody else reads out.
Tensor VitPass::special_rows_left() {
  pass_.host_step([&] {
    const PruneView view = rows_for_caller(config().layers);
    kept_here_.assign(static_cast<size_t>(batch_) * static_cast<size_t>(special()), -1);
    for (int i = 0; i < batch_; ++i)
      for (int r = view.offsets[i]; r < view.offsets[i + 1]; ++r)
        for (int t = 0; t < special(); ++t)
          if (codes_here_[r] == code_of_special(t)) kept_here_[static_cast<size_t>(i * special() + t)] = r;
    pass_.store(lead_.as(), kept_here_.data(), kept_here_.size() * sizeof(int32_t));
  });
  return vector_view(lead_.as(), Dtype::i32, static_cast<int64_t>(batch_) * special());
}

void VitPass::ask_for_readout(const Tensor& rows) {
  const int count = batch_ * special(), width = special() * config().dim;
  pass_.host_step([&] {
    const size_t n = static_cast<size_t>(count) * static_cast<size_t>(config().dim);
    const float* now = pass_.rows_here(rows, count, values_here_, scratch_here_[0]);
    scores_here_.assign(now, now + n);
    run_->prune.readout(batch_, width, scores_here_.data());
    if (rows.dtype == Dtype::f32) {
      pass_.store(rows.data, scores_here_.data(), n * sizeof(float));
    } else {
      halves_here_.resize(n);
      std::transform(scores_here_.begin(), scores_here_.end(), halves_here_.begin(), f32_to_f16);
      pass_.store(rows.data, halves_here_.data(), n * sizeof(uint16_t));
    }
  });
}

}  // namespace hedgerow
