// SPDX-License-Identifier: Apache-2.0
// What drafts: a smaller model, the text itself (prompt lookup), or both into one tree.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "hedgerow/language/llama_pass.h"
#include "hedgerow/language/tree.h"

namespace hedgerow {

// A small model that follows the text and grows trees behind it, level by level: a pass a level.
class ModelDraft {
 public:
  // Works on sequence 0 of `pass`, which it has to itself.
  explicit ModelDraft(LlamaPass& pass);

  // Brings the cache up to the whole text and offers candidates behind its last token: the root's. What the
  // text took from the tree drafted last is kept as it lies.
  void follow(const std::vector<int32_t>& text);
  // Tokens of the text that its cache does not hold yet.
  int behind(const std::vector<int32_t>& text) const {
    return static_cast<int>(text.size()) - static_cast<int>(known_.size());
  }
  // Offers candidates behind these nodes of the tree (node numbers of `tree`), in one pass.
  void expand(const TokenTree& tree, const std::vector<int>& nodes);

  // The best tokens behind a node and their probabilities, the likeliest first; null: not expanded.
  static constexpr int kCandidates = 8;
  struct Candidates {
    int32_t tokens[kCandidates];
    float probabilities[kCandidates];
  };
  const Candidates* behind_node(int node) const;

  LlamaPass& pass() { return pass_; }

 private:
  void read_candidates(int first, int rows, const int* nodes);

  LlamaPass& pass_;
  std::vector<int32_t> known_;                   // text in the cache
  std::vector<int32_t> row_token_, row_parent_;  // rows of the open tree behind it
  std::vector<int> row_of_node_;                 // by node of the tree: its row; -1
  std::unordered_map<int, Candidates> candidates_;
};

// n-grams of the text so far (Saxena's prompt lookup): what followed the last words when they stood there
// before.
class LookupDraft {
 public:
  // Continuation of text + path: at most `most` tokens; the longest match of 4 to 2 tokens, the latest place.
  std::vector<int32_t> continuation(const std::vector<int32_t>& text, const std::vector<int32_t>& path,
                                    int most);

 private:
  void learn(const std::vector<int32_t>& text);
  std::unordered_map<uint64_t, int32_t> last_[5];  // by length: hash of the n-gram -> where it was followed
  size_t learned_ = 0;
};

}  // namespace hedgerow
