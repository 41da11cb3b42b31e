// SPDX-License-Identifier: Apache-2.0
// Pruning methods at their four places of a block (methods.h), on rows that nobody counts: rank, choose, move
// or mark.
#include <algorithm>

#include "hedgerow/vision/prune_schedule.h"
#include "hedgerow/vision/vit_pass.h"

namespace hedgerow {

VitPass::Rows VitPass::rows_after(int block) const {
  const size_t b = static_cast<size_t>(block);
  const RowBounds& bounds = kind_->bounds;
  return {.slot = pass_.newest_slot(),
          .set = 1 - now_.set,
          .column = now_.column,
          .capacity = bounds.most_rows[b],
          .longest = bounds.longest[b],
          .likely = bounds.likely_rows[b]};
}

void VitPass::start_pruning() {
  live_slot_ = now_.slot;
  fused_ = 0;
  // Every row starts alive; what is filled here is narrowed by every choice.
  if (masked()) pass_.fill(alive_.as(), 1, static_cast<size_t>(capacity_));
  if (in_grid() && method().fuses_dropped) make_room_for_fused();
  if (to_longest()) pad_to_longest(-1);
  refresh_key_bias();
}

void VitPass::refresh_key_bias() {
  if (!method().merges && !to_longest()) return;
  key_bias(on_, {.size = method().merges ? sizes(now_) : Tensor{},
                 .alive = to_longest() ? alive_or_none() : Tensor{},
                 .out = column(key_bias_, Dtype::f32),
                 .rows = rows()});
}

void VitPass::settle(int block) {
  if (to_longest()) pad_to_longest(block);
  refresh_key_bias();
}

SelectArgs VitPass::select_args(int next_slot) {
  SelectArgs how;
  how.score = column(score_, Dtype::f32);
  how.alive = alive_or_none();
  how.rows = rows();
  how.special = special();
  how.kept = column(kept_, Dtype::i32);
  how.kept_offsets = pass_.offsets(next_slot);
  if (in_grid()) how.alive_out = how.alive;
  return how;
}

// Their patch codes, a column further on.
void VitPass::follow(const Tensor& index, const Rows& from, Rows& to) {
  if (!follows_patches(*run_)) return;
  to.column = kind_->columns++;
  gather(on_, {.x = vector_view(codes_at(from.column), Dtype::i32, capacity_),
               .index = index,
               .out = vector_view(codes_at(to.column), Dtype::i32, capacity_),
               .rows = ragged(to)});
}

// The rows in `index` go on as `next`.
void VitPass::move_rows(const Tensor& index, Rows next) {
  const RowSet& to = sets_[next.set];
  gather(on_, {.x = x(), .index = index, .out = stream(to.x), .rows = ragged(next)});
  follow(index, now_, next);
  if (method().merges)
    gather(on_, {.x = sizes(now_), .index = index, .out = column(to.size, Dtype::f32), .rows = ragged(next)});
  rows_are(next);
  live_slot_ = next.slot;
}

// The rows just chosen, once they have moved or been marked.
void VitPass::see_choice(int block) {
  see("choice", block, column(kept_, Dtype::i32), live_rows(), in_grid() ? nullptr : patch_codes());
}

// Where every patch is after a choice, for whoever asks.
void VitPass::trace(Stage stage) {
  if (!run_->trace) return;
  stage.slot = now_.slot;
  stage.column = now_.column;
  if (in_grid()) {  // rows stay where they are: the codes of those alive
    Rows alive = now_;
    alive.slot = live_slot_;
    follow(column(kept_, Dtype::i32), now_, alive);
    stage.slot = alive.slot;
    stage.column = alive.column;
  }
  kind_->stages.push_back(stage);
}

// Chooses, then moves (packed rows) or leaves the rows where they are, marked (full grid).
void VitPass::drop(SelectArgs rule, int block) {
  const bool fuse = method().fuses_dropped;
  const int slot = pass_.new_slot();
  SelectArgs how = select_args(slot);
  how.mode = rule.mode, how.special_competes = rule.special_competes, how.append = fuse ? 1 : 0;
  how.count = rule.count, how.threshold = rule.threshold, how.mass = rule.mass, how.floor = rule.floor;
  // What was dropped is told from what was gone before: the marks before are read once more.
  if (in_grid() && fuse) how.alive_out = column(role_, Dtype::u8);
  const Ragged from = rows();
  const Tensor before = x();
  see_rows("score", block, how.score);
  select(on_, how);
  if (in_grid()) {
    live_slot_ = slot;
    see_choice(block);
    if (fuse) place_fused(how);
  } else {
    move_rows(how.kept, rows_after(block));
    see_choice(block);
    if (fuse)
      fuse_dropped(on_, {.x = before,
                         .score = how.score,
                         .alive = how.alive,
                         .kept = how.kept,
                         .from = from,
                         .to = rows(),
                         .special = special(),
                         .out = x()});
    see_rows("kept", block, x());
  }
  settle(block);
  trace({.block = block});
}

void VitPass::before_block(int block) {
  if (method().place != ChoosesAt::before_block || !chooses_in(method(), run_->prune, block, config().layers))
    return;
  rank(block);
  SelectArgs rule;
  rule.count = counts_at(block);
  drop(rule, block);
}

void VitPass::choose_queries(int block, const Tensor& v) {
  score_norm(v, weight_);
  score_first_row(1.0f, column(weight_, Dtype::f32));
  const int slot = pass_.new_slot();
  SelectArgs how = select_args(slot);
  how.mode = run_->prune.imposed.empty() ? SelectMode::ats : SelectMode::top_k;
  how.count = counts_at(block);
  how.samples = plan_samples_;
  see_rows("score", block, how.score);
  select(on_, how);
  if (in_grid()) live_slot_ = slot;
}

void VitPass::after_attention(int block, const Tensor& k) {
  if (method().place != ChoosesAt::after_attention ||
      !chooses_in(method(), run_->prune, block, config().layers))
    return;
  if (method().merges)
    return method().ranks == RanksBy::key_similarity ? merge_by_keys(block, k) : merge_by_list(block);
  rank(block);
  SelectArgs rule;
  rule.count = counts_at(block);
  drop(rule, block);
}

void VitPass::after_block(int block) {
  const Prune& p = run_->prune;
  if (p.after_block) return ask_after_block(block);
  if (method().place != ChoosesAt::after_block || !chooses_in(method(), p, block, config().layers)) return;
  rank(block);
  SelectArgs rule;
  rule.mode = mode_of(p.rule);
  rule.special_competes = special_competes(p);
  rule.count = counts_at(block);
  rule.threshold = plan_thresholds_;
  rule.mass = plan_masses_;
  rule.floor = plan_floors_;
  drop(rule, block);
}

// Fills score_.
void VitPass::rank(int block) {
  const float heads = static_cast<float>(config().heads);
  switch (method().ranks) {
    case RanksBy::row_norm:
      return score_norm(x(), score_);
    case RanksBy::predictor:
      return score_predictor(block);
    case RanksBy::gate:
      return score_paper_gate(block);
    case RanksBy::cls_attention:
      return score_first_row(heads, {});
    case RanksBy::cls_attention_and_norm:  // the paper's ATS: its "value norm" is the norm of the block's
                                           // output
      score_norm(x(), weight_);
      return score_first_row(heads, column(weight_, Dtype::f32));
    case RanksBy::caller:
      return score_by_caller(block + 1);
    case RanksBy::nothing:
    case RanksBy::cls_attention_and_value:  // choose_queries(), which has the values at hand
    case RanksBy::key_similarity:           // merge_by_keys()
      return;
  }
}

void VitPass::score_norm(const Tensor& x, const Buffer& to) {
  row_norm(on_, {.x = x, .out = column(to, Dtype::f32), .rows = rows()});
  pass_.count(now_.slot, config().dim);
}

void VitPass::score_first_row(float divisor, const Tensor& weight) {
  head_score(on_, {.probs = matrix_view(first_row_.as(), Dtype::f32, capacity_, config().heads),
                   .weight = weight,
                   .divisor = divisor,
                   .out = column(score_, Dtype::f32),
                   .rows = rows()});
}

// DynamicViT: layer norm, D -> D, GELU, the second half of the channels averaged over the picture, then D/2,
// D/4, 2.
void VitPass::score_predictor(int block) {
  const int d = config().dim, stage = prune_stage(block, config().layers);
  const PredictorWeights& w = weights_->predictors[static_cast<size_t>(stage)];
  constexpr float kPredictorEps = 1e-5f;  // its layer norm is PyTorch's default, not the model's 1e-6
  const Ragged all = rows();
  const Tensor a = act(between_.as(), d), b = act(attended_.as(), d), half = act(wide_, d / 2),
               quarter = act(between_.as(), d / 4),
               two = matrix_view(directions_.as(), Dtype::f32, capacity_, 2);
  norm(w.norm, x(), a, all, {}, kPredictorEps);
  linear(on_, {.x = a, .w = &w.in, .act = Activation::gelu_erf, .out = b, .rows = all});
  global_half(on_, {.x = b, .alive = alive_or_none(), .special = special(), .rows = all});
  see_rows("predictor", block, b);
  linear(on_, {.x = b, .w = &w.out0, .act = Activation::gelu_erf, .out = half, .rows = all});
  linear(on_, {.x = half, .w = &w.out2, .act = Activation::gelu_erf, .out = quarter, .rows = all});
  linear(on_, {.x = quarter, .w = &w.out4, .out = two, .rows = all});
  keep_log_prob(on_, {.x = two, .out = column(score_, Dtype::f32), .rows = all});
  pass_.count(now_.slot, static_cast<double>(d) * d + d * (d / 2) + (d / 2) * (d / 4) + 2.0 * (d / 4));
}

// The paper's untrained gate: layer norm, D -> D/2, GELU, its mean over all tokens beside it, D/2, GELU, 2.
void VitPass::score_paper_gate(int block) {
  const PaperGate& w = *gate_;
  const int d = config().dim;
  constexpr float kGateEps = 1e-5f;
  const Ragged all = rows();
  const Tensor a = act(between_.as(), d), b = act(attended_.as(), d), half = act(wide_, d / 2),
               two = matrix_view(directions_.as(), Dtype::f32, capacity_, 2);
  norm(w.norm, x(), a, all, {}, kGateEps);
  linear(on_, {.x = a, .w = &w.local, .act = Activation::gelu_erf, .out = b, .rows = all});
  global_half(on_, {.x = b, .alive = alive_or_none(), .special = 0, .rows = all});
  see_rows("predictor", block, b);
  linear(on_, {.x = b, .w = &w.head0, .act = Activation::gelu_erf, .out = half, .rows = all});
  linear(on_, {.x = half, .w = &w.head1, .out = two, .rows = all});
  keep_log_prob(on_, {.x = two, .out = column(score_, Dtype::f32), .rows = all});
  pass_.count(now_.slot, static_cast<double>(d) * (d / 2) + d * (d / 2) + 2.0 * (d / 2));
}

}  // namespace hedgerow
