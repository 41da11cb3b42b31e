// SPDX-License-Identifier: Apache-2.0
// The host's side after a pass: logits, rows kept, multiply-adds, tokens, and where every patch went.
#include <fmt/format.h>

#include <algorithm>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/patch_code.h"
#include "hedgerow/vision/vit_pass.h"

namespace hedgerow {

// Queues the copies of what this run wants beside logits and offsets.
void VitPass::fetch_rows() {
  if (tokens_wanted_)
    pass_.download(host_tokens_.as(), tokens_.as(),
                   static_cast<size_t>(capacity_) * static_cast<size_t>(config().dim) * 4);
  const int first = trace_wanted_ ? 0 : kind_->token_column, columns = trace_wanted_    ? kind_->columns
                                                                       : tokens_wanted_ ? 1
                                                                                        : 0;
  const int64_t at = static_cast<int64_t>(first) * row_limit_;
  pass_.download(host_codes_.as<int32_t>() + at, codes_.as<int32_t>() + at,
                 static_cast<size_t>(columns) * static_cast<size_t>(row_limit_) * 4);
  if (trace_wanted_ && method_->merges)
    pass_.download(host_into_.as(), traced_into_.as(), host_into_.bytes());
}

const VitResult& VitPass::collect() {
  require(pass_.submitted() && kind_, "vit: collect: wanted a submit before it, found none");
  pass_.finish();
  read_results();
  result_.tokens = nullptr;
  if (tokens_wanted_) read_tokens();
  if (trace_wanted_) read_trace();
  return result_;
}

void VitPass::read_results() {
  const VitConfig& c = config();
  const size_t n = static_cast<size_t>(batch_);
  result_.batch = batch_;
  result_.classes = c.classes;
  result_.dim = c.dim;
  result_.logits = pass_.answers_here();
  // Rows of a larger batch before are laid by, not freed.
  for (; result_.kept.size() > n; result_.kept.pop_back())
    kept_spare_.push_back(std::move(result_.kept.back()));
  for (; result_.kept.size() < n && !kept_spare_.empty(); kept_spare_.pop_back())
    result_.kept.push_back(std::move(kept_spare_.back()));
  result_.kept.resize(n);
  result_.macs.resize(n);
  for (int i = 0; i < batch_; ++i) {
    const size_t k = static_cast<size_t>(i);
    result_.kept[k].resize(static_cast<size_t>(c.layers));
    for (size_t b = 0; b < result_.kept[k].size(); ++b)
      result_.kept[k][b] = pass_.length(kind_->kept_slot[b], i);
    double macs = static_cast<double>(patches_[k]) * 3 * c.patch * c.patch * c.dim + pass_.macs(*kind_, i);
    for (const Matching& m : kind_->matchings) {
      const double counts = plan().counts_at(m.block)[k], left = plan().merges_at(m.block)[k];
      const double rows = m.slot == kNoSlot ? 0 : pass_.length(m.slot, i);
      if (m.slot == kNoSlot)
        macs += m.factor * (counts - left) * left;
      else if (counts > 0)
        macs += m.factor * rows * rows;
    }
    result_.macs[k] = macs;
  }
}

void VitPass::read_tokens() {
  const int32_t* offsets = pass_.offsets_here(kind_->token_slot);
  const int32_t* codes = host_codes_.as<int32_t>() + static_cast<int64_t>(kind_->token_column) * row_limit_;
  result_.tokens = host_tokens_.as<float>();
  result_.token_offsets.assign(offsets, offsets + batch_ + 1);
  result_.token_patch.resize(static_cast<size_t>(offsets[batch_]));
  std::transform(codes, codes + offsets[batch_], result_.token_patch.begin(), patch_of);
}

// Follows every patch from stage to stage: its own row, the row it was merged into, or gone.
void VitPass::read_trace() {
  VitTrace& t = *trace_wanted_;
  t.stages.clear();
  t.patch_to.clear();
  std::vector<std::vector<int>> stands_for;  // of each patch: the patch whose row it is in, -1: gone
  for (const int patches : patches_) {
    auto& one = stands_for.emplace_back(static_cast<size_t>(patches));
    for (int p = 0; p < patches; ++p) one[static_cast<size_t>(p)] = p;
  }
  const auto codes_of = [&](int column) {
    return host_codes_.as<int32_t>() + static_cast<int64_t>(column) * row_limit_;
  };
  std::vector<uint8_t> present;
  for (const Stage& stage : kind_->stages) {
    t.stages.push_back(fmt::format("block {}", stage.block));
    auto& images = t.patch_to.emplace_back(patches_.size());
    for (size_t i = 0; i < patches_.size(); ++i) {
      std::vector<int>& of = stands_for[i];
      if (stage.into >= 0) {
        const int32_t* into = host_into_.as<int32_t>() + static_cast<int64_t>(stage.into) * row_limit_;
        const int32_t *before = codes_of(stage.column_before),
                      *at = pass_.offsets_here(stage.slot_before) + i;
        for (int r = at[0]; r < at[1]; ++r) {
          if (into[r] < 0) continue;
          const int from = before[r] - 1, to = before[into[r]] - 1;
          for (int& p : of)
            if (p == from) p = to;
        }
      }
      present.assign(of.size(), 0);
      const int32_t *codes = codes_of(stage.column), *at = pass_.offsets_here(stage.slot) + i;
      for (int r = at[0]; r < at[1]; ++r)
        if (patch_of(codes[r]) >= 0) present[static_cast<size_t>(patch_of(codes[r]))] = 1;
      for (int& p : of) {
        if (p >= 0 && !present[static_cast<size_t>(p)]) p = -1;
        images[i].push_back(p + 1);
      }
    }
  }
}

}  // namespace hedgerow
