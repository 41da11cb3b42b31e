// SPDX-License-Identifier: Apache-2.0
// The best columns of a row, the logarithm of its sum, and the accepted path of a tree, against their
// definitions.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/ops/claims.h"

namespace hedgerow::test {
namespace {

class Text : public OpTest {};
HEDGEROW_FOR_EVERY_BACKEND(Text);

// How many values coincide: none, most, or all that are numbers; some are none.
enum class Rows { apart, ties, no_numbers };

void fill(Array& x, int live, Rows kind) {
  const int64_t columns = x.cols();
  for (int64_t i = 0; i < live * columns; ++i) {
    const double v = 4 * Rng{6, static_cast<uint64_t>(columns)}.normal(static_cast<uint64_t>(i));
    const int chance = static_cast<int>(Rng{6, 7}.bits(static_cast<uint64_t>(i)) % 5);
    double y = kind == Rows::apart ? v : std::floor(v / 4);
    if (kind == Rows::no_numbers && chance == 0) y = kNan;
    if (kind == Rows::no_numbers && i / columns == 2) y = kNan;
    if (kind == Rows::no_numbers && chance == 1 && i / columns == 1) y = -kInf;
    x.set(i, y);
  }
}

void expect_best(int columns, int count, Rows kind) {
  SCOPED_TRACE(std::to_string(count) + " of " + std::to_string(columns) + ", kind " +
               std::to_string(static_cast<int>(kind)));
  Batch b({2, 0, 3});
  Array x(Dtype::f32, b.capacity(), columns, 5), best(Dtype::i32, b.capacity(), count),
      values(Dtype::f32, b.capacity(), count), sums(Dtype::f32, b.capacity());
  fill(x, b.rows(), kind);
  const auto args = [&](const Part& p) {
    return TopColumnsArgs{.x = x.matrix(p),
                          .count = count,
                          .columns = best.matrix(p),
                          .values = values.matrix(p),
                          .log_sums = sums.vector(p),
                          .rows = p.rows};
  };
  const auto want = reference::top_columns(args(b.all(Side::host)));
  // A term is off by its exponent's rounding, (most - x) units, and the sum by its steps; a logarithm turns
  // what is relative into what is absolute.
  std::vector<double> off;
  for (const double v : want.log_sums)
    off.push_back(std::isfinite(v) ? kUnit * (sum_steps(columns) + 64 + 2 * std::fabs(v)) : 0);
  expect_claims(b, {{&best, doubles(want.columns)}, {&values, want.values}, {&sums, want.log_sums, off}},
                [&](Context& on, const Part& p) { top_columns(on, args(p)); });
}

TEST_P(Text, the_best_columns_come_in_order_and_the_lower_of_equals_first) {
  HEDGEROW_NEEDS(top_columns);
  for (Rows kind : {Rows::apart, Rows::ties, Rows::no_numbers})
    for (int columns : {1, 2, 7, 16, 63, 64, 65, 129, 257, 1000, 4099})
      for (int count : {1, 2, 5, 64, 255, 256}) expect_best(columns, count, kind);
}

TEST_P(Text, a_row_in_ascending_or_descending_order_is_read_to_its_end) {
  HEDGEROW_NEEDS(top_columns);
  for (int sign : {-1, 1})
    for (int count : {1, 3, 200}) {
      constexpr int kColumns = 1037;
      Batch b({1});
      Array x(Dtype::f32, b.capacity(), kColumns), best(Dtype::i32, b.capacity(), count);
      for (int c = 0; c < kColumns; ++c) x.set(0, c, sign * c);
      std::vector<double> want;
      for (int i = 0; i < count; ++i) want.push_back(sign > 0 ? kColumns - 1 - i : i);
      expect_claims(b, {{&best, want}}, [&](Context& on, const Part& p) {
        top_columns(on, {.x = x.matrix(p), .count = count, .columns = best.matrix(p), .rows = p.rows});
      });
    }
}

TEST_P(Text, sums_of_exponentials_neither_overflow_nor_vanish) {
  HEDGEROW_NEEDS(top_columns);
  for (double shift : {-1e30, -1000.0, 0.0, 1000.0, 1e30})
    for (int columns : {1, 40, 333}) {
      Batch b({3});
      Array x(Dtype::f32, b.capacity(), columns), best(Dtype::i32, b.capacity()),
          sums(Dtype::f32, b.capacity());
      for (int c = 0; c < columns; ++c)
        x.set(0, c, shift), x.set(1, c, c ? -kInf : shift), x.set(2, c, -kInf);
      std::vector<double> want, off;
      for (int r = 0; r < 2; ++r) {
        const double at = static_cast<float>(shift);
        want.push_back(at + (r ? 0 : std::log(columns)));
        off.push_back(kUnit * (std::fabs(want.back()) + sum_steps(columns) + 64));
      }
      want.push_back(-kInf), off.push_back(0);
      expect_claims(b, {{&sums, want, off}}, [&](Context& on, const Part& p) {
        top_columns(
            on, {.x = x.matrix(p), .columns = best.matrix(p), .log_sums = sums.vector(p), .rows = p.rows});
      });
    }
}

// A tree of chance, and what a model says behind each of its rows: mostly a token of one of its children.
struct Trees {
  Batch& b;
  Array parents, tokens, choice, path, lengths;
  Trees(Batch& batch, uint64_t key, int vocab)
      : b(batch),
        parents(Dtype::i32, b.capacity()),
        tokens(Dtype::i32, b.capacity()),
        choice(Dtype::i32, b.capacity()),
        path(Dtype::i32, b.capacity()),
        lengths(Dtype::i32, b.size()) {
    const Rng rng{8, key};
    uint64_t draw = 0;
    const auto below = [&](int n) { return static_cast<int>(rng.bits(draw++) % static_cast<uint64_t>(n)); };
    for (int s = 0; s < b.size(); ++s)
      for (int i = 0; i < b.length(s); ++i) {
        const int row = b.begin(s) + i, near = std::min(i, 3);
        parents.set(row, i == 0 ? -1 : below(2) ? below(i) : i - 1 - below(near));
        tokens.set(row, below(vocab)), choice.set(row, below(vocab));
      }
  }
  LongestPathArgs args(const Part& p) {
    Part trees = p;
    trees.first = std::max(p.sequence, 0);
    return {.parents = parents.vector(p),
            .tokens = tokens.vector(p),
            .choice = choice.vector(p),
            .path = path.vector(p),
            .lengths = lengths.vector(trees),
            .rows = p.rows};
  }
};

// Of all rows that acceptance reaches, by trying each row's whole way up; where two children have one token
// the lower row counts.
std::vector<int> accepted(Trees& t, int s) {
  std::vector<int> best;
  for (int i = 0; i < t.b.length(s); ++i) {
    std::vector<int> way{i};
    bool right = true;
    for (int at = i; at > 0; at = way.front()) {
      const auto of = [&](Array& a, int row) { return static_cast<int>(a.get(t.b.begin(s) + row)); };
      const int parent = of(t.parents, at);
      right &= of(t.tokens, at) == of(t.choice, parent);
      for (int j = parent + 1; j < at; ++j)
        right &= of(t.parents, j) != parent || of(t.tokens, j) != of(t.tokens, at);
      way.insert(way.begin(), parent);
    }
    if (right && way.size() > best.size()) best = way;
  }
  return best;
}

TEST_P(Text, the_accepted_path_is_the_longest_that_the_choices_allow) {
  HEDGEROW_NEEDS(longest_path);
  size_t longest = 0;
  for (uint64_t key = 0; key < 200; ++key) {
    Batch b({1, 20, 0, 64, 5});
    Trees t(b, key, key % 2 ? 2 : 3);
    const auto paths = reference::longest_path(t.args(b.all(Side::host))).paths;
    std::vector<double> lengths;
    run([&](Context& on) { longest_path(on, t.args(b.all(Side::backend))); });
    t.path.pull(), t.lengths.pull();
    for (int s = 0; s < b.size(); ++s) {
      std::vector<int> got;
      for (int i = 0; i < static_cast<int>(t.lengths.get(s)); ++i)
        got.push_back(static_cast<int>(t.path.get(b.begin(s) + i)));
      EXPECT_EQ(got, accepted(t, s)) << "tree " << key << ", " << s;
      EXPECT_EQ(got, paths[static_cast<size_t>(s)]);
      longest = std::max(longest, got.size());
    }
    EXPECT_TRUE(t.lengths.untouched_behind(b.size()));
  }
  EXPECT_GE(longest, 6u);
}

TEST_P(Text, wrong_counts_and_shapes_are_refused_by_name) {
  HEDGEROW_NEEDS(top_columns);
  Batch b({2});
  Array x(Dtype::f32, b.capacity(), 9), best(Dtype::i32, b.capacity(), 3), sums(Dtype::f32, 1);
  const auto refused = [&](const std::string& field, auto&& change) {
    const Part p = b.all(Side::backend);
    TopColumnsArgs a{.x = x.matrix(p), .count = 3, .columns = best.matrix(p), .rows = p.rows};
    change(a);
    try {
      run([&](Context& on) { top_columns(on, a); });
      ADD_FAILURE() << field << " was taken";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("top_columns: " + field), std::string::npos) << e.what();
    }
  };
  refused("count", [](TopColumnsArgs& a) { a.count = 0; });
  refused("count", [](TopColumnsArgs& a) { a.count = 257; });
  refused("columns", [](TopColumnsArgs& a) { a.count = 4; });
  refused("values", [](TopColumnsArgs& a) { a.values = a.x; });
  refused("log_sums", [&](TopColumnsArgs& a) { a.log_sums = sums.vector(b.all(Side::backend)); });
  refused("x", [](TopColumnsArgs& a) { a.x.dtype = Dtype::f16; });
}

}  // namespace
}  // namespace hedgerow::test
