// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"

namespace hedgerow {

void TokenTree::start(int32_t root) {
  for (auto* v : {&tokens, &parents, &depth, &rank}) v->clear();
  probability.clear(), reach.clear(), source.clear();
  tokens.push_back(root), parents.push_back(-1), depth.push_back(0), rank.push_back(0);
  probability.push_back(1), reach.push_back(1), source.push_back(DraftedBy::nobody);
}

int TokenTree::child(int parent, int32_t token) const {
  for (int i = parent + 1; i < size(); ++i)
    if (parents[static_cast<size_t>(i)] == parent && tokens[static_cast<size_t>(i)] == token) return i;
  return -1;
}

int TokenTree::add(int parent, int32_t token, float p, DraftedBy from) {
  if (const int there = child(parent, token); there >= 0) return there;
  if (size() >= kMostNodes) return -1;
  int siblings = 0;
  for (int i = parent + 1; i < size(); ++i) siblings += parents[static_cast<size_t>(i)] == parent;
  const size_t up = static_cast<size_t>(parent);
  tokens.push_back(token), parents.push_back(parent), depth.push_back(depth[up] + 1),
      rank.push_back(siblings);
  probability.push_back(p), reach.push_back(reach[up] * p), source.push_back(from);
  return size() - 1;
}

std::vector<int32_t> TokenTree::path_to(int node) const {
  std::vector<int32_t> path;
  for (; node > 0; node = parents[static_cast<size_t>(node)])
    path.push_back(tokens[static_cast<size_t>(node)]);
  std::reverse(path.begin(), path.end());
  return path;
}

int TreeShape::most_depth() const {
  if (kind == Kind::list) {
    size_t most = 0;
    for (const auto& p : paths) most = std::max(most, p.size());
    return static_cast<int>(most);
  }
  return depth;
}

namespace {

[[noreturn]] void wrong(const std::string& text) {
  throw Error(
      fmt::format("--tree: wanted auto, off, chain:K, full:DxB, best:N[:D] or list:PATH,PATH (at most {} "
                  "nodes), found '{}'",
                  kMostNodes - 1, printable(text)));
}

// Whole numbers with this character between them, at most `most` of them.
std::vector<int> numbers(const std::string& text, char between, size_t most, int low, int high,
                         const std::string& whole) {
  std::vector<int> out;
  const char *at = text.data(), *end = at + text.size();
  while (true) {
    int v = 0;
    const auto [next, error] = std::from_chars(at, end, v);
    if (error != std::errc() || v < low || v > high || out.size() == most) wrong(whole);
    out.push_back(v);
    if (next == end) return out;
    if (*next != between) wrong(whole);
    at = next + 1;
  }
}

}  // namespace

TreeShape parse_tree(const std::string& text) {
  TreeShape s;
  if (text == "auto") return s;
  if (text == "off") {
    s.kind = TreeShape::Kind::off;
    return s;
  }
  const size_t colon = text.find(':');
  if (colon == std::string::npos) wrong(text);
  const std::string kind = text.substr(0, colon), rest = text.substr(colon + 1);
  if (kind == "chain") {
    s.kind = TreeShape::Kind::chain;
    s.depth = numbers(rest, ':', 1, 1, kMostNodes - 1, text)[0];
  } else if (kind == "full") {
    s.kind = TreeShape::Kind::full;
    const std::vector<int> n = numbers(rest, 'x', 2, 1, kMostNodes - 1, text);
    if (n.size() != 2) wrong(text);
    s.depth = n[0], s.branch = n[1];
    int nodes = 0, level = 1;
    for (int d = 0; d < s.depth; ++d) {
      level *= s.branch, nodes += level;
      if (nodes >= kMostNodes) wrong(text);
    }
  } else if (kind == "best") {
    s.kind = TreeShape::Kind::best;
    const std::vector<int> n = numbers(rest, ':', 2, 1, kMostNodes - 1, text);
    s.nodes = n[0], s.depth = n.size() > 1 ? n[1] : 8;
    if (s.depth > 32) wrong(text);
  } else if (kind == "list") {
    s.kind = TreeShape::Kind::list;
    for (size_t at = 0; at <= rest.size();) {
      const size_t comma = std::min(rest.find(',', at), rest.size());
      s.paths.push_back(numbers(rest.substr(at, comma - at), '.', 32, 0, 15, text));
      at = comma + 1;
    }
    std::sort(s.paths.begin(), s.paths.end(), [](const auto& a, const auto& b) {
      return a.size() != b.size() ? a.size() < b.size() : a < b;
    });
    s.paths.erase(std::unique(s.paths.begin(), s.paths.end()), s.paths.end());
    if (s.paths.size() >= kMostNodes) wrong(text);
    for (const auto& p : s.paths)  // every path's parent is there
      if (p.size() > 1 && std::find(s.paths.begin(), s.paths.end(),
                                    std::vector<int>(p.begin(), p.end() - 1)) == s.paths.end())
        wrong(text);
  } else {
    wrong(text);
  }
  return s;
}

std::string text_of(const TreeShape& s) {
  switch (s.kind) {
    case TreeShape::Kind::automatic:
      return "auto";
    case TreeShape::Kind::off:
      return "off";
    case TreeShape::Kind::chain:
      return fmt::format("chain:{}", s.depth);
    case TreeShape::Kind::full:
      return fmt::format("full:{}x{}", s.depth, s.branch);
    case TreeShape::Kind::best:
      return fmt::format("best:{}:{}", s.nodes, s.depth);
    case TreeShape::Kind::list:
      break;
  }
  std::string text = "list:";
  for (size_t i = 0; i < s.paths.size(); ++i) {
    text += i ? "," : "";
    for (size_t j = 0; j < s.paths[i].size(); ++j) text += fmt::format("{}{}", j ? "." : "", s.paths[i][j]);
  }
  return text;
}

}  // namespace hedgerow
