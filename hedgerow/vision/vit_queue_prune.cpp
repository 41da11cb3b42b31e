// SPDX-License-Identifier: Apache-2.0
// Pruning methods at their four places of a block, as in prune_steps.cpp and merge_steps.cpp, on rows that
// nobody counts.
#include <algorithm>

#include "hedgerow/vision/prune_schedule.h"
#include "hedgerow/vision/vit_queue.h"

namespace hedgerow {

int VitQueue::new_slot() { return kind_->slots++; }

VitQueue::Rows VitQueue::rows_after(int block) const {
  const size_t b = static_cast<size_t>(block);
  return {.slot = kind_->slots - 1,
          .set = 1 - now_.set,
          .capacity = kind_->most_rows[b],
          .longest = kind_->longest[b],
          .likely = kind_->likely_rows[b]};
}

void VitQueue::start_pruning() {
  laid_out_ = now_.slot;
  // A full grid starts with every row alive; what is filled here is narrowed by every choice.
  if (masked()) memory().fill(on_, alive_.as(), 1, static_cast<size_t>(capacity_));
  refresh_key_bias();
}

void VitQueue::refresh_key_bias() {
  if (!sized()) return;
  const Buffer& size = now_.slot == 0 ? ones_size_ : sets_[now_.set].size;
  key_bias(on_, {.size = column(size, Dtype::f32), .out = column(key_bias_, Dtype::f32), .rows = rows()});
}

SelectArgs VitQueue::select_args(int next_slot) {
  SelectArgs how;
  how.score = column(score_, Dtype::f32);
  how.alive = alive_or_none();
  how.rows = rows();
  how.special = special();
  how.kept = column(kept_, Dtype::i32);
  how.kept_offsets = offsets(next_slot);
  if (masked()) how.alive_out = how.alive;
  return how;
}

// The rows in `index` go on, under the newest offsets.
void VitQueue::move_rows(const Tensor& index, int block) {
  const RowSet &from = sets_[now_.set], &to = sets_[1 - now_.set];
  const Rows next = rows_after(block);
  const Ragged rows = ragged(next);
  gather(on_, {.x = x(), .index = index, .out = stream(to.x), .rows = rows});
  if (follows_patches())
    gather(on_, {.x = column(now_.slot == 0 ? patch_start_ : from.patch, Dtype::i32),
                 .index = index,
                 .out = column(to.patch, Dtype::i32),
                 .rows = rows});
  now_ = next;
}

// Chooses, then moves (packed rows) or leaves the rows where they are, marked (full grid).
void VitQueue::drop(SelectArgs rule, bool fuse, int block) {
  const int slot = new_slot();
  SelectArgs how = select_args(slot);
  how.mode = rule.mode, how.special_competes = rule.special_competes, how.append = rule.append;
  how.count = rule.count, how.threshold = rule.threshold, how.mass = rule.mass, how.floor = rule.floor;
  const Ragged from = rows();
  const Tensor before = x();
  select(on_, how);
  if (masked()) {
    laid_out_ = slot;
  } else {
    move_rows(how.kept, block);
    if (fuse)
      fuse_dropped(on_, {.x = before,
                         .score = how.score,
                         .kept = how.kept,
                         .from = from,
                         .to = rows(),
                         .special = special(),
                         .out = x()});
  }
  refresh_key_bias();
}

void VitQueue::before_block(int block) {
  const int stage = prune_stage(block, config().layers);
  if (run_->prune.method != PruneMethod::dynamicvit || stage < 0) return;
  score_predictor(stage);
  SelectArgs rule;
  rule.count = counts_at(block);
  drop(rule, false, block);
}

// ATS: from first_row and v, the queries that go on (full grid: the rows).
void VitQueue::choose_queries(int block, const Tensor& v) {
  row_norm(on_, {.x = v, .out = column(weight_, Dtype::f32), .rows = rows()});
  count(now_.slot, config().dim);
  score_first_row(1.0f, column(weight_, Dtype::f32));
  const int slot = new_slot();
  SelectArgs how = select_args(slot);
  how.mode = run_->prune.imposed.empty() ? SelectMode::ats : SelectMode::top_k;
  how.count = counts_at(block);
  how.samples = plan_samples_;
  select(on_, how);
  if (masked()) laid_out_ = slot;
}

void VitQueue::after_attention(int block, const Tensor& k) {
  const PruneMethod method = run_->prune.method;
  if (method == PruneMethod::tome) merge_tome(block, k);
  if (method == PruneMethod::diffrate) merge_diffrate(block);
  if (!is_evit(method) || prune_stage(block, config().layers) < 0) return;
  score_first_row(static_cast<float>(config().heads), {});
  SelectArgs rule;
  rule.count = counts_at(block);
  rule.append = method == PruneMethod::evit ? 1 : 0;
  drop(rule, method == PruneMethod::evit, block);
}

void VitQueue::after_block(int block) {
  const Prune& p = run_->prune;
  if (!prunes_after_a_block(p.method) || block != p.after - 1) return;
  const Tensor score = column(score_, Dtype::f32), weight = column(weight_, Dtype::f32);
  const float heads = static_cast<float>(config().heads);
  switch (p.method) {
    case PruneMethod::paper_dynamicvit:
      score_paper_gate();
      break;
    case PruneMethod::paper_evit:
      score_first_row(heads, {});
      break;
    case PruneMethod::paper_ats:  // its "value norm" is the norm of the block's output
      row_norm(on_, {.x = x(), .out = weight, .rows = rows()});
      count(now_.slot, config().dim);
      score_first_row(heads, weight);
      break;
    default:
      row_norm(on_, {.x = x(), .out = score, .rows = rows()});
      count(now_.slot, config().dim);
  }
  SelectArgs rule;
  rule.mode = mode_of(p.rule);
  rule.special_competes = special_competes(p);
  rule.count = counts_at(block);
  rule.threshold = plan_thresholds_;
  rule.mass = plan_masses_;
  rule.floor = plan_floors_;
  drop(rule, false, block);
}

void VitQueue::score_first_row(float divisor, const Tensor& weight) {
  head_score(on_, {.probs = matrix_view(first_row_.as(), Dtype::f32, capacity_, config().heads),
                   .weight = weight,
                   .divisor = divisor,
                   .out = column(score_, Dtype::f32),
                   .rows = rows()});
}

// DynamicViT's predictor, as in prune_scores.cpp.
void VitQueue::score_predictor(int stage) {
  const PredictorWeights& w = weights_->predictors[static_cast<size_t>(stage)];
  const int d = config().dim;
  constexpr float kPredictorEps = 1e-5f;
  const Ragged all = rows();
  const Tensor a = act(narrow_[0], d), b = act(narrow_[1], d), half = act(wide_, d / 2),
               quarter = act(narrow_[0], d / 4);
  norm(w.norm, x(), a, all, {}, kPredictorEps);
  linear(on_, {.x = a, .w = &w.in, .act = Activation::gelu_erf, .out = b, .rows = all});
  global_half(on_, {.x = b, .alive = alive_or_none(), .special = special(), .rows = all});
  linear(on_, {.x = b, .w = &w.out0, .act = Activation::gelu_erf, .out = half, .rows = all});
  linear(on_, {.x = half, .w = &w.out2, .act = Activation::gelu_erf, .out = quarter, .rows = all});
  const Tensor two = matrix_view(unit_.as(), Dtype::f32, capacity_, 2);
  linear(on_, {.x = quarter, .w = &w.out4, .out = two, .rows = all});
  keep_log_prob(on_, {.x = two, .out = column(score_, Dtype::f32), .rows = all});
  count(now_.slot, static_cast<double>(d) * d + d * (d / 2) + (d / 2) * (d / 4) + 2.0 * (d / 4));
}

// The paper's untrained gate, as in prune_scores.cpp.
void VitQueue::score_paper_gate() {
  const PaperGate& w = *gate_;
  const int d = config().dim;
  const Ragged all = rows();
  const Tensor a = act(narrow_[0], d), b = act(narrow_[1], d), half = act(wide_, d / 2);
  norm(w.norm, x(), a, all, {}, 1e-5f);
  linear(on_, {.x = a, .w = &w.local, .act = Activation::gelu_erf, .out = b, .rows = all});
  global_half(on_, {.x = b, .alive = alive_or_none(), .special = 0, .rows = all});
  linear(on_, {.x = b, .w = &w.head0, .act = Activation::gelu_erf, .out = half, .rows = all});
  const Tensor two = matrix_view(unit_.as(), Dtype::f32, capacity_, 2);
  linear(on_, {.x = half, .w = &w.head1, .out = two, .rows = all});
  keep_log_prob(on_, {.x = two, .out = column(score_, Dtype::f32), .rows = all});
  count(now_.slot, static_cast<double>(d) * (d / 2) + d * (d / 2) + 2.0 * (d / 2));
}

void VitQueue::merge_tome(int block, const Tensor& k) {
  if (!(plan().cuts >> block & 1)) return;
  const Ragged all = rows();
  const int head_dim = config().head_dim();
  const Tensor role = column(role_, Dtype::u8), merging = column(survivors_, Dtype::u8),
               best = column(best_, Dtype::i32), similarity = column(similarity_, Dtype::f32);
  tome_roles(on_,
             {.rows = all, .pairs = counts_at(block), .special = special(), .role = role, .source = merging});
  const Tensor unit = matrix_view(unit_.as(), Dtype::f32, capacity_, head_dim);
  direction(on_, {.x = k, .out = unit, .rows = all});
  match(on_, {.directions = unit, .role = role, .rows = all, .best = best, .similarity = similarity});
  add({Term::tome_pairs, now_.slot, block, 0.25 * head_dim});
  // The sources that merge: the r most similar.
  const int unused = new_slot();
  SelectArgs how = select_args(unused);
  how.score = similarity;
  how.alive = how.alive_out = merging;
  how.count = counts_at(block);
  select(on_, how);
  const Tensor into = column(into_, Dtype::i32);
  tome_order(on_, {.rows = all,
                   .pairs = counts_at(block),
                   .special = special(),
                   .role = role,
                   .merging = merging,
                   .best = best,
                   .into = into,
                   .kept = column(kept_, Dtype::i32),
                   .kept_offsets = offsets(new_slot())});
  apply_merge(MergeRule::size_weighted, into, block);
}

void VitQueue::merge_diffrate(int block) {
  if (!(plan().cuts >> block & 1)) return refresh_key_bias();
  const Ragged all = rows();
  const Tensor role = column(role_, Dtype::u8), survivors = column(survivors_, Dtype::u8),
               best = column(best_, Dtype::i32), similarity = column(similarity_, Dtype::f32);
  score_first_row(static_cast<float>(config().heads), {});
  SelectArgs prune = select_args(new_slot()), merge = select_args(new_slot());
  prune.count = counts_at(block), prune.alive_out = survivors;
  merge.count = merges_at(block), merge.alive_out = role;
  select(on_, prune);
  select(on_, merge);
  survivor_roles(
      on_,
      {.rows = all, .special = special(), .survives_prune = survivors, .survives_merge = role, .role = role});
  const Tensor unit = matrix_view(unit_.as(), Dtype::f32, capacity_, config().dim);
  direction(on_, {.x = x(), .out = unit, .rows = all});
  match(on_, {.directions = unit, .role = role, .rows = all, .best = best, .similarity = similarity});
  add({Term::diffrate_pairs, 0, block, static_cast<double>(config().dim)});
  apply_merge(MergeRule::plain_mean, best, block);
}

// kept_, the newest offsets and `into` say who stays and who is folded into whom.
void VitQueue::apply_merge(MergeRule rule, const Tensor& into, int block) {
  const RowSet &from = sets_[now_.set], &to = sets_[1 - now_.set];
  const Rows next = rows_after(block);
  const Ragged after = ragged(next);
  const bool first = now_.slot == 0;
  merge(on_, {.x = x(),
              .size = column(first ? ones_size_ : from.size, Dtype::f32),
              .into = into,
              .similarity = column(similarity_, Dtype::f32),
              .kept = column(kept_, Dtype::i32),
              .from = rows(),
              .to = after,
              .rule = rule,
              .out = stream(to.x),
              .out_size = column(to.size, Dtype::f32)});
  if (follows_patches())
    gather(on_, {.x = column(first ? patch_start_ : from.patch, Dtype::i32),
                 .index = column(kept_, Dtype::i32),
                 .out = column(to.patch, Dtype::i32),
                 .rows = after});
  now_ = next;
  refresh_key_bias();
}

}  // namespace hedgerow
