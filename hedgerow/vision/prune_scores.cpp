// SPDX-License-Identifier: Apache-2.0
// What ranks the rows, method by method, and how many of a picture's rows its budget lets live.
#include <algorithm>
#include <vector>

#include "hedgerow/vision/paper_gate.h"
#include "hedgerow/vision/prune_steps.h"

namespace hedgerow {

void PruneSteps::score_first_row(float divisor, Tensor weight) {
  head_score(s_.on, {.probs = s_.f32_rows(s_.first_row, s_.config().heads),
                     .weight = weight,
                     .divisor = divisor,
                     .out = s_.column(s_.score, Dtype::f32),
                     .rows = s_.rows()});
}

// DynamicViT: LayerNorm, D -> D, GELU, the second half of the channels averaged over the picture, then D/2,
// D/4, 2.
void PruneSteps::score_predictor(int stage) {
  const PredictorWeights& w = s_.weights->predictors[static_cast<size_t>(stage)];
  const int d = s_.config().dim;
  constexpr float kPredictorEps = 1e-5f;  // its LayerNorm is PyTorch's default, not the model's 1e-6
  const Ragged rows = s_.rows();
  const Tensor a = s_.act_rows(s_.narrow[0], d), b = s_.act_rows(s_.narrow[1], d);
  layer_norm(s_.on, {.x = s_.x(),
                     .gamma = vector_of(w.norm.gamma),
                     .beta = vector_of(w.norm.beta),
                     .eps = kPredictorEps,
                     .out = a,
                     .rows = rows});
  linear(s_.on, {.x = a, .w = &w.in, .act = Activation::gelu_erf, .out = b, .rows = rows});
  global_half(s_.on, {.x = b, .alive = s_.alive_or_none(), .special = s_.special(), .rows = rows});
  const Tensor half = s_.act_rows(s_.wide, d / 2), quarter = s_.act_rows(s_.narrow[0], d / 4);
  linear(s_.on, {.x = b, .w = &w.out0, .act = Activation::gelu_erf, .out = half, .rows = rows});
  linear(s_.on, {.x = half, .w = &w.out2, .act = Activation::gelu_erf, .out = quarter, .rows = rows});
  const Tensor two = s_.f32_rows(s_.unit, 2);
  linear(s_.on, {.x = quarter, .w = &w.out4, .out = two, .rows = rows});
  keep_log_prob(s_.on, {.x = two, .out = s_.column(s_.score, Dtype::f32), .rows = rows});
  s_.count(rows, static_cast<double>(d) * d + d * (d / 2) + (d / 2) * (d / 4) + 2.0 * (d / 4));
}

// The paper's untrained gate: LayerNorm, D -> D/2, GELU, its mean over all tokens beside it, D/2, GELU, 2,
// "keep" second.
void PruneSteps::score_paper_gate() {
  const PaperGate& w = s_.paper_gate(run_.prune.seed);
  const int d = s_.config().dim;
  const Ragged rows = s_.rows();
  const Tensor a = s_.act_rows(s_.narrow[0], d), b = s_.act_rows(s_.narrow[1], d),
               half = s_.act_rows(s_.wide, d / 2);
  layer_norm(s_.on, {.x = s_.x(),
                     .gamma = vector_of(w.norm.gamma),
                     .beta = vector_of(w.norm.beta),
                     .eps = 1e-5f,
                     .out = a,
                     .rows = rows});
  linear(s_.on, {.x = a, .w = &w.local, .act = Activation::gelu_erf, .out = b, .rows = rows});
  global_half(s_.on, {.x = b, .alive = s_.alive_or_none(), .special = 0, .rows = rows});
  linear(s_.on, {.x = b, .w = &w.head0, .act = Activation::gelu_erf, .out = half, .rows = rows});
  const Tensor two = s_.f32_rows(s_.unit, 2);
  linear(s_.on, {.x = half, .w = &w.head1, .out = two, .rows = rows});
  keep_log_prob(s_.on, {.x = two, .out = s_.column(s_.score, Dtype::f32), .rows = rows});
  s_.count(rows, static_cast<double>(d) * (d / 2) + d * (d / 2) + 2.0 * (d / 2));
}

void PruneSteps::score_custom(int block) {
  const Ragged rows = s_.rows();
  const int d = s_.config().dim;
  std::vector<int32_t> patch;
  for (int i = 0; i < s_.batch; ++i) {
    patch.clear();
    for (int r = rows.begin(i); r < rows.end(i); ++r)
      patch.push_back(std::max(0, s_.now().patch.as<int32_t>()[r]) - 1);
    const int64_t first = rows.begin(i);
    run_.prune.score(i, block, rows.length(i), d, s_.now().x.as<float>() + first * d, patch.data(),
                     s_.score.as<float>() + first);
  }
}

// Fills the per-picture rule of a single prune from the budgets.
void PruneSteps::rule_by_budget(SelectArgs& how) {
  how.mode = mode_of(run_.prune.rule);
  how.special_competes = special_competes(run_.prune);
  for (int i = 0; i < s_.batch; ++i) {
    const size_t n = static_cast<size_t>(i);
    const SinglePrune one = single_prune(run_.prune, i, s_.patches[n], s_.special(), s_.content[n]);
    s_.counts[n] = one.count;
    s_.thresholds[n] = one.threshold;
    s_.masses[n] = one.mass;
    s_.floors[n] = one.floor;
  }
  how.count = s_.counts.data();
  how.threshold = s_.thresholds.data();
  how.mass = s_.masses.data();
  how.floor = s_.floors.data();
}

}  // namespace hedgerow
