// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"
#include "hedgerow/language/generate_run.h"

namespace hedgerow {

const char* name_of(Finish f) {
  constexpr const char* kNames[] = {"length", "stop", "stop_string", "context", "interrupted"};
  return kNames[static_cast<int>(f)];
}

Generator::Generator(LlamaPass& target, const DraftWith& draft) : target_(target), with_(draft) {
  if (draft.model) model_ = std::make_unique<ModelDraft>(*draft.model);
}

void Generator::prefill(Run& r) {
  const double begin = now_s();
  size_t same = 0;
  while (same < known_.size() && same + 1 < r.text.size() && known_[same] == r.text[same]) ++same;
  target_.truncate(0, static_cast<int>(same));
  const int count = static_cast<int>(r.text.size() - 1 - same);
  const int read = target_.read(0, r.text.data() + same, count, Logits::none,
                                [&] { return !(r.how.interrupted && *r.how.interrupted); });
  known_.assign(r.text.begin(), r.text.begin() + target_.length(0));
  if (read < count) {
    r.out.finish = Finish::interrupted, r.done = true;
    return;
  }
  r.out.stats.prefill = now_s() - begin;
}

// Rows are thrown away; times are the least of a few, longer passes once.
Costs Generator::measure() {
  const auto curve = [](LlamaPass& pass) {
    std::vector<int> rows;
    std::vector<double> seconds;
    const int32_t tokens[16] = {};
    double spent = 0;
    for (const int count : {1, 2, 4, 8, 16}) {
      if (pass.length(0) + count > pass.limits().context || count > pass.limits().rows ||
          count > pass.limits().logit_rows || (count > 4 && spent > 0.35))
        break;
      double least = 1e9;
      for (int i = 0; i < (count == 1 ? 4 : 2); ++i) {
        const double begin = now_s();
        pass.forward({{.sequence = 0, .tokens = tokens, .count = count, .logits = Logits::all}});
        const double took = now_s() - begin;
        spent += took, least = std::min(least, took);
      }
      rows.push_back(count), seconds.push_back(least);
    }
    if (rows.size() == 1) rows.push_back(16), seconds.push_back(16 * seconds[0]);
    return CostCurve(rows, seconds);
  };
  Costs c;
  c.target = curve(target_);
  if (model_) {
    c.draft = curve(model_->pass());
    c.draft_prefill = c.draft.at(16) / 16;
  }
  return c;
}

bool Generator::take(Run& r, int32_t token, bool drafted) {
  const auto& ends = r.how.end_of_text;
  if (std::find(ends.begin(), ends.end(), token) != ends.end()) {
    r.out.finish = Finish::end_of_text, r.done = true;
    return false;
  }
  r.text.push_back(token), r.sampler.see(token);
  r.out.tokens.push_back(token), r.out.drafted.push_back(drafted);
  if (r.on_token && !r.on_token(token, drafted)) r.out.finish = Finish::stop, r.done = true;
  if (!r.done && static_cast<int>(r.out.tokens.size()) >= r.how.max_tokens)
    r.out.finish = Finish::length, r.done = true;
  if (!r.done && static_cast<int>(r.text.size()) > target_.limits().context)
    r.out.finish = Finish::context, r.done = true;
  if (!r.done && r.how.interrupted && *r.how.interrupted) r.out.finish = Finish::interrupted, r.done = true;
  return !r.done;
}

// One pass over the tree, and the walk along the model's own choices.
void Generator::step(Run& r) {
  TokenTree& tree = r.tree;
  const int nodes = tree.size();
  const double begin = now_s();
  target_.forward({{.sequence = 0,
                    .tokens = tree.tokens.data(),
                    .count = nodes,
                    .parents = nodes > 1 ? tree.parents.data() : nullptr,
                    .logits = Logits::all}});
  std::vector<int32_t> choice(static_cast<size_t>(nodes), -1), path{0}, behind;
  if (r.how.sampling.plain_argmax()) target_.best(0, nodes, 1, choice.data(), nullptr, nullptr);
  GenerateStats& stats = r.out.stats;
  const auto choose = [&](int node) {
    if (r.how.sampling.plain_argmax()) return choice[static_cast<size_t>(node)];
    return r.sampler.choose(target_.logits(node), behind,
                            static_cast<int64_t>(r.text.size() + behind.size()));
  };
  int at = 0;
  int32_t token = choose(0);
  for (int next; (next = tree.child(at, token)) >= 0; token = choose(at)) {
    for (int i = at + 1; i < nodes; ++i)
      if (tree.parents[static_cast<size_t>(i)] == at) r.policy.acceptance.note(tree, i, i == next);
    path.push_back(at = next), behind.push_back(token);
  }
  for (int i = at + 1; i < nodes; ++i)
    if (tree.parents[static_cast<size_t>(i)] == at) r.policy.acceptance.note(tree, i, false);

  // What was accepted becomes text token by token: any of them may end it.
  int kept = 1;
  bool go_on = true;
  for (size_t i = 0; i < behind.size() && go_on; ++i) {
    go_on = take(r, behind[i], true);
    kept += go_on;
  }
  const int accepted = static_cast<int>(behind.size());
  if (go_on) take(r, token, false);
  target_.keep(0, path.data(), kept);
  known_.insert(known_.end(), r.text.begin() + static_cast<std::ptrdiff_t>(known_.size()),
                r.text.begin() + target_.length(0));
  const double took = now_s() - begin;
  r.policy.costs().target.note(nodes, took);
  stats.verify += took, ++stats.passes, stats.drafted += nodes - 1, stats.accepted += accepted;
  if (nodes > 1) {
    ++stats.speculative_passes;
    const int deepest = *std::max_element(tree.depth.begin(), tree.depth.end());
    const size_t room =
        static_cast<size_t>(std::max(deepest, static_cast<int>(stats.drafts_by_depth.size())));
    stats.drafts_by_depth.resize(room), stats.accepted_by_depth.resize(room);
    for (int d = 0; d < deepest; ++d) ++stats.drafts_by_depth[static_cast<size_t>(d)];
    for (int d = 0; d < accepted; ++d) ++stats.accepted_by_depth[static_cast<size_t>(d)];
  }
  if (stats.accepted_lengths.size() <= static_cast<size_t>(accepted))
    stats.accepted_lengths.resize(static_cast<size_t>(accepted) + 1);
  ++stats.accepted_lengths[static_cast<size_t>(accepted)];
}

Generated Generator::run(const std::vector<int32_t>& prompt, const GenerateOptions& how,
                         const OnToken& on_token) {
  if (prompt.empty()) throw Error("generate: prompt: wanted at least one token, found none");
  if (static_cast<int>(prompt.size()) > target_.limits().context)
    throw Error(fmt::format("generate: prompt: wanted at most {} tokens (the context), found {}",
                            target_.limits().context, prompt.size()));
  const double begin = now_s();
  const bool drafts = how.tree.kind != TreeShape::Kind::off && (model_ || with_.lookup);
  Costs costs = how.costs;
  if (costs.target.empty()) costs.target = CostCurve({1, 16}, {1, 16});
  Run r{.how = how,
        .on_token = on_token,
        .sampler = Sampler(how.sampling, target_.model().config.vocab),
        .policy = Policy(costs),
        .out = {},
        .text = prompt,
        .tree = {},
        .estimate = {}};
  for (const int32_t t : prompt) r.sampler.see(t);
  r.out.stats.prompt_tokens = static_cast<int>(prompt.size());
  prefill(r);
  if (drafts && how.tree.kind == TreeShape::Kind::automatic && how.costs.target.empty())
    r.policy = Policy(measure());
  const double first_row = now_s();
  while (!r.done) {
    if (static_cast<int>(r.text.size()) > target_.limits().context) {
      r.out.finish = Finish::context;
      break;
    }
    const double step_begin = now_s();
    const size_t tokens = r.out.tokens.size();
    r.tree.start(r.text.back());
    if (drafts) plan(r);
    step(r);
    r.policy.note_step(static_cast<int>(r.out.tokens.size() - tokens), now_s() - step_begin);
  }
  if (drafts && r.out.stats.speculative_passes == 0 && r.out.stats.why_not.empty())
    r.out.stats.why_not = r.out.tokens.size() < 2 ? "the text was too short" : "no tree paid";
  r.out.stats.costs = r.policy.costs();
  r.out.stats.generate = now_s() - first_row, r.out.stats.total = now_s() - begin;
  return std::move(r.out);
}

}  // namespace hedgerow
