// SPDX-License-Identifier: Apache-2.0
// The merging methods: ToMe (Bolya et al. 2023) and DiffRate (Chen et al. 2023), written from the papers.
// Both match rows by similarity, fold sources into targets, and let attention weigh a merged row by
// log(size).
#include "hedgerow/vision/vit_pass.h"

namespace hedgerow {

// ToMe. Rows at even places (A) look for their best partner at odd places (B); the r most similar pairs
// merge. Order afterwards: special rows, what is left of A, then B - the next block's halves depend on it.
void VitPass::merge_by_keys(int block, const Tensor& k) {
  if (!(plan().cuts >> block & 1)) return;
  const Ragged all = rows();
  const int head_dim = config().head_dim();
  const Tensor role = column(role_, Dtype::u8), merging = column(survivors_, Dtype::u8),
               best = column(best_, Dtype::i32), similarity = column(similarity_, Dtype::f32),
               directions = matrix_view(directions_.as(), Dtype::f32, capacity_, head_dim);
  tome_roles(on_,
             {.rows = all, .pairs = counts_at(block), .special = special(), .role = role, .source = merging});
  if (to_longest()) padding_takes_no_part();
  direction(on_, {.x = k, .out = directions, .rows = all});
  match(on_, {.directions = directions, .role = role, .rows = all, .best = best, .similarity = similarity});
  kind_->matchings.push_back({block, live_slot(), 0.25 * head_dim});
  see_rows("similarity", block, similarity);
  // The sources that merge: the r most similar.
  SelectArgs how = select_args(pass_.new_slot());
  how.score = similarity;
  how.alive = how.alive_out = merging;
  how.count = counts_at(block);
  select(on_, how);
  const Tensor into = into_of(block);
  tome_order(on_, {.rows = all,
                   .pairs = counts_at(block),
                   .special = special(),
                   .role = role,
                   .merging = merging,
                   .best = best,
                   .into = into,
                   .kept = column(kept_, Dtype::i32),
                   .kept_offsets = pass_.offsets(pass_.new_slot())});
  if (to_longest()) leave_padding_behind();
  apply_merge(MergeRule::size_weighted, into, block);
}

// DiffRate. Rows ranked by CLS attention: the tail is dropped, the part before it folds into its most similar
// survivor.
void VitPass::merge_by_list(int block) {
  if (!(plan().cuts >> block & 1)) return;
  rank(block);
  see_rows("score", block, column(score_, Dtype::f32));
  const Tensor role = column(role_, Dtype::u8), survivors = column(survivors_, Dtype::u8);
  SelectArgs prune = select_args(pass_.new_slot()), merge = select_args(pass_.new_slot());
  prune.count = counts_at(block), prune.alive_out = survivors;
  merge.count = merges_at(block), merge.alive_out = role;
  select(on_, prune);
  select(on_, merge);
  if (!(plan().foldings >> block & 1))
    return apply_merge(MergeRule::plain_mean, column(nobody_, Dtype::i32), block);
  const Ragged all = rows();
  const Tensor into = into_of(block),
               directions = matrix_view(directions_.as(), Dtype::f32, capacity_, config().dim);
  survivor_roles(
      on_,
      {.rows = all, .special = special(), .survives_prune = survivors, .survives_merge = role, .role = role});
  direction(on_, {.x = x(), .out = directions, .rows = all});
  match(on_, {.directions = directions,
              .role = role,
              .rows = all,
              .best = into,
              .similarity = column(similarity_, Dtype::f32)});
  see_rows("similarity", block, column(similarity_, Dtype::f32));
  kind_->matchings.push_back({block, kNoSlot, static_cast<double>(config().dim)});
  apply_merge(MergeRule::plain_mean, into, block);
}

// kept_, the newest offsets and `into` say who stays and who is folded into whom.
void VitPass::apply_merge(MergeRule rule, const Tensor& into, int block) {
  Rows next = rows_after(block);
  const Stage stage{.block = block,
                    .into = into.data == nobody_.as() ? -1 : block,
                    .column_before = now_.column,
                    .slot_before = now_.slot};
  const RowSet& to = sets_[next.set];
  see("into", block, into, rows(), patch_codes());
  merge(on_, {.x = x(),
              .size = sizes(now_),
              .into = into,
              .similarity = column(similarity_, Dtype::f32),
              .kept = column(kept_, Dtype::i32),
              .from = rows(),
              .to = ragged(next),
              .rule = rule,
              .out = stream(to.x),
              .out_size = column(to.size, Dtype::f32)});
  follow(column(kept_, Dtype::i32), now_, next);
  rows_are(next);
  live_slot_ = next.slot;
  see_choice(block);
  see_rows("kept", block, x());
  settle(block);
  trace(stage);
}

}  // namespace hedgerow
