// SPDX-License-Identifier: Apache-2.0
// Merging neighbours, best pair first and leftmost among equals, in n log n: what both kinds of BPE do.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

namespace hedgerow {

struct Merged {
  double cost;  // the least goes first
  int32_t id;   // what the pair becomes; -1: not a pair that merges
};

// `symbols` is what text begins as; `pair(a, b)` says what two neighbours become.
template <class Pair>
void merge_all(std::vector<int32_t>& symbols, Pair&& pair) {
  const int n = static_cast<int>(symbols.size());
  if (n < 2) return;
  std::vector<int> next(symbols.size()), before(symbols.size());
  for (int i = 0; i < n; ++i)
    next[static_cast<size_t>(i)] = i + 1 < n ? i + 1 : -1, before[static_cast<size_t>(i)] = i - 1;
  struct Offer {
    double cost;
    int at, right;
    int32_t a, b, id;
    bool operator<(const Offer& o) const { return cost != o.cost ? cost > o.cost : at > o.at; }
  };
  std::priority_queue<Offer> offers;
  const auto offer = [&](int at) {
    const int right = at < 0 ? -1 : next[static_cast<size_t>(at)];
    if (right < 0) return;
    const int32_t a = symbols[static_cast<size_t>(at)], b = symbols[static_cast<size_t>(right)];
    const Merged m = pair(a, b);
    if (m.id >= 0) offers.push({m.cost, at, right, a, b, m.id});
  };
  for (int i = 0; i + 1 < n; ++i) offer(i);
  while (!offers.empty()) {
    const Offer o = offers.top();
    offers.pop();
    const size_t at = static_cast<size_t>(o.at), right = static_cast<size_t>(o.right);
    if (symbols[at] != o.a || next[at] != o.right || symbols[right] != o.b) continue;  // merged meanwhile
    symbols[at] = o.id, symbols[right] = -1;
    next[at] = next[right];
    if (next[at] >= 0) before[static_cast<size_t>(next[at])] = o.at;
    offer(before[at]);
    offer(o.at);
  }
  size_t kept = 0;
  for (const int32_t s : symbols)
    if (s != -1) symbols[kept++] = s;
  symbols.resize(kept);
}

}  // namespace hedgerow
