// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/vision/methods.h"

#include <fmt/format.h>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/prune_schedule.h"

namespace hedgerow {
namespace {

constexpr MethodTraits kMethods[] = {
    {.method = PruneMethod::none, .name = "none"},
    {.method = PruneMethod::threshold_l2,
     .name = "threshold-l2",
     .blocks = ChoosesIn::one,
     .ranks = RanksBy::row_norm,
     .keep_rate = true,
     .any_rule = true},
    {.method = PruneMethod::dynamicvit,
     .name = "dynamicvit",
     .blocks = ChoosesIn::quarters,
     .place = ChoosesAt::before_block,
     .ranks = RanksBy::predictor,
     .keep_rate = true},
    {.method = PruneMethod::evit,
     .name = "evit",
     .blocks = ChoosesIn::quarters,
     .place = ChoosesAt::after_attention,
     .ranks = RanksBy::cls_attention,
     .keep_rate = true,
     .fuses_dropped = true},
    {.method = PruneMethod::evit_unfused,
     .name = "evit-unfused",
     .blocks = ChoosesIn::quarters,
     .place = ChoosesAt::after_attention,
     .ranks = RanksBy::cls_attention,
     .keep_rate = true},
    {.method = PruneMethod::ats,
     .name = "ats",
     .blocks = ChoosesIn::from_quarter,
     .place = ChoosesAt::inside_attention,
     .ranks = RanksBy::cls_attention_and_value},
    {.method = PruneMethod::tome,
     .name = "tome",
     .blocks = ChoosesIn::all,
     .place = ChoosesAt::after_attention,
     .ranks = RanksBy::key_similarity,
     .merges = true,
     .runs_full_grid = false},
    {.method = PruneMethod::diffrate,
     .name = "diffrate",
     .blocks = ChoosesIn::all,
     .place = ChoosesAt::after_attention,
     .ranks = RanksBy::cls_attention,
     .merges = true,
     .runs_full_grid = false},
    {.method = PruneMethod::paper_l2,
     .name = "paper-l2",
     .blocks = ChoosesIn::one,
     .ranks = RanksBy::row_norm,
     .keep_rate = true,
     .keep_range = true,
     .any_rule = true,
     .competing_special = true},
    {.method = PruneMethod::paper_dynamicvit,
     .name = "paper-dynamicvit",
     .blocks = ChoosesIn::one,
     .ranks = RanksBy::gate,
     .keep_rate = true,
     .keep_range = true,
     .any_rule = true,
     .competing_special = true},
    {.method = PruneMethod::paper_evit,
     .name = "paper-evit",
     .blocks = ChoosesIn::one,
     .ranks = RanksBy::cls_attention,
     .keep_rate = true,
     .keep_range = true,
     .any_rule = true},
    {.method = PruneMethod::paper_ats,
     .name = "paper-ats",
     .blocks = ChoosesIn::one,
     .ranks = RanksBy::cls_attention_and_norm,
     .keep_rate = true,
     .keep_range = true,
     .any_rule = true},
    {.method = PruneMethod::custom,
     .name = "custom",
     .blocks = ChoosesIn::one,
     .ranks = RanksBy::caller,
     .keep_rate = true,
     .any_rule = true},
};

}  // namespace

const MethodTraits& traits_of(PruneMethod method) {
  for (const MethodTraits& m : kMethods)
    if (m.method == method) return m;
  throw Error(fmt::format("prune: method number {} has no traits", static_cast<int>(method)));
}

const char* name_of(PruneMethod method) { return traits_of(method).name; }

const std::vector<PruneMethod>& all_prune_methods() {
  static const std::vector<PruneMethod> methods = [] {
    std::vector<PruneMethod> all;
    for (const MethodTraits& m : kMethods)
      if (m.ranks != RanksBy::caller) all.push_back(m.method);
    return all;
  }();
  return methods;
}

PruneMethod prune_method(const std::string& name) {
  std::string names;
  for (const PruneMethod m : all_prune_methods()) {
    if (name == name_of(m)) return m;
    names += names.empty() ? name_of(m) : std::string(", ") + name_of(m);
  }
  throw Error(fmt::format("prune: wanted one of {}; found '{}'", names, name));
}

bool chooses_in(const MethodTraits& m, const Prune& prune, int block, int layers) {
  switch (m.blocks) {
    case ChoosesIn::none:
      return false;
    case ChoosesIn::one:
      return block == prune.after - 1;
    case ChoosesIn::quarters:
      return prune_stage(block, layers) >= 0;
    case ChoosesIn::from_quarter:
      return block >= layers / 4;
    case ChoosesIn::all:
      return true;
  }
  return false;
}

bool wants_first_row(const MethodTraits& m, const Prune& prune, int block, int layers) {
  const bool reads = m.ranks == RanksBy::cls_attention || m.ranks == RanksBy::cls_attention_and_norm ||
                     m.ranks == RanksBy::cls_attention_and_value;
  return reads && chooses_in(m, prune, block, layers);
}

bool drops_queries(const MethodTraits& m, const Prune& prune, int block, int layers) {
  return m.place == ChoosesAt::inside_attention && chooses_in(m, prune, block, layers);
}

}  // namespace hedgerow
