// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/vision/prune_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/batch_plan.h"

namespace hedgerow {

PruneSteps::PruneSteps(VitState::Impl& state, const VitRun& run)
    : s_(state), run_(run), method_(run.prune.method), layout_(run.layout) {
  const Prune& p = run.prune;
  const VitConfig& c = s_.config();
  check_prune(c, !s_.weights->predictors.empty(), p, layout_, s_.batch);
  if (method_ == PruneMethod::diffrate) list_ = &diffrate_list(p.rates, c.dim);

  s_.sized = merges_rows(method_);
  if (s_.sized) std::fill_n(s_.now().size.as<float>(), s_.rows().rows(), 1.0f);
  s_.masked = layout_ != Layout::ragged;
  if (s_.masked) std::memset(s_.alive.as(), 1, static_cast<size_t>(s_.rows().rows()));
  if (layout_ == Layout::padded && method_ == PruneMethod::evit) {
    // Room at the end of every grid for the fused tokens to come.
    int32_t* index = s_.into.as<int32_t>();
    int32_t* to = s_.next().offsets.as<int32_t>();
    const int32_t* from = s_.offsets();
    uint8_t* alive = s_.alive.as<uint8_t>();
    int n = 0;
    for (int i = 0; i < s_.batch; ++i) {
      to[i] = n;
      for (int r = from[i]; r < from[i + 1]; ++r) alive[n] = 1, index[n++] = r;
      for (int f = 0; f < 3; ++f) alive[n] = 0, index[n++] = -1;
    }
    to[s_.batch] = n;
    s_.gather_rows(index);
  }
  if (layout_ == Layout::padded_max) pad_to_longest();
  s_.refresh_key_bias();

  if (run_.trace) {
    run_.trace->stages.clear();
    run_.trace->patch_to.clear();
    s_.rep.clear();
    s_.rep_begin.assign(1, 0);
    for (int i = 0; i < s_.batch; ++i) {
      for (int q = 0; q < s_.patches[static_cast<size_t>(i)]; ++q) s_.rep.push_back(q);
      s_.rep_begin.push_back(static_cast<int>(s_.rep.size()));
    }
  }
}

void PruneSteps::before_block(int block) {
  const int stage = prune_stage(block, s_.config().layers);
  if (method_ != PruneMethod::dynamicvit || stage < 0) return;
  for (int i = 0; i < s_.batch; ++i) {
    const size_t n = static_cast<size_t>(i);
    s_.counts[n] = dynamicvit_count(s_.patches[n], budget_of(run_.prune, i).keep, stage);
  }
  score_predictor(stage);
  SelectArgs rule;
  rule.count = s_.counts.data();
  drop(rule, false, block);
}

void PruneSteps::choose_queries(int block, const Tensor& v) {
  row_norm(s_.on, {.x = v, .out = s_.column(s_.weight, Dtype::f32), .rows = s_.rows()});
  s_.count(s_.rows(), s_.config().dim);
  score_first_row(1.0f, s_.column(s_.weight, Dtype::f32));
  const auto& imposed = run_.prune.imposed;
  for (int i = 0; i < s_.batch; ++i) {
    const size_t n = static_cast<size_t>(i);
    s_.samples[n] = s_.patches[n];
    if (!imposed.empty()) s_.counts[n] = std::max(0, imposed[n][static_cast<size_t>(block)] - s_.special());
  }
  // In a full grid the result goes to `role` first: `alive` is an input.
  const Tensor marks = layout_ == Layout::padded ? s_.column(s_.role, Dtype::u8) : Tensor{};
  select(s_.on, {.score = s_.column(s_.score, Dtype::f32),
                 .alive = s_.alive_or_none(),
                 .rows = s_.rows(),
                 .special = s_.special(),
                 .mode = imposed.empty() ? SelectMode::ats : SelectMode::top_k,
                 .count = s_.counts.data(),
                 .samples = s_.samples.data(),
                 .kept = s_.column(s_.kept, Dtype::i32),
                 .kept_offsets = s_.next().offsets.as<int32_t>(),
                 .alive_out = marks});
  for (int i = 0; i < s_.batch; ++i)
    s_.live[static_cast<size_t>(i)] = s_.next_rows().length(i) - s_.special();
}

void PruneSteps::mark_queries(int block, const Tensor& v) {
  choose_queries(block, v);
  std::memcpy(s_.alive.as(), s_.role.as(), static_cast<size_t>(s_.rows().rows()));
  settle(block);
}

void PruneSteps::after_attention(int block, const Tensor& k) {
  if (method_ == PruneMethod::tome) merge_tome(block, k);
  if (method_ == PruneMethod::diffrate) merge_diffrate(block);
  if (!is_evit(method_) || prune_stage(block, s_.config().layers) < 0) return;
  for (int i = 0; i < s_.batch; ++i)
    s_.counts[static_cast<size_t>(i)] =
        evit_count(s_.live[static_cast<size_t>(i)], budget_of(run_.prune, i).keep);
  score_first_row(static_cast<float>(s_.config().heads), {});
  const bool fuse = method_ == PruneMethod::evit;
  SelectArgs rule;
  rule.count = s_.counts.data(), rule.append = fuse ? 1 : 0;
  drop(rule, fuse, block);
}

void PruneSteps::after_block(int block) {
  if (run_.prune.after_block) return run_hook(block);
  if (!prunes_after_a_block(method_) || block != run_.prune.after - 1) return;
  const Tensor score = s_.column(s_.score, Dtype::f32), weight = s_.column(s_.weight, Dtype::f32);
  SelectArgs how;
  rule_by_budget(how);
  const float heads = static_cast<float>(s_.config().heads);
  switch (method_) {
    case PruneMethod::threshold_l2:
    case PruneMethod::paper_l2:
      row_norm(s_.on, {.x = s_.x(), .out = score, .rows = s_.rows()});
      s_.count(s_.rows(), s_.config().dim);
      break;
    case PruneMethod::paper_dynamicvit:
      score_paper_gate();
      break;
    case PruneMethod::paper_evit:
      score_first_row(heads, {});
      break;
    case PruneMethod::paper_ats:  // its "value norm" is the norm of the block's output
      row_norm(s_.on, {.x = s_.x(), .out = weight, .rows = s_.rows()});
      s_.count(s_.rows(), s_.config().dim);
      score_first_row(heads, weight);
      break;
    default:
      score_custom(block + 1);
  }
  drop(how, false, block);
}

// Chooses, then moves (packed layouts) or marks (full grid).
void PruneSteps::drop(SelectArgs how, bool fuse, int block) {
  how.score = s_.column(s_.score, Dtype::f32);
  how.alive = s_.alive_or_none();
  how.rows = s_.rows();
  how.special = s_.special();
  how.kept = s_.column(s_.kept, Dtype::i32);
  how.kept_offsets = s_.next().offsets.as<int32_t>();
  if (layout_ == Layout::padded) how.alive_out = s_.column(s_.role, Dtype::u8);
  select(s_.on, how);
  for (int i = 0; i < s_.batch; ++i)
    s_.live[static_cast<size_t>(i)] = s_.next_rows().length(i) - s_.special();

  if (layout_ == Layout::padded) {
    if (fuse) place_fused(how);
    std::memcpy(s_.alive.as(), s_.role.as(), static_cast<size_t>(s_.rows().rows()));
    if (fuse)
      for (int i = 0; i < s_.batch; ++i)
        if (how.kept.as<int32_t>()[s_.next_rows().end(i) - 1] < 0)
          s_.alive.as<uint8_t>()[s_.rows().begin(i) + s_.special() + s_.patches[static_cast<size_t>(i)] +
                                 fused_] = 1;
    if (fuse) ++fused_;
  } else {
    const Ragged from = s_.rows();
    const Tensor x = s_.x();
    s_.gather_rows(s_.kept.as<int32_t>());
    if (fuse)
      fuse_dropped(s_.on, {.x = x,
                           .score = how.score,
                           .alive = how.alive,
                           .kept = how.kept,
                           .from = from,
                           .to = s_.rows(),
                           .special = s_.special(),
                           .out = s_.x()});
  }
  settle(block);
}

void PruneSteps::settle(int block) {
  if (layout_ == Layout::padded_max) pad_to_longest();
  s_.refresh_key_bias();
  if (run_.trace) trace_stage(block);
}

void PruneSteps::run_hook(int block) {
  const Ragged rows = s_.rows();
  const int n = rows.rows();
  std::vector<int32_t> patch(static_cast<size_t>(n));
  for (int r = 0; r < n; ++r)
    patch[static_cast<size_t>(r)] = std::max(0, s_.now().patch.as<int32_t>()[r]) - 1;
  uint8_t* keep = s_.role.as<uint8_t>();
  std::memset(keep, 1, static_cast<size_t>(n));
  run_.prune.after_block({.block = block,
                          .batch = s_.batch,
                          .dim = s_.config().dim,
                          .special = s_.special(),
                          .offsets = rows.offsets,
                          .patch = patch.data(),
                          .tokens = s_.now().x.as<float>()},
                         keep);
  int32_t* kept = s_.kept.as<int32_t>();
  int32_t* to = s_.next().offsets.as<int32_t>();
  int m = 0;
  for (int i = 0; i < s_.batch; ++i) {
    to[i] = m;
    int special = 0;
    for (int r = rows.begin(i); r < rows.end(i); ++r) {
      if (!keep[r]) continue;
      kept[m++] = r;
      special += s_.now().patch.as<int32_t>()[r] < 0;
    }
    s_.live[static_cast<size_t>(i)] =
        m - to[i] - s_.special();  // with special rows gone this may be negative: counts add up
  }
  to[s_.batch] = m;
  if (m == n) return;
  s_.gather_rows(kept);
  if (run_.trace) trace_stage(block);
}

}  // namespace hedgerow
