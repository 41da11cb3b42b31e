// SPDX-License-Identifier: Apache-2.0
// The merging methods: ToMe (Bolya et al. 2023) and DiffRate (Chen et al. 2023), written from the papers.
// Both match rows by similarity, fold sources into targets, and let attention weigh a merged row by
// log(size).
#include <algorithm>
#include <cstring>

#include "hedgerow/vision/prune_steps.h"

namespace hedgerow {

// Rows at even places (A) look for their best partner at odd places (B); the r most similar pairs merge.
// Order afterwards: special rows, what is left of A, then B - the next block's halves depend on it.
void PruneSteps::merge_tome(int block, const Tensor& k) {
  const Ragged rows = s_.rows();
  const int n = rows.rows(), special = s_.special();
  uint8_t* role = s_.role.as<uint8_t>();
  const uint8_t* alive = s_.masked ? s_.alive.as<uint8_t>() : nullptr;
  int pairs = 0;
  for (int i = 0; i < s_.batch; ++i) {
    const size_t m = static_cast<size_t>(i);
    s_.counts[m] = tome_pairs(s_.live[m] + special, special, budget_of(run_.prune, i).merge);
    pairs += s_.counts[m];
    for (int r = rows.begin(i), at = 0; r < rows.end(i); ++r, ++at)
      role[r] = s_.counts[m] == 0 || at < special || (alive && !alive[r]) ? 0 : at % 2 == 0 ? 1 : 2;
  }
  if (pairs == 0) return;

  const int head_dim = s_.config().head_dim();
  const Tensor unit = s_.f32_rows(s_.unit, head_dim);
  direction(s_.on, {.x = k, .out = unit, .rows = rows});
  match(s_.on, {.directions = unit,
                .role = s_.column(s_.role, Dtype::u8),
                .rows = rows,
                .best = s_.column(s_.best, Dtype::i32),
                .similarity = s_.column(s_.similarity, Dtype::f32)});
  for (int i = 0; i < s_.batch; ++i) {
    if (s_.counts[static_cast<size_t>(i)] == 0) continue;
    const double half = 0.5 * (s_.live[static_cast<size_t>(i)] + special);
    s_.result.macs[static_cast<size_t>(i)] += half * half * head_dim;
  }

  // The sources that merge: the r most similar. Reads the choice as a mask.
  uint8_t* merging = s_.key_bias.as<uint8_t>();  // free until refresh_key_bias
  for (int r = 0; r < n; ++r) merging[r] = role[r] == 1;
  select(s_.on, {.score = s_.column(s_.similarity, Dtype::f32),
                 .alive = vector_view(merging, Dtype::u8, s_.row_capacity),
                 .rows = rows,
                 .special = special,
                 .mode = SelectMode::top_k,
                 .count = s_.counts.data(),
                 .kept = s_.column(s_.kept, Dtype::i32),
                 .kept_offsets = s_.next().offsets.as<int32_t>(),
                 .alive_out = vector_view(merging, Dtype::u8, s_.row_capacity)});

  int32_t* into = s_.into.as<int32_t>();
  int32_t* kept = s_.kept.as<int32_t>();
  int32_t* to = s_.next().offsets.as<int32_t>();
  const int32_t* best = s_.best.as<int32_t>();
  int m = 0;
  for (int i = 0; i < s_.batch; ++i) {
    const int begin = rows.begin(i), end = rows.end(i);
    to[i] = m;
    for (int r = begin; r < end; ++r) into[r] = role[r] == 1 && merging[r] ? best[r] : -1;
    if (s_.counts[static_cast<size_t>(i)] == 0) {  // nothing merges: the order stays
      for (int r = begin; r < begin + s_.live[static_cast<size_t>(i)] + special; ++r) kept[m++] = r;
      continue;
    }
    for (int r = begin; r < std::min(end, begin + special); ++r) kept[m++] = r;
    for (int r = begin; r < end; ++r)
      if (role[r] == 1 && into[r] < 0) kept[m++] = r;
    for (int r = begin; r < end; ++r)
      if (role[r] == 2) kept[m++] = r;
    s_.live[static_cast<size_t>(i)] = m - to[i] - special;
  }
  to[s_.batch] = m;
  apply_merge(MergeRule::size_weighted, block);
}

// Marks in `role` the rows that survive the list's entry for this block; false when it cuts nothing anywhere.
bool PruneSteps::cut(int block, const int* list) {
  const Ragged rows = s_.rows();
  const int special = s_.special();
  bool any = false;
  for (int i = 0; i < s_.batch; ++i) {
    const size_t n = static_cast<size_t>(i);
    const int wanted = diffrate_count(list[block], s_.patches[n] + special, special) - special;
    any |= wanted < s_.live[n];
    s_.counts[n] = std::min(wanted, s_.live[n]);
  }
  // The alive mask narrows with each cut: `role` is both input and output after the first.
  select(s_.on, {.score = s_.column(s_.score, Dtype::f32),
                 .alive = s_.alive_or_none(),
                 .rows = rows,
                 .special = special,
                 .mode = SelectMode::top_k,
                 .count = s_.counts.data(),
                 .kept = s_.column(s_.kept, Dtype::i32),
                 .kept_offsets = s_.next().offsets.as<int32_t>(),
                 .alive_out = s_.column(s_.role, Dtype::u8)});
  return any;
}

// Rows ranked by CLS attention: the tail is dropped, the part before it folds into its most similar survivor.
void PruneSteps::merge_diffrate(int block) {
  const Ragged rows = s_.rows();
  const int n = rows.rows(), special = s_.special(), dim = s_.config().dim;
  score_first_row(static_cast<float>(s_.config().heads), {});
  uint8_t* survives_prune = s_.key_bias.as<uint8_t>();  // free until refresh_key_bias
  bool any = cut(block, list_->prune);
  std::memcpy(survives_prune, s_.role.as(), static_cast<size_t>(n));
  // An entry of the merge list at or above the prune list's means: nothing merges.
  int entries[12];
  for (int b = 0; b < 12; ++b) entries[b] = std::min(list_->prune[b], list_->merge[b]);
  any |= cut(block, entries);
  if (!any) return s_.refresh_key_bias();

  uint8_t* role = s_.role.as<uint8_t>();
  int sources = 0;
  for (int i = 0; i < s_.batch; ++i) {
    for (int r = rows.begin(i), at = 0; r < rows.end(i); ++r, ++at) {
      role[r] = at < special || !survives_prune[r] ? 0 : role[r] ? 2 : 1;
      sources += role[r] == 1;
    }
    s_.live[static_cast<size_t>(i)] = s_.next_rows().length(i) - special;
  }
  if (sources > 0) {
    const Tensor unit = s_.f32_rows(s_.unit, dim);
    direction(s_.on, {.x = s_.x(), .out = unit, .rows = rows});
    match(s_.on, {.directions = unit,
                  .role = s_.column(s_.role, Dtype::u8),
                  .rows = rows,
                  .best = s_.column(s_.best, Dtype::i32),
                  .similarity = s_.column(s_.similarity, Dtype::f32)});
    for (int i = 0; i < s_.batch; ++i) {
      double from = 0, to = 0;
      for (int r = rows.begin(i); r < rows.end(i); ++r) from += role[r] == 1, to += role[r] == 2;
      s_.result.macs[static_cast<size_t>(i)] += from * to * dim;
    }
  }
  int32_t* into = s_.into.as<int32_t>();
  for (int r = 0; r < n; ++r) into[r] = role[r] == 1 ? s_.best.as<int32_t>()[r] : -1;
  apply_merge(MergeRule::plain_mean, block);
}

// kept, next's offsets, into (and similarity) say who stays and who is folded into whom.
void PruneSteps::apply_merge(MergeRule rule, int block) {
  if (run_.trace) {
    const int32_t* patch = s_.now().patch.as<int32_t>();
    const Ragged rows = s_.rows();
    for (int i = 0; i < s_.batch; ++i)
      for (int r = rows.begin(i); r < rows.end(i); ++r) {
        const int to = s_.into.as<int32_t>()[r];
        if (to < 0) continue;
        for (int q = s_.rep_begin[static_cast<size_t>(i)]; q < s_.rep_begin[static_cast<size_t>(i) + 1]; ++q)
          if (s_.rep[static_cast<size_t>(q)] == patch[r] - 1) s_.rep[static_cast<size_t>(q)] = patch[to] - 1;
      }
  }
  const Ragged to = s_.next_rows();
  const Tensor kept = s_.column(s_.kept, Dtype::i32);
  merge(s_.on, {.x = s_.x(),
                .size = s_.column(s_.now().size, Dtype::f32),
                .into = s_.column(s_.into, Dtype::i32),
                .similarity = s_.column(s_.similarity, Dtype::f32),
                .kept = kept,
                .from = s_.rows(),
                .to = to,
                .rule = rule,
                .out = s_.f32_rows(s_.next().x, s_.config().dim),
                .out_size = s_.column(s_.next().size, Dtype::f32)});
  gather(s_.on, {.x = s_.column(s_.now().patch, Dtype::i32),
                 .index = kept,
                 .out = s_.column(s_.next().patch, Dtype::i32),
                 .rows = to});
  s_.current = 1 - s_.current;
  settle(block);
}

}  // namespace hedgerow
