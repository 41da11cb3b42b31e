// SPDX-License-Identifier: Apache-2.0
// Attention over a cache: against its definition, and what a drafted tree must keep to the bit: a row of a
// tree has the values of its path decoded one by one, whatever else is in the tree, the cache or the pass.
#include "tests/ops/cache_problem.h"

namespace hedgerow::test {
namespace {

class Cache : public OpTest {
 protected:
  void SetUp() override {
    OpTest::SetUp();
    if (IsSkipped()) return;
    HEDGEROW_NEEDS(append_kv);
    HEDGEROW_NEEDS(cached_attention);
    HEDGEROW_NEEDS(compact_kv);
  }
};
HEDGEROW_FOR_EVERY_BACKEND(Cache);

using Entry = CacheProblem::Entry;

std::vector<Heads> all_heads() {
  std::vector<Heads> all;
  for (Dtype d : {Dtype::f16, Dtype::f32})
    for (int dim : {8, 32, 64, 80, 128})
      all.push_back({dim == 64 ? 3 : 4, dim == 64 ? 3 : dim == 80 ? 1 : 2, dim, d});
  return all;
}
// The context of a sequence, appended in one pass.
std::vector<Token> tokens(int count, uint64_t key, int position = 0) {
  std::vector<Token> t;
  for (int i = 0; i < count; ++i) t.push_back({key * 1000 + static_cast<uint64_t>(i), position + i});
  return t;
}
// Rows of a tree behind `filled` keys.
Entry tree_entry(const Tree& t, int sequence, int filled, uint64_t key) {
  Entry e{.sequence = sequence, .length = filled};
  for (size_t i = 0; i < t.parents.size(); ++i)
    e.tokens.push_back({key * 1000 + i, filled + __builtin_popcountll(t.words[i]) - 1});
  e.words = t.words;
  return e;
}
std::vector<double> row_of(const std::vector<double>& rows, size_t row, const Heads& h) {
  const size_t size = static_cast<size_t>(h.heads * h.head_dim);
  return {rows.begin() + static_cast<int64_t>(row * size),
          rows.begin() + static_cast<int64_t>((row + 1) * size)};
}
// The rows of a path through a tree, one pass each, in a cache of its own.
std::vector<std::vector<double>> decoded(const Heads& h, const std::vector<Token>& context, const Entry& tree,
                                         const std::vector<int>& path) {
  CacheProblem p(h, 1, 512);
  if (!context.empty()) p.pass({{.sequence = 0, .tokens = context}});
  std::vector<std::vector<double>> rows;
  int filled = static_cast<int>(context.size());
  for (int row : path)
    rows.push_back(
        p.pass({{.sequence = 0, .length = filled++, .tokens = {tree.tokens[static_cast<size_t>(row)]}}})
            .rows[0]);
  return rows;
}

// A score is off by a chain over head_dim of terms |q k|, each weight by that and its exponent's rounding,
// an output by a chain over the keys: with |q|, |k|, |v| below 5 and normal, sums of |q k| stay below
// 5 head_dim / sqrt(head_dim).
void expect_defined(const CacheProblem::Result& r, const Heads& h, int keys) {
  const double score = kUnit * (h.head_dim + 8.0) * 5 * std::sqrt(h.head_dim);
  for (size_t e = 0; e < r.want.size(); ++e)
    EXPECT_TRUE(near(
        r.rows[e], r.want[e],
        bounds(r.want[e],
               [&](double w) { return 4 * (2 * score + kUnit * (16 + 2.0 * keys)) + kUnit * std::fabs(w); }),
        int64_t{h.heads} * h.head_dim));
}

TEST_P(Cache, attention_agrees_with_its_definition_at_every_edge_of_a_context) {
  for (const Heads& h : all_heads())
    for (int filled : {0, 1, 15, 16, 17, 255, 256, 257}) {
      if (h.head_dim != 32 && h.head_dim != 80 && filled != 17 && filled != 257) continue;
      SCOPED_TRACE(testing::Message() << h << ", " << filled << " keys");
      CacheProblem p(h, 2, 288);
      if (filled)
        expect_defined(p.pass({{.sequence = 1, .tokens = tokens(filled, 1)}}, filled < 20), h, filled);
      const Tree t = Tree::random(19, static_cast<uint64_t>(filled));
      expect_defined(p.pass({tree_entry(t, 1, filled, 2)}, true), h, filled + 19);
      expect_defined(p.pass({{.sequence = 1, .length = filled, .tokens = tokens(5, 3, filled)}}, true), h,
                     filled + 5);
      if (filled == 17) p.expect_slots(1, 0, filled + 5);
    }
}

TEST_P(Cache, a_row_of_a_tree_has_the_bits_of_its_path_decoded_one_by_one) {
  for (const Heads& h : all_heads())
    for (int filled : {0, 16, 37}) {
      SCOPED_TRACE(testing::Message() << h << ", " << filled << " keys");
      const auto context = tokens(filled, 1);
      const Tree t = Tree::random(filled == 37 ? 64 : 21, 5);
      const Entry e = tree_entry(t, 0, filled, 2);
      CacheProblem p(h, 1, 128);
      if (filled) p.pass({{.sequence = 0, .tokens = context}});
      const auto tree = p.pass({e}).rows[0];
      for (size_t row : {t.parents.size() / 3, t.parents.size() - 2, t.parents.size() - 1}) {
        const auto path = t.path_to(static_cast<int>(row));
        const auto plain = decoded(h, context, e, path);
        for (size_t i = 0; i < path.size(); ++i)
          EXPECT_EQ(row_of(tree, static_cast<size_t>(path[i]), h), plain[i]) << "row " << path[i];
      }
    }
}

TEST_P(Cache, prompts_in_one_pass_or_several_leave_the_same_bits) {
  for (const Heads& h : all_heads()) {
    SCOPED_TRACE(testing::Message() << h);
    const auto all = tokens(70, 1);
    CacheProblem once(h, 1, 128), parts(h, 1, 128);
    const auto whole_pass = once.pass({{.sequence = 0, .tokens = all}}).rows[0];
    std::vector<double> rows;
    for (int begin : {0, 1, 18, 33}) {
      const int end = begin == 0 ? 1 : begin == 1 ? 18 : begin == 18 ? 33 : 70;
      const auto some =
          parts.pass({{.sequence = 0, .length = begin, .tokens = {all.begin() + begin, all.begin() + end}}});
      rows.insert(rows.end(), some.rows[0].begin(), some.rows[0].end());
    }
    EXPECT_EQ(rows, whole_pass);
  }
}

// The same tree grown in two passes: the second sees those pending.
TEST_P(Cache, a_tree_begun_earlier_goes_on_with_the_same_bits) {
  for (const Heads& h : all_heads()) {
    SCOPED_TRACE(testing::Message() << h);
    constexpr int kFilled = 21, kBegun = 13;
    const Entry e = tree_entry(Tree::random(40, 7), 0, kFilled, 2);
    CacheProblem once(h, 1, 128), twice(h, 1, 128);
    for (CacheProblem* p : {&once, &twice}) p->pass({{.sequence = 0, .tokens = tokens(kFilled, 1)}});
    const auto together = once.pass({e}).rows[0];
    Entry first = e, second = e;
    first.tokens.resize(kBegun), first.words.resize(kBegun);
    second.tokens.erase(second.tokens.begin(), second.tokens.begin() + kBegun);
    second.words.erase(second.words.begin(), second.words.begin() + kBegun);
    second.pending = kBegun;
    auto rows = twice.pass({first}).rows[0];
    const auto later = twice.pass({second}, true);
    expect_defined(later, h, kFilled + 40);
    rows.insert(rows.end(), later.rows[0].begin(), later.rows[0].end());
    EXPECT_EQ(rows, together);
  }
}

// Keys behind those filled, and rows of the tree off the path, hold no numbers.
TEST_P(Cache, what_a_row_does_not_see_changes_nothing) {
  for (const Heads& h : all_heads()) {
    SCOPED_TRACE(testing::Message() << h);
    constexpr int kFilled = 18;
    const Tree t = Tree::random(17, 9);
    const Entry e = tree_entry(t, 0, kFilled, 2);
    CacheProblem clean(h, 2, 64), dirty(h, 2, 64);
    for (CacheProblem* p : {&clean, &dirty}) p->pass({{.sequence = 0, .tokens = tokens(kFilled, 1)}});
    const auto rows = clean.pass({e}).rows[0];
    // All rows are there with other values, then only the path's are written again.
    Entry others = tree_entry(t, 0, kFilled, 77);
    dirty.pass({others});
    dirty.poison(0, kFilled);
    const auto path = t.path_to(16);
    for (int row : path) {
      Entry one{.sequence = 0,
                .length = kFilled,
                .pending = row,
                .tokens = {e.tokens[static_cast<size_t>(row)]},
                .words = {t.words[static_cast<size_t>(row)]}};
      EXPECT_EQ(dirty.pass({one}).rows[0], row_of(rows, static_cast<size_t>(row), h)) << row;
    }
  }
}

TEST_P(Cache, siblings_may_stand_in_any_order) {
  for (const Heads& h : all_heads()) {
    SCOPED_TRACE(testing::Message() << h);
    Tree a, b;  // a root, three children, under each another; the children in two orders
    for (int parent : {-1, 0, 0, 0, 1, 2, 3}) a.add(parent), b.add(parent);
    const std::vector<size_t> to = {0, 3, 1, 2, 6, 4, 5};  // row i of a is row to[i] of b
    const Entry e = tree_entry(a, 0, 20, 2);
    Entry f = tree_entry(b, 0, 20, 2);
    for (size_t i = 0; i < to.size(); ++i) f.tokens[to[i]] = e.tokens[i];
    CacheProblem p(h, 1, 64), q(h, 1, 64);
    for (CacheProblem* c : {&p, &q}) c->pass({{.sequence = 0, .tokens = tokens(20, 1)}});
    const auto one = p.pass({e}).rows[0], other = q.pass({f}).rows[0];
    for (size_t i = 0; i < to.size(); ++i) EXPECT_EQ(row_of(one, i, h), row_of(other, to[i], h)) << i;
  }
}

TEST_P(Cache, sequences_of_a_batch_keep_their_bits_in_any_order_and_on_any_threads) {
  for (const Heads& h : all_heads()) {
    SCOPED_TRACE(testing::Message() << h);
    std::vector<CacheProblem::Result> results;
    for (int way = 0; way < 4; ++way) {
      CacheProblem p(h, 3, 320);
      const int threads = 1 + way % 3;
      const Entry a{.sequence = 2, .tokens = tokens(257, 1)}, b{.sequence = 0, .tokens = tokens(40, 2)};
      const Entry s = tree_entry(Tree::random(33, 3), 2, 257, 3),
                  t = tree_entry(Tree::random(9, 4), 0, 40, 4);
      CacheProblem::Result r;
      if (way == 0) {
        p.pass({a}), p.pass({b});
        r = p.pass({s});
        r.rows.push_back(p.pass({t}).rows[0]);
      } else if (way == 1) {
        p.pass({a, b}, false, threads), r = p.pass({s, t}, true, threads);
        expect_defined(r, h, 290);
      } else {
        p.pass({b, a}, false, threads), r = p.pass({t, s}, true, threads);
        std::swap(r.rows[0], r.rows[1]);
      }
      results.push_back(r);
    }
    for (const auto& r : results) EXPECT_EQ(r.rows, results[0].rows);
  }
}

TEST_P(Cache, a_closed_up_cache_holds_what_plain_decoding_leaves) {
  for (const Heads& h : all_heads())
    for (int filled : {0, 14, 33}) {
      SCOPED_TRACE(testing::Message() << h << ", " << filled << " keys");
      const Tree t = Tree::random(30, 13);
      const auto path = t.path_to(29);
      const int end = filled + static_cast<int>(path.size());
      const Entry e = tree_entry(t, 1, filled, 2), other = tree_entry(t, 0, filled, 3);
      CacheProblem p(h, 2, 128), plain(h, 2, 128);
      for (CacheProblem* c : {&p, &plain})
        if (filled)
          c->pass(
              {{.sequence = 1, .tokens = tokens(filled, 1)}, {.sequence = 0, .tokens = tokens(filled, 4)}});
      p.pass({e, other});
      p.compact({1, 0}, {filled, filled}, {path, {0}});
      for (size_t i = 0; i < path.size(); ++i)
        plain.pass({{.sequence = 1,
                     .length = filled + static_cast<int>(i),
                     .tokens = {e.tokens[static_cast<size_t>(path[i])]}}});
      p.expect_slots(1, 0, end), p.expect_slots(0, 0, filled + 1);
      for (int slot = 0; slot < end && !on_device(); ++slot)
        for (int c = 0; c < p.slot_size(); ++c) {
          ASSERT_EQ(p.stored_k(1, slot, c), plain.stored_k(1, slot, c));
          ASSERT_EQ(p.stored_v(1, slot, c), plain.stored_v(1, slot, c));
        }
      const Entry next{.sequence = 1, .length = end, .tokens = tokens(3, 6, end)};
      EXPECT_EQ(p.pass({next}).rows[0], plain.pass({next}).rows[0]);
    }
}

TEST_P(Cache, what_does_not_fit_is_refused_by_name) {
  if (on_device()) GTEST_SKIP() << "the host does not see what is on a device";
  const auto refused = [](const std::string& field, const Entry& e, const Heads& h = {}, int slots = 32) {
    CacheProblem p(h, 2, slots);
    try {
      p.pass({e});
      ADD_FAILURE() << field << " was taken";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(field), std::string::npos) << error.what();
    }
  };
  const auto three = tokens(3, 1);
  refused("append_kv: length", {.length = 30, .tokens = three});
  refused("append_kv: length", {.length = 20, .pending = 10, .tokens = three});
  refused("append_kv: length", {.length = -1, .tokens = three});
  refused("append_kv: sequence", {.sequence = 2, .tokens = three});
  refused("append_kv: sequence", {.sequence = -1, .tokens = three});
  refused("append_kv: positions", {.tokens = tokens(1, 1, 700)});
  refused("append_kv: cache", {.tokens = three}, {}, 24);
  refused("append_kv: head_dim", {.tokens = three}, {.head_dim = 7});
  refused("cached_attention: heads", {.tokens = three}, {.heads = 3});
  refused("cached_attention: ancestors", {.tokens = three, .words = {1, 3, 8}});
  refused("cached_attention: ancestors", {.tokens = three, .words = {1, 3, 3}});
  refused("cached_attention: rows", {.tokens = tokens(65, 1), .words = std::vector<uint64_t>(65, 1)}, {}, 80);
  for (const std::vector<int>& path : {std::vector<int>{0, 2, 1}, {0, 0}, {-1}}) {
    CacheProblem p({}, 1, 32);
    p.pass({{.length = 4, .tokens = three}});
    try {
      p.compact({0}, {4}, {path});
      ADD_FAILURE() << "a path was taken";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("compact_kv: path"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace hedgerow::test
