// SPDX-License-Identifier: Apache-2.0
// Ops that make one row of many: matching and merging, the fused token, the mean of a sequence.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/ops/claims.h"

namespace hedgerow::test {
namespace {

class Merge : public OpTest {};
HEDGEROW_FOR_EVERY_BACKEND(Merge);

template <class F>
void over_widths(std::initializer_list<int> dims, F&& f) {
  for (const auto& lengths : awkward_batches())
    for (int dim : dims) {
      Batch b(lengths);
      f(b, dim);
    }
}

// Directions, roles and what was found.
struct Matching {
  Array unit, role, best, similarity;
  Matching(const Batch& b, int dim)
      : unit(Dtype::f32, b.capacity(), dim),
        role(Dtype::u8, b.capacity()),
        best(Dtype::i32, b.capacity()),
        similarity(Dtype::f32, b.capacity()) {
    unit.normals(1, b.rows());
    for (int i = 0; i < b.size(); ++i)
      for (int j = 0; j < b.length(i); ++j)
        role.set(b.begin(i) + j, j == 0 || j % 7 == 6 ? 0 : j % 2 ? 2 : 1);
  }
  MatchArgs args(const Part& p) {
    return {.directions = unit.matrix(p),
            .role = role.vector(p),
            .rows = p.rows,
            .best = best.vector(p),
            .similarity = similarity.vector(p)};
  }
};

// Either the same row, or one whose dot product is as near as rounding.
TEST_P(Merge, match_finds_the_most_similar_alone_and_on_any_number_of_threads) {
  over_widths({1, 17, 64, 100, 768}, [](Batch& b, int dim) {
    Matching m(b, dim);
    const Size size{.max_len = b.longest(), .heads = (dim + 31) / 32};
    const reference::Matched want = reference::match(m.args(b.all(Side::host)));
    const auto match_on = [&](const Part& p, int threads) {
      run([&](Context& on) { match(on, m.args(p)); }, threads, size);
      m.best.pull(), m.similarity.pull();
    };
    match_on(b.all(Side::backend), 1);
    const std::vector<double> best = m.best.values(b.rows()), similarity = m.similarity.values(b.rows());
    const std::vector<uint8_t> bits = m.similarity.bytes();
    EXPECT_TRUE(m.best.untouched_behind(b.rows()) && m.similarity.untouched_behind(b.rows()));
    for (int i = 0; i < b.rows(); ++i) {
      const size_t n = static_cast<size_t>(i);
      EXPECT_EQ(best[n] < 0, want.best[n] < 0) << i;
      if (want.best[n] < 0) continue;
      double sum = 0, dot = 0;
      for (int c = 0; c < dim; ++c) {
        const double p = m.unit.value(i, c) * m.unit.value(static_cast<int64_t>(best[n]), c);
        dot += p, sum += std::fabs(p);
      }
      EXPECT_NEAR(similarity[n], dot, (dim + 1) * kUnit * sum);
      EXPECT_GE(dot,
                want.similarity[n] - 2 * (dim + 1) * kUnit * (sum + std::fabs(want.similarity[n]) + dim));
    }
    for (int threads : {2, 3}) {
      m.best.restore(), m.similarity.restore();
      match_on(b.all(Side::backend), threads);
      EXPECT_EQ(m.best.values(b.rows()), best);
      EXPECT_TRUE(m.similarity.bytes() == bits);
    }
    for (int s = b.size() - 1; s >= 0; --s) {
      match_on(b.alone(Side::backend, s), 1);
      for (int i = b.begin(s); i < b.begin(s) + b.length(s); ++i)
        if (const double found = best[static_cast<size_t>(i)]; found >= 0) {
          EXPECT_EQ(m.best.get(i) + b.begin(s), found);
        }
      EXPECT_TRUE(m.similarity.bytes() == bits);
    }
  });
}

TEST_P(Merge, ties_go_to_the_lower_row_and_nan_is_never_best) {
  constexpr int kRows = 80, kDim = 3;
  Batch b({kRows});
  Matching m(b, kDim);
  for (int i = 0; i < kRows; ++i) {
    m.role.set(i, i % 2 ? 2 : 1);
    for (int c = 0; c < kDim; ++c) m.unit.set(i, c, 1);
  }
  m.unit.set(1, 0, kNan);  // the first target
  m.unit.set(4, 0, kNan);  // a source: every product is NaN
  const auto found = [&] {
    const std::vector<double> want = doubles(reference::match(m.args(b.all(Side::host))).best);
    run([&](Context& on) { match(on, m.args(b.all(Side::backend))); }, 1, {.max_len = kRows});
    m.best.pull();
    EXPECT_EQ(m.best.values(kRows), want);
    return m.best.values(kRows);
  };
  m.unit.set(71, 0, 5), m.unit.set(73, 0, 5);  // the best, beyond the first tile
  EXPECT_EQ(found()[2], 71);
  EXPECT_EQ(found()[4], 1);
  m.unit.set(71, 0, 1), m.unit.set(73, 0, 1);
  EXPECT_EQ(found()[2], 3);
}

// Every third row is absorbed by the row two places before it, every ninth by the first of its sequence;
// those left stand in any order.
TEST_P(Merge, folds_rows_as_its_definition_does) {
  over_widths({1, 17, 192, 300}, [](Batch& b, int dim) {
    std::vector<int> into, kept, lengths;
    for (int s = 0; s < b.size(); ++s) {
      std::vector<int> left;
      for (int j = 0; j < b.length(s); ++j) {
        const int row = b.begin(s) + j;
        into.push_back(j % 3 != 2 ? -1 : j % 9 == 8 ? b.begin(s) : row - 2);
        if (j % 3 != 2) left.push_back(row);
      }
      std::rotate(left.begin(), left.begin() + static_cast<int64_t>(left.size() / 2), left.end());
      kept.insert(kept.end(), left.begin(), left.end());
      lengths.push_back(static_cast<int>(left.size()));
    }
    into.resize(static_cast<size_t>(b.capacity()), 1 << 30);
    Batch to(lengths);
    kept.resize(static_cast<size_t>(to.capacity()), 1 << 30);
    Array absorbed(Dtype::i32, into), list(Dtype::i32, kept), size(Dtype::f32, b.capacity()),
        similarity(Dtype::f32, b.capacity()), out_size(Dtype::f32, to.capacity());
    for (int i = 0; i < b.rows(); ++i) {
      const uint64_t u = static_cast<uint64_t>(i);
      size.set(i, 1 + std::fabs(Rng{1, 3}.normal(u))), similarity.set(i, std::fabs(Rng{1, 4}.normal(u)));
    }
    for (Dtype dtype : streams()) {
      Array x(dtype, b.capacity(), dim), out(dtype, to.capacity(), dim);
      x.normals(2, b.rows());
      for (MergeRule rule : {MergeRule::size_weighted, MergeRule::plain_mean}) {
        const auto args = [&](Side side) {
          const Part from = b.all(side), left = to.all(side);
          return MergeArgs{.x = x.matrix(from),
                           .size = size.vector(from),
                           .into = absorbed.vector(from),
                           .similarity = similarity.vector(from),
                           .kept = list.vector(left),
                           .from = from.rows,
                           .to = left.rows,
                           .rule = rule,
                           .out = out.matrix(left),
                           .out_size = out_size.vector(left)};
        };
        const reference::Merged want = reference::merge(args(Side::host));
        double largest = 0;
        for (double v : x.values(b.rows())) largest = std::max(largest, std::fabs(v));
        const double steps = b.longest() / 9.0 + 6;  // the first row absorbs every ninth
        expect_outputs(
            {{&out, want.out,
              bounds(want.out,
                     [&](double w) {
                       return 2 * steps * kUnit * largest + (dtype == Dtype::f32 ? 0 : rounding(dtype, w));
                     })},
             {&out_size, want.out_size, bounds(want.out_size, [&](double w) { return steps * kUnit * w; })}},
            [&](Context& on) { merge(on, args(Side::backend)); }, {.max_len = b.longest()});
      }
    }
  });
}

// What is not alive may hold anything.
TEST_P(Merge, the_fused_token_is_the_weighted_sum_of_what_was_dropped) {
  over_widths({1, 17, 192, 200}, [](Batch& b, int dim) {
    for (Dtype dtype : streams())
      for (bool masked : {false, true}) {
        Array x(dtype, b.capacity(), dim), score(Dtype::f32, b.capacity()), alive(Dtype::u8, b.capacity());
        x.normals(5, b.rows()), score.normals(6, b.rows());
        double largest = 0;
        for (int i = 0; i < b.rows(); ++i) {
          const bool lives = !masked || i % 5 != 4;
          alive.set(i, lives);
          if (!lives) score.set(i, kNan);
          for (int c = 0; c < dim; ++c) {
            if (!lives) x.set(i, c, kNan);
            if (lives) largest = std::max(largest, std::fabs(score.get(i) * x.value(i, c)));
          }
        }
        std::vector<int> kept, lengths;  // every third candidate; of every other sequence all
        for (int s = 0; s < b.size(); ++s) {
          const size_t before = kept.size();
          bool dropped = false;
          for (int j = 0; j < b.length(s); ++j) {
            const int row = b.begin(s) + j;
            const bool stays = s % 2 || j % 3 == 0;
            if (j == 0 || (alive.get(row) && stays)) kept.push_back(row);
            dropped = dropped || (j && alive.get(row) && !stays);
          }
          if (dropped) kept.push_back(-1);
          lengths.push_back(static_cast<int>(kept.size() - before));
        }
        Batch to(lengths);
        kept.resize(static_cast<size_t>(to.capacity()), 1 << 30);
        Array list(Dtype::i32, kept), out(dtype, to.capacity(), dim);
        for (int i = 0; i < to.rows() * dim; ++i) out.set(i, 3);
        const auto args = [&](Side side) {
          const Part from = b.all(side), left = to.all(side);
          return FuseDroppedArgs{.x = x.matrix(from),
                                 .score = score.vector(from),
                                 .alive = masked ? alive.vector(from) : Tensor{},
                                 .kept = list.vector(left),
                                 .from = from.rows,
                                 .to = left.rows,
                                 .special = 1,
                                 .out = out.matrix(left)};
        };
        const auto want = reference::fuse_dropped(args(Side::host));
        const double n = b.longest(), sums = n * (n + 2) * kUnit * largest;
        const auto bound = bounds(
            want, [&](double w) { return sums + (dtype == Dtype::f32 ? 0 : rounding(dtype, w) + sums / 8); });
        expect_outputs({{&out, want, bound}}, [&](Context& on) { fuse_dropped(on, args(Side::backend)); },
                       {.max_len = b.longest()});
      }
  });
}

GlobalHalfArgs half_of(Array& x, Array* alive, const Part& p) {
  return {.x = x.matrix(p), .alive = alive ? alive->vector(p) : Tensor{}, .special = 1, .rows = p.rows};
}

// A row that takes no part may hold anything, and a sequence full of NaN is its own business.
TEST_P(Merge, global_half_is_the_mean_of_those_alive_and_no_others) {
  over_shapes([](Batch& b, int dim) {
    for (Dtype dtype : matrices())
      for (bool masked : {false, true}) {
        Array x(dtype, b.capacity(), dim), alive(Dtype::u8, b.capacity());
        x.normals(10, b.rows(), 2);
        double largest = 0;
        for (double v : x.values(b.rows())) largest = std::max(largest, std::fabs(v));
        const int end = b.size() > 1 ? b.begin(1) : 0;  // the first sequence is NaN as a whole
        for (int i = 0; i < b.rows(); ++i) {
          alive.set(i, Rng{3, 1}.uniform(static_cast<uint64_t>(i)) < 0.6);
          for (int c = 0; c < dim; ++c)
            if ((masked && !alive.get(i)) || (masked && i < end)) x.set(i, c, kNan);
        }
        const auto want = reference::global_half(half_of(x, masked ? &alive : nullptr, b.all(Side::host)));
        const auto bound = bounds(want, [&](double w) {
          return (b.longest() + 2) * kUnit * largest + (dtype == Dtype::f32 ? 0 : 1.01 * rounding(dtype, w));
        });
        expect_claims(b, {{&x, want, bound}}, [&](Context& on, const Part& p) {
          global_half(on, half_of(x, masked ? &alive : nullptr, p));
        });
      }
  });
}

TEST_P(Merge, global_half_has_the_bits_of_the_compacted_sequence) {
  if (on_device()) GTEST_SKIP() << "a device adds a sequence in four parts, by place";
  constexpr int kDim = 40;
  Batch b({20, 30}), compact({15});
  Array x(Dtype::f32, b.capacity(), kDim), alive(Dtype::u8, b.capacity()),
      live(Dtype::f32, compact.capacity(), kDim);
  x.normals(11, 50);
  std::vector<int> place;  // of the live rows
  for (int i = 0; i < 50; ++i) {
    const bool lives = i % 4 != 3;
    alive.set(i, lives || i >= 20);
    if (i < 20 && lives) place.push_back(i);
    for (int c = 0; c < kDim; ++c) {
      if (i < 20 && lives)
        live.set(static_cast<int64_t>(place.size()) - 1, c, x.value(i, c));
      else
        x.set(i, c, kNan);
    }
  }
  run([&](Context& on) {
    global_half(on, half_of(x, &alive, b.all(Side::backend)));
    global_half(on, half_of(live, nullptr, compact.all(Side::backend)));
  });
  x.pull(), live.pull();
  for (size_t j = 0; j < place.size(); ++j)
    for (int c = 0; c < kDim; ++c)
      EXPECT_EQ(x.value(place[j], c), live.value(static_cast<int64_t>(j), c)) << place[j];
}

}  // namespace
}  // namespace hedgerow::test
