// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/draft.h"

#include <algorithm>
#include <cmath>

#include "hedgerow/core/rng.h"

namespace hedgerow {

ModelDraft::ModelDraft(LlamaPass& pass) : pass_(pass) { pass_.truncate(0, 0); }

void ModelDraft::follow(const std::vector<int32_t>& text) {
  // The cache may hold more than the text, or another one: back to what they share.
  size_t same = 0;
  while (same < known_.size() && same < text.size() && known_[same] == text[same]) ++same;
  if (same < known_.size()) {
    known_.resize(same), row_token_.clear(), row_parent_.clear();
    pass_.truncate(0, static_cast<int>(same));
  }
  if (known_.size() == text.size()) {  // its last row's logits are gone: once more
    known_.pop_back(), row_token_.clear(), row_parent_.clear();
    pass_.truncate(0, static_cast<int>(known_.size()));
  }
  std::vector<int32_t> path;
  int at = -1;
  for (size_t i = known_.size(); i + 1 < text.size(); ++i) {
    int next = -1;
    for (int r = 0; r < static_cast<int>(row_token_.size()) && next < 0; ++r)
      if (row_parent_[static_cast<size_t>(r)] == at && row_token_[static_cast<size_t>(r)] == text[i])
        next = r;
    if (next < 0) break;
    path.push_back(at = next);
  }
  if (!path.empty()) {
    pass_.keep(0, path.data(), static_cast<int>(path.size()));
    known_.insert(known_.end(), text.begin() + static_cast<std::ptrdiff_t>(known_.size()),
                  text.begin() + static_cast<std::ptrdiff_t>(known_.size() + path.size()));
  }
  row_token_.clear(), row_parent_.clear(), row_of_node_.clear(), candidates_.clear();
  pass_.read(0, text.data() + known_.size(), static_cast<int>(text.size() - known_.size()), Logits::last);
  known_ = text;
  const int root = 0;
  read_candidates(0, 1, &root);
}

void ModelDraft::read_candidates(int first, int rows, const int* nodes) {
  std::vector<int32_t> columns(static_cast<size_t>(rows) * kCandidates);
  std::vector<float> values(columns.size()), log_sums(static_cast<size_t>(rows));
  pass_.best(first, rows, kCandidates, columns.data(), values.data(), log_sums.data());
  for (int r = 0; r < rows; ++r) {
    Candidates& c = candidates_[nodes[r]];
    for (int i = 0; i < kCandidates; ++i) {
      const size_t at = static_cast<size_t>(r * kCandidates + i);
      c.tokens[i] = columns[at];
      const float p = std::exp(values[at] - log_sums[static_cast<size_t>(r)]);
      c.probabilities[i] = columns[at] >= 0 && p == p ? p : 0;
    }
  }
}

void ModelDraft::expand(const TokenTree& tree, const std::vector<int>& nodes) {
  row_of_node_.resize(static_cast<size_t>(tree.size()), -1);
  std::vector<int32_t> tokens, parents;
  for (const int n : nodes) {
    const int up = tree.parents[static_cast<size_t>(n)];
    row_of_node_[static_cast<size_t>(n)] = static_cast<int>(row_token_.size());
    row_token_.push_back(tree.tokens[static_cast<size_t>(n)]);
    row_parent_.push_back(up > 0 ? row_of_node_[static_cast<size_t>(up)] : -1);
    tokens.push_back(row_token_.back()), parents.push_back(row_parent_.back());
  }
  const bool begun = row_token_.size() > nodes.size();
  pass_.forward({{.sequence = 0,
                  .tokens = tokens.data(),
                  .count = static_cast<int>(nodes.size()),
                  .parents = parents.data(),
                  .extend = begun,
                  .logits = Logits::all}});
  read_candidates(0, static_cast<int>(nodes.size()), nodes.data());
}

const ModelDraft::Candidates* ModelDraft::behind_node(int node) const {
  const auto it = candidates_.find(node);
  return it == candidates_.end() ? nullptr : &it->second;
}

// ------------------------------------------------------------------------------------------------------------

namespace {
constexpr int kShortest = 2, kLongest = 4;

uint64_t hash_of(const int32_t* tokens, int n) {
  uint64_t h = static_cast<uint64_t>(n);
  for (int i = 0; i < n; ++i)
    h = Rng::mix(h + 0x9e3779b97f4a7c15ull + static_cast<uint64_t>(static_cast<uint32_t>(tokens[i])));
  return h;
}
}  // namespace

void LookupDraft::learn(const std::vector<int32_t>& text) {
  if (learned_ > text.size()) {  // another text
    learned_ = 0;
    for (auto& table : last_) table.clear();
  }
  // A place counts once it is followed by something.
  for (; learned_ < text.size(); ++learned_)
    for (int n = kShortest; n <= kLongest; ++n)
      if (learned_ >= static_cast<size_t>(n))
        last_[n][hash_of(text.data() + learned_ - n, n)] = static_cast<int32_t>(learned_);
}

std::vector<int32_t> LookupDraft::continuation(const std::vector<int32_t>& text,
                                               const std::vector<int32_t>& path, int most) {
  learn(text);
  std::vector<int32_t> end(text.end() - static_cast<std::ptrdiff_t>(std::min<size_t>(text.size(), kLongest)),
                           text.end());
  end.insert(end.end(), path.begin(), path.end());
  for (int n = kLongest; n >= kShortest; --n) {
    if (static_cast<int>(end.size()) < n) continue;
    const int32_t* tail = end.data() + end.size() - n;
    const auto it = last_[n].find(hash_of(tail, n));
    if (it == last_[n].end()) continue;
    const size_t at = static_cast<size_t>(it->second);
    if (!std::equal(tail, tail + n, text.data() + at - n)) continue;
    std::vector<int32_t> out;
    for (size_t i = at; i < text.size() && static_cast<int>(out.size()) < most; ++i) out.push_back(text[i]);
    return out;
  }
  return {};
}

}  // namespace hedgerow
