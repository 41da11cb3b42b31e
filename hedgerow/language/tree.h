// SPDX-License-Identifier: Apache-2.0
// Trees of drafted tokens as parent arrays: node 0 is the last token of the text, the others were drafted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hedgerow {

inline constexpr int kMostNodes = 64;  // with the root

enum class DraftedBy : uint8_t { nobody, model, lookup };  // nobody: the root

struct TokenTree {
  std::vector<int32_t> tokens, parents, depth;  // parents[0] = -1
  std::vector<float> probability;               // the draft's, of the token behind its parent
  std::vector<float> reach;                     // of all tokens from the root to this one; root 1
  std::vector<int32_t> rank;                    // among its siblings, from 0: by falling probability
  std::vector<DraftedBy> source;

  int size() const { return static_cast<int>(tokens.size()); }
  void start(int32_t root);
  // The child of `parent` that holds this token, which is added if there is none; -1 where the tree is full.
  int add(int parent, int32_t token, float p, DraftedBy from);
  int child(int parent, int32_t token) const;    // -1: none
  std::vector<int32_t> path_to(int node) const;  // tokens behind the root's
};

// What shape to draft.
struct TreeShape {
  enum class Kind : uint8_t { automatic, chain, full, best, list, off } kind = Kind::automatic;
  int depth = 0;                             // chain:K, full:DxB (D), best:N:D
  int branch = 1;                            // full:DxB (B)
  int nodes = 0;                             // best:N, without the root
  std::vector<std::vector<int>> paths = {};  // list: rank paths, as Medusa's choices

  int most_depth() const;
};
// "auto", "off", "chain:4", "full:3x2", "best:15", "best:15:4", "list:0,1,0.0,0.1". Error naming what was
// wanted.
TreeShape parse_tree(const std::string& text);
std::string text_of(const TreeShape& shape);

}  // namespace hedgerow
