// SPDX-License-Identifier: Apache-2.0
// Growing the tree of a step: a given shape, or the one that pays.
#include <algorithm>
#include <numeric>

#include "hedgerow/core/clock.h"
#include "hedgerow/language/generate_run.h"

namespace hedgerow {

namespace {

// The `count` nodes that the draft thinks likeliest, in the order of the tree.
void keep_likeliest(const TokenTree& tree, std::vector<int>* nodes, int count) {
  std::stable_sort(nodes->begin(), nodes->end(), [&](int a, int b) {
    return tree.reach[static_cast<size_t>(a)] > tree.reach[static_cast<size_t>(b)];
  });
  nodes->resize(static_cast<size_t>(count));
  std::sort(nodes->begin(), nodes->end());
}

}  // namespace

// Adds up to `count` children behind an expanded node, as long as their chance is at least `least`.
int Generator::children(Run& r, int node, int count, double least) {
  const ModelDraft::Candidates* c = model_->behind_node(node);
  int first = -1;
  for (int i = 0; c && i < count; ++i) {
    if (c->tokens[i] < 0 || r.tree.size() >= r.most_nodes) break;
    const double chance =
        r.estimate[static_cast<size_t>(node)] * r.policy.acceptance.of(i, c->probabilities[i]);
    if (i > 0 && chance < least) break;
    const int child = r.tree.add(node, c->tokens[i], c->probabilities[i], DraftedBy::model);
    if (child < 0) break;
    if (child == static_cast<int>(r.estimate.size())) r.estimate.push_back(chance);
    first = first < 0 ? child : first;
  }
  return first;
}

void Generator::draft_shape(Run& r, const TreeShape& shape) {
  TokenTree& tree = r.tree;
  const int deepest = std::min(shape.most_depth(), r.deepest);
  if (deepest < 1) return;
  model_->follow(r.text);
  const bool best = shape.kind == TreeShape::Kind::best;
  const int width = best ? std::clamp(shape.nodes / std::max(1, shape.depth), 2, ModelDraft::kCandidates) : 0;
  std::vector<int> level{0};
  // Shapes that choose by probability grow a larger tree first and cut it afterwards.
  for (int d = 1; d <= deepest && !level.empty(); ++d) {
    if (d > 1) model_->expand(tree, level);
    std::vector<int> next;
    for (const int node : level) {
      const int before = tree.size();
      if (shape.kind == TreeShape::Kind::list) {
        const std::vector<int> ranks = [&] {
          std::vector<int> path;
          for (int n = node; n > 0; n = tree.parents[static_cast<size_t>(n)])
            path.insert(path.begin(), tree.rank[static_cast<size_t>(n)]);
          return path;
        }();
        int count = 0;  // children of a list are its first ranks up to the last one named
        for (const auto& p : shape.paths)
          if (p.size() == ranks.size() + 1 && std::equal(ranks.begin(), ranks.end(), p.begin()))
            count = std::max(count, p.back() + 1);
        children(r, node, std::min(count, ModelDraft::kCandidates), 0);
      } else {
        children(r, node,
                 best                                   ? width
                 : shape.kind == TreeShape::Kind::chain ? 1
                                                        : std::min(shape.branch, ModelDraft::kCandidates),
                 0);
      }
      for (int n = before; n < tree.size(); ++n) next.push_back(n);
    }
    if (best && static_cast<int>(next.size()) > width) keep_likeliest(tree, &next, width);
    level = next;
  }
  if (best && tree.size() - 1 > shape.nodes) keep_best(r, shape.nodes);
}

// The likeliest nodes; a child never outscores its parent, so what stays is a tree.
void Generator::keep_best(Run& r, int nodes) {
  const TokenTree all = r.tree;
  std::vector<int> order(static_cast<size_t>(all.size()) - 1);
  std::iota(order.begin(), order.end(), 1);
  keep_likeliest(all, &order, nodes);
  std::vector<int> place(static_cast<size_t>(all.size()), -1);
  place[0] = 0;
  r.tree.start(all.tokens[0]);
  for (const int n : order) {
    const size_t at = static_cast<size_t>(n);
    place[at] = r.tree.add(place[static_cast<size_t>(all.parents[at])], all.tokens[at], all.probability[at],
                           all.source[at]);
  }
  r.estimate.assign(static_cast<size_t>(r.tree.size()), 1);
}

// Best leaf by best leaf, as long as the next pass of the draft is worth its time; siblings where a row more
// of the target's pass is.
void Generator::draft_auto(Run& r) {
  TokenTree& tree = r.tree;
  const int deepest = std::min(16, r.deepest);
  const int behind = model_->behind(r.text);
  if (deepest < 1) return;
  if (!r.policy.model_pays()) return;
  if (behind > 8 && !prefill_pays(r, behind)) return;
  const double begin = now_s();
  model_->follow(r.text);
  const double took = now_s() - begin;
  if (behind > 8)
    r.out.stats.draft_prefill += took, r.out.stats.draft -= took;
  else
    r.policy.costs().draft.note(std::max(1, behind), took);
  int leaf = 0;
  for (int d = 1; d <= deepest; ++d) {
    if (d > 1) {
      const double pass = now_s();
      model_->expand(tree, {leaf});
      r.policy.costs().draft.note(1, now_s() - pass);
    }
    const int before = tree.size(), first = children(r, leaf, 1, 0);
    if (first < 0) break;
    const double gain = r.estimate[static_cast<size_t>(first)];
    if (!r.policy.row_pays(gain, before)) break;
    for (int sibling = 2; sibling <= 3; ++sibling) {
      const ModelDraft::Candidates* c = model_->behind_node(leaf);
      const double chance = r.estimate[static_cast<size_t>(leaf)] *
                            r.policy.acceptance.of(sibling - 1, c->probabilities[sibling - 1]);
      if (!r.policy.row_pays(chance, tree.size())) break;
      children(r, leaf, sibling, 0);
    }
    leaf = first;
    if (!r.policy.deeper_pays(gain, tree.size())) break;
  }
}

// The draft has not read the text yet. As with hired skis: begin once what it would have gained so far comes
// near what reading costs, so that a short answer pays little for it.
bool Generator::prefill_pays(Run& r, int behind) const {
  const double cost = behind * r.policy.costs().draft_prefill, a = r.policy.acceptance.first_choice();
  const Costs& c = r.policy.costs();
  const double gain = a * c.target.at(1) - c.draft.at(1) - (c.target.at(2) - c.target.at(1));
  const double so_far = static_cast<double>(r.out.tokens.size() + 1) * std::max(0.0, gain);
  const double left = static_cast<double>(r.how.max_tokens) - static_cast<double>(r.out.tokens.size());
  return left * gain > cost && so_far > cost / 16;
}

void Generator::add_lookup(Run& r) {
  TokenTree& tree = r.tree;
  const int room = r.most_nodes - tree.size();
  int from = 0;
  if (with_.extend && tree.size() > 1)  // behind the model's likeliest leaf
    from = static_cast<int>(std::max_element(tree.depth.begin(), tree.depth.end()) - tree.depth.begin());
  const bool automatic = r.how.tree.kind == TreeShape::Kind::automatic;
  const int shape = automatic ? 16 : std::max(1, r.how.tree.most_depth());
  const int most = std::min({room, r.deepest - tree.depth[static_cast<size_t>(from)], shape});
  if (most < 1) return;
  const std::vector<int32_t> next = lookup_.continuation(r.text, tree.path_to(from), most);
  double chance = r.estimate[static_cast<size_t>(from)];
  int depth = 0;
  for (const int32_t token : next) {
    chance *= r.policy.acceptance.of_lookup(++depth);
    if (automatic && !r.policy.row_pays(chance, tree.size())) break;
    from = tree.add(from, token, static_cast<float>(r.policy.acceptance.of_lookup(depth)), DraftedBy::lookup);
    if (from < 0) break;
    if (from == static_cast<int>(r.estimate.size())) r.estimate.push_back(chance);
  }
}

void Generator::plan(Run& r) {
  const double begin = now_s();
  r.estimate.assign(1, 1.0);
  r.most_nodes = std::min({kMostNodes, target_.limits().logit_rows, target_.limits().rows,
                           target_.limits().context - target_.length(0)});
  r.deepest = std::max(0, std::min(r.how.max_tokens - static_cast<int>(r.out.tokens.size()) - 1,
                                   target_.limits().context - static_cast<int>(r.text.size())));
  if (model_) {
    if (r.how.tree.kind == TreeShape::Kind::automatic)
      draft_auto(r);
    else
      draft_shape(r, r.how.tree);
  }
  if (with_.lookup) add_lookup(r);
  r.out.stats.draft += now_s() - begin;
}

}  // namespace hedgerow
