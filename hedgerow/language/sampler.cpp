// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"

namespace hedgerow {
namespace {

constexpr double kFar = 40;  // nats

bool larger(const std::pair<double, int32_t>& a, const std::pair<double, int32_t>& b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

}  // namespace

void check_sampling(const Sampling& s) {
  const auto in = [](const char* name, double v, bool ok, const char* range) {
    if (!ok) throw Error(fmt::format("{}: wanted {}, found {}", name, range, v));
  };
  in("temperature", s.temperature, s.temperature >= 0 && s.temperature <= 100, "0 to 100");
  in("top-k", s.top_k, s.top_k >= 0, "0 or more");
  in("top-p", s.top_p, s.top_p > 0 && s.top_p <= 1, "above 0, at most 1");
  in("min-p", s.min_p, s.min_p >= 0 && s.min_p < 1, "0 to below 1");
  in("repetition penalty", s.repeat_penalty, s.repeat_penalty > 0 && s.repeat_penalty <= 100,
     "above 0, at most 100");
}

Sampler::Sampler(const Sampling& how, int vocab)
    : how_(how), vocab_(vocab), seen_(static_cast<size_t>(vocab), 0) {
  check_sampling(how);
}

double Sampler::uniform(int64_t position) const {
  return Rng{how_.seed, 0x73616d706c65ull}.uniform(static_cast<uint64_t>(position));
}

const Sampler::Law& Sampler::law(const float* logits, const std::vector<int32_t>& path) {
  const size_t n = static_cast<size_t>(vocab_);
  if (how_.repeat_penalty != 1) {
    row_.assign(logits, logits + n);
    for (const int32_t t : path) ++seen_[static_cast<size_t>(t)];
    const auto penalty = static_cast<float>(how_.repeat_penalty);
    for (size_t i = 0; i < n; ++i)
      if (seen_[i] > 0) row_[i] = row_[i] > 0 ? row_[i] / penalty : row_[i] * penalty;
    for (const int32_t t : path) --seen_[static_cast<size_t>(t)];
    logits = row_.data();
  }
  law_.ids.clear(), law_.probabilities.clear();
  float most = -std::numeric_limits<float>::infinity();
  int32_t best = 0;
  for (size_t i = 0; i < n; ++i)
    if (logits[i] > most) most = logits[i], best = static_cast<int32_t>(i);
  if (how_.greedy() || !(most - most == 0)) {  // a row without a largest number
    law_.ids.push_back(best), law_.probabilities.push_back(1);
    return law_;
  }
  kept_.clear();  // distance below the largest, in nats
  const auto least = static_cast<double>(most) - kFar * how_.temperature;
  for (size_t i = 0; i < n; ++i)
    if (static_cast<double>(logits[i]) >= least)
      kept_.emplace_back((static_cast<double>(logits[i]) - static_cast<double>(most)) / how_.temperature,
                         static_cast<int32_t>(i));
  if (how_.top_k > 0 && static_cast<size_t>(how_.top_k) < kept_.size()) {
    std::nth_element(kept_.begin(), kept_.begin() + how_.top_k - 1, kept_.end(), larger);
    kept_.resize(static_cast<size_t>(how_.top_k));
  }
  for (auto& [v, id] : kept_) v = std::exp(v);
  if (how_.top_p < 1) {
    std::sort(kept_.begin(), kept_.end(), larger);
    double all = 0, sum = 0;
    for (const auto& [p, id] : kept_) all += p;
    size_t keep = 0;
    while (keep < kept_.size() && (keep == 0 || sum < how_.top_p * all)) sum += kept_[keep++].first;
    kept_.resize(keep);
  }
  if (how_.min_p > 0) std::erase_if(kept_, [&](const auto& one) { return one.first < how_.min_p; });
  std::sort(kept_.begin(), kept_.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  double all = 0;
  for (const auto& [p, id] : kept_) all += p;
  for (const auto& [p, id] : kept_) law_.ids.push_back(id), law_.probabilities.push_back(p / all);
  return law_;
}

int32_t Sampler::choose(const float* logits, const std::vector<int32_t>& path, int64_t position) {
  const Law& l = law(logits, path);
  const double u = uniform(position);
  double sum = 0;
  for (size_t i = 0; i < l.ids.size(); ++i) {
    sum += l.probabilities[i];
    if (sum > u) return l.ids[i];
  }
  return l.ids.back();
}

}  // namespace hedgerow
