// SPDX-License-Identifier: Apache-2.0
// Choosing the token that follows a row of logits. A choice is a function of the row, the tokens before it,
// the seed and the token's position alone, so it is the same in plain and in speculative decoding.
//
// Order: repetition penalty (Keskar et al. 2019, as transformers applies it), temperature, top-k, top-p,
// min-p. Temperature 0 takes the largest after the penalty; ties go to the lower id everywhere.
// - Penalty: over every token of prompt and text so far, along the row's own path: a logit above zero is
//   divided by it, others multiplied.
// - top-k keeps the k largest; top-p the fewest of the largest whose probabilities reach p; min-p those of at
//   least that share of the largest's probability. What lies 40 nats below the largest is left out.
// - The draw: u in [0, 1) from (seed, position); the first kept id, in ascending order, at which the sum of
//   kept probabilities exceeds u times all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace hedgerow {

struct Sampling {
  double temperature = 0;
  int top_k = 0;     // 0: all
  double top_p = 1;  // (0, 1]
  double min_p = 0;  // [0, 1)
  double repeat_penalty = 1;
  uint64_t seed = 0;

  bool greedy() const { return temperature <= 0; }
  bool plain_argmax() const { return greedy() && repeat_penalty == 1; }
};
// Error naming the field and its range.
void check_sampling(const Sampling& s);

class Sampler {
 public:
  explicit Sampler(const Sampling& how, int vocab);

  // Tokens that became text; of the prompt too. For the penalty.
  void see(int32_t token) { ++seen_[static_cast<size_t>(token)]; }
  // The token at `position` (tokens before it), behind text and the tokens of `path`.
  int32_t choose(const float* logits, const std::vector<int32_t>& path, int64_t position);
  // What it would be drawn from: ids ascending and probabilities that sum to 1. Greedy: one id.
  struct Law {
    std::vector<int32_t> ids;
    std::vector<double> probabilities;
  };
  const Law& law(const float* logits, const std::vector<int32_t>& path);
  // In [0, 1).
  double uniform(int64_t position) const;

 private:
  Sampling how_;
  int vocab_;
  std::vector<int32_t> seen_;
  std::vector<float> row_;
  std::vector<std::pair<double, int32_t>> kept_;
  Law law_;
};

}  // namespace hedgerow
