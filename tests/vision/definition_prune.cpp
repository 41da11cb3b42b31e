// SPDX-License-Identifier: Apache-2.0
// The pruning methods, each as its paper has it. Kept rows stay in their order, fused rows come behind them;
// ToMe has an order of its own (docs/design.md).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "tests/vision/definition_given.h"
#include "tests/vision/definition_model.h"

namespace hedgerow::test {
namespace {

constexpr float kPredictorEps = 1e-5f;  // PyTorch's default

double square(int d) { return static_cast<double>(d) * d; }

}  // namespace

const ImposedChoice* Model::imposed(int block) const {
  if (!run_.imposed) return nullptr;
  for (const ImposedChoice& c : *run_.imposed) {
    if (c.block != block) continue;
    const auto within = [&](int i, int low) { return i >= low && i < x_.count; };
    for (int i : c.kept) require(within(i, 0), fmt::format("imposed in block {}: no row {}", block, i));
    for (int i : c.into) require(within(i, -1), fmt::format("imposed in block {}: into no row {}", block, i));
    require(c.into.empty() || static_cast<int>(c.into.size()) == x_.count,
            fmt::format("imposed in block {}: {} rows, not {}", block, c.into.size(), x_.count));
    return &c;
  }
  return nullptr;
}

// The rows that stay: by the rule, or as imposed, which then must be near what the rule says.
std::vector<int> Model::choose(int block, const Rule& rule, Rows& score) {
  at("score", block, score, code_);
  const ImposedChoice* choice = imposed(block);
  if (!choice) return choice_by(rule, score);
  out_.strain = std::max(out_.strain, strain_of(rule, score, choice->kept));
  return choice->kept;
}

void Model::keep(const std::vector<int>& kept) {
  x_ = take(x_, kept);
  if (size_.count) size_ = take(size_, kept);
  std::vector<int32_t> code;
  for (int i : kept) code.push_back(code_[static_cast<size_t>(i)]);
  code_ = std::move(code);
}

// Rao et al. 2021: before three blocks, patches * keep^stage by the predictor's log-probability of "keep".
void Model::dynamicvit(int block) {
  if (stage(block) < 0) return;
  Rows score = predictor(block);
  keep(choose(block, {.special = special(), .count = dynamicvit_count(patches_, budget().keep, stage(block))},
              score));
  moved(block);
}

// LayerNorm, D to D, GELU; half of the channels become their mean over all patches; then D/2, D/4, 2.
Rows Model::predictor(int block) {
  const PredictorParameters& w = p_.predictors[static_cast<size_t>(stage(block))];
  const int d = c_.dim;
  const Activation gelu = Activation::gelu_erf;
  Rows h = ops_.layer_norm(x_, {w.norm_weight, w.norm_bias, kPredictorEps});
  ops_.store_rows(h);
  h = ops_.linear(h, {w.in_weight, w.in_bias, d}, gelu);
  ops_.store_rows(h);
  h = ops_.global_half(h, special());
  at("predictor", block, h, code_);
  h = ops_.linear(h, {w.out0_weight, w.out0_bias, d / 2}, gelu);
  ops_.store_rows(h);
  h = ops_.linear(h, {w.out2_weight, w.out2_bias, d / 4}, gelu);
  ops_.store_rows(h);
  h = ops_.linear(h, {w.out4_weight, w.out4_bias, 2});
  ops_.store(h, Dtype::f32);
  out_.macs += computed() * (square(d) + d * (d / 2) + (d / 2) * (d / 4) + 2 * (d / 4));
  return ops_.keep_log_prob(h);
}

// Liang et al. 2022: between attention and MLP of three blocks, by the class token's attention. What is
// dropped becomes one row, weighted by that attention, behind the others.
void Model::evit(int block, const Rows& first_row) {
  Rows score = ops_.head_score(first_row, c_.heads, {});
  const std::vector<int> kept =
      choose(block, {.special = special(), .count = evit_count(live(), budget().keep)}, score);
  std::vector<int> dropped;
  for (int i = 0; i < x_.count; ++i)
    if (std::find(kept.begin(), kept.end(), i) == kept.end()) dropped.push_back(i);
  const Rows before = x_;
  keep(kept);
  if (method() != PruneMethod::evit || dropped.empty()) return moved(block);
  const Rows fused = ops_.fused(before, score, dropped);
  x_.value.insert(x_.value.end(), fused.value.begin(), fused.value.end());
  x_.bound.insert(x_.bound.end(), fused.bound.begin(), fused.bound.end());
  ++x_.count;
  code_.push_back(kFusedRow + stage(block));
  moved(block);
}

// Fayyaz et al. 2022: the score is the class token's attention, all heads, times the length of the value; as
// many heights as there were patches each take the row nearest in the running sum.
std::vector<int> Model::adaptive_sampling(int block, const Rows& first_row, const Rows& v) {
  Rows score = ops_.head_score(first_row, 1, ops_.row_norm(v, c_.heads));
  out_.macs += computed() * c_.dim;
  Rule rule{.mode = SelectMode::ats, .special = special(), .samples = patches_};
  const auto& counts = run_.prune.imposed;
  if (!counts.empty()) {
    rule.mode = SelectMode::top_k;
    rule.count = std::max(0, counts.front()[static_cast<size_t>(block)] - special());
  }
  return choose(block, rule, score);
}

// Bolya et al. 2023: rows at even places look for the most similar key (mean over heads) at odd places; the r
// most similar pairs merge. Behind the special rows then: what is left at even places, the odd places.
void Model::tome(int block, const Rows& keys) {
  const int pairs = tome_pairs(x_.count, special(), budget().merge);
  if (pairs == 0) return;
  std::vector<uint8_t> role(static_cast<size_t>(x_.count));
  for (int i = special(); i < x_.count; ++i) role[static_cast<size_t>(i)] = i % 2 == 0 ? 1 : 2;
  const Rows direction = ops_.directions(keys, c_.heads);
  out_.macs += 0.25 * square(x_.count) * c_.head_dim();

  // The sources with the r most similar partners merge: they "stay" in a choice among sources.
  Partners partners = partners_of(direction, role);
  at("similarity", block, partners.similarity, code_);
  std::vector<int> sources, merging, into(static_cast<size_t>(x_.count), -1);
  for (int i = 0; i < x_.count; ++i)
    if (role[static_cast<size_t>(i)] == 1) sources.push_back(i);
  const Rule most_similar{.special = 0, .count = pairs};
  const Rows score = take(partners.similarity, sources);
  if (const ImposedChoice* choice = imposed(block)) {
    into = choice->into;
    for (size_t s = 0; s < sources.size(); ++s)
      if (into[static_cast<size_t>(sources[s])] >= 0) merging.push_back(static_cast<int>(s));
    out_.strain = std::max(
        {out_.strain, strain_of(most_similar, score, merging), strain_of_partners(direction, role, into)});
  } else {
    for (int s : choice_by(most_similar, score)) {
      const size_t i = static_cast<size_t>(sources[static_cast<size_t>(s)]);
      into[i] = partners.best[i];
    }
  }
  std::vector<int> kept;
  for (int part : {0, 1, 2})
    for (int i = 0; i < x_.count; ++i)
      if (role[static_cast<size_t>(i)] == part && into[static_cast<size_t>(i)] < 0) kept.push_back(i);
  check_order(block, kept);
  fold(block, kept, into, partners.similarity, MergeRule::size_weighted);
}

// Chen et al. 2023: by the class token's attention, rows past the prune count leave, rows past the merge
// count are averaged into the most similar row that stays.
void Model::diffrate(int block, const Rows& first_row) {
  const DiffRateList& list = diffrate_list(run_.prune.rates, c_.dim);
  const auto count = [&](int entry) {
    return std::min(diffrate_count(entry, patches_ + special(), special()) - special(), live());
  };
  const size_t b = static_cast<size_t>(block);
  const int survive = count(list.prune[b]), stay = count(std::min(list.prune[b], list.merge[b]));
  if (stay == live()) return;
  Rows score = ops_.head_score(first_row, c_.heads, {});
  const Rule prune{.special = special(), .count = survive}, merge{.special = special(), .count = stay};
  at("score", block, score, code_);
  std::vector<int> kept = choice_by(merge, score), survivors = choice_by(prune, score);
  const ImposedChoice* choice = imposed(block);
  if (choice) {
    kept = survivors = choice->kept;
    for (int i = 0; i < x_.count; ++i)
      if (choice->into[static_cast<size_t>(i)] >= 0) survivors.push_back(i);
    std::sort(survivors.begin(), survivors.end());
    out_.strain = std::max({out_.strain, strain_of(merge, score, kept), strain_of(prune, score, survivors)});
  }
  std::vector<uint8_t> role(static_cast<size_t>(x_.count));
  for (int i : survivors) role[static_cast<size_t>(i)] = i < special() ? 0 : 1;
  for (int i : kept) role[static_cast<size_t>(i)] = i < special() ? 0 : 2;
  const Rows direction = ops_.directions(x_, 1);
  Partners partners = partners_of(direction, role);
  if (survive > stay) at("similarity", block, partners.similarity, code_);
  if (choice) {
    out_.strain = std::max(out_.strain, strain_of_partners(direction, role, choice->into));
    partners.best = choice->into;
  }
  out_.macs += static_cast<double>(survive - stay) * stay * c_.dim;
  check_order(block, kept);
  fold(block, kept, partners.best, partners.similarity, MergeRule::plain_mean);
}

void Model::fold(int block, const std::vector<int>& kept, const std::vector<int>& into,
                 const Rows& similarity, MergeRule rule) {
  const Rows before = x_;
  Rows size = size_;
  keep(kept);
  x_ = ops_.merged(before, size, kept, into, similarity, rule);
  size_ = std::move(size);
  moved(block);
}

// Rows that are merged have one order only.
void Model::check_order(int block, const std::vector<int>& kept) {
  const ImposedChoice* choice = imposed(block);
  if (choice && choice->kept != kept) out_.strain = INFINITY;
}

// One prune behind a block: by token length (threshold-l2) or as in "Dispatch-Aware Ragged Attention".
void Model::prune_once(int block, const Rows& first_row) {
  const PruneMethod m = method();
  const bool competes = m == PruneMethod::paper_l2 || m == PruneMethod::paper_dynamicvit;
  Rows score;
  if (m == PruneMethod::threshold_l2 || m == PruneMethod::paper_l2 || m == PruneMethod::paper_ats) {
    score = ops_.row_norm(x_);
    out_.macs += computed() * c_.dim;
    if (m == PruneMethod::paper_ats) score = ops_.head_score(first_row, c_.heads, score);
  } else if (m == PruneMethod::paper_evit) {
    score = ops_.head_score(first_row, c_.heads, {});
  } else if (m == PruneMethod::paper_dynamicvit) {
    score = paper_gate(block);
  } else if (m == PruneMethod::custom) {
    score = custom(block + 1);
  } else {
    return;
  }
  const PruneBudget& b = budget();
  double keep_rate = b.keep;
  if (b.keep_max > b.keep)
    keep_rate += (b.keep_max - b.keep) * Rng{run_.prune.seed, image_.content_hash}.uniform(0);
  const int pool = patches_ + (competes ? special() : 0);
  Rule rule{.special = special(),
            .count = std::max(rate_count(pool, keep_rate), competes ? 1 : b.floor),
            .floor = b.floor,
            .threshold = static_cast<float>(b.threshold),
            .mass = b.mass};
  switch (run_.prune.rule) {
    case KeepRule::rate:
      rule.special_competes = competes;
      break;
    case KeepRule::threshold:
      rule.mode = SelectMode::threshold;
      break;
    case KeepRule::quantile:
      rule.mode = SelectMode::quantile, rule.mass = 1 - b.threshold;
      break;
    case KeepRule::mass:
      rule.mode = SelectMode::mass;
  }
  keep(choose(block, rule, score));
  moved(block);
}

// An untrained gate: LayerNorm, D to D/2, GELU, its mean over all rows beside it, D/2, GELU, 2. Drawn as
// PyTorch starts an nn.Linear.
Rows Model::paper_gate(int block) {
  const int d = c_.dim, half = d / 2;
  const auto draw = [&](uint64_t key, int count, int k) {
    std::vector<float> w(static_cast<size_t>(count));
    for (size_t i = 0; i < w.size(); ++i)
      w[i] = static_cast<float>(1 / std::sqrt(static_cast<double>(k)) *
                                (2 * Rng{run_.prune.seed, key}.uniform(i) - 1));
    return w;
  };
  const std::vector<float> ones(static_cast<size_t>(d), 1), zeros(static_cast<size_t>(d), 0);
  Rows h = ops_.layer_norm(x_, {ones, zeros, kPredictorEps});
  ops_.store_rows(h);
  h = ops_.linear(h, {draw(0, half * d, d), draw(1, half, d), half}, Activation::gelu_erf);
  ops_.store_rows(h);
  h = ops_.global_half(side_by_side({h, h}), 0);
  at("predictor", block, h, code_);
  h = ops_.linear(h, {draw(2, half * d, d), draw(3, half, d), half}, Activation::gelu_erf);
  ops_.store_rows(h);
  h = ops_.linear(h, {draw(4, 2 * half, half), draw(5, 2, half), 2});
  ops_.store(h, Dtype::f32);
  out_.macs += computed() * (2.0 * d * half + 2.0 * half);
  return ops_.keep_log_prob(h);
}

// A caller's own scores of these rows: exact where the rows are.
Rows Model::custom(int block) const {
  const Given rows(x_);
  std::vector<int32_t> patch;
  for (int32_t code : code_) patch.push_back(code > 0 && code < kFusedRow ? code - 1 : -1);
  std::vector<float> score(static_cast<size_t>(x_.count));
  run_.prune.score(0, block, x_.count, c_.dim, rows.data.data(), patch.data(), score.data());
  return result(x_.count, 1, {score.begin(), score.end()});
}

}  // namespace hedgerow::test
