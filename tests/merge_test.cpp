// SPDX-License-Identifier: Apache-2.0
// match, merge and the fused token against their definitions and against themselves.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/support.h"

namespace hedgerow::test {
namespace {

using Merge = KernelTest;

std::vector<uint8_t> alternating_roles(const Batch& b) {
  std::vector<uint8_t> role;
  for (int i = 0; i < b.size(); ++i)
    for (int j = 0; j < b.length(i); ++j) role.push_back(j == 0 ? 0 : j % 7 == 6 ? 0 : j % 2 ? 2 : 1);
  role.push_back(0);
  return role;
}

struct MatchRun {
  Guarded<int32_t> best;
  Guarded<float> similarity;
  explicit MatchRun(size_t n) : best(n), similarity(n) {}
};

TEST_F(Merge, MatchFindsTheMostSimilar) {
  for (const auto& lengths : awkward_batches())
    for (int dim : {1, 17, 64}) {
      const Batch b(lengths);
      const size_t rows = static_cast<size_t>(b.rows());
      const auto directions = normals(rows * static_cast<size_t>(dim) + 64, 1);
      const auto role = alternating_roles(b);
      const auto args = [&](MatchRun& to, Ragged r, int first) {
        return MatchArgs{matrix_of(directions.data() + first * dim, r.row_capacity, dim),
                         vector_of(role.data() + first, r.row_capacity), r,
                         vector_of(to.best.data(), r.row_capacity),
                         vector_of(to.similarity.data(), r.row_capacity)};
      };
      MatchRun one(rows);
      const MatchArgs a = args(one, b.ragged(), 0);
      const reference::Matched want = reference::match(a);
      Context on = context(1, 300, dim);
      match(on, a);
      EXPECT_TRUE(one.best.intact() && one.similarity.intact());
      for (int i = 0; i < b.rows(); ++i) {
        const size_t n = static_cast<size_t>(i);
        EXPECT_EQ(one.best[n] < 0, want.best[n] < 0) << i;
        if (want.best[n] < 0) continue;
        // Either the same row, or one whose dot product is as near as rounding.
        double sum = 0, dot = 0;
        for (int c = 0; c < dim; ++c) {
          const double p =
              static_cast<double>(directions[n * static_cast<size_t>(dim) + static_cast<size_t>(c)]) *
              directions[static_cast<size_t>(one.best[n] * dim + c)];
          dot += p;
          sum += std::fabs(p);
        }
        EXPECT_NEAR(one.similarity[n], dot, (dim + 1) * kRounding * sum);
        EXPECT_GE(dot, want.similarity[n] -
                           2 * (dim + 1) * kRounding * (sum + std::fabs(want.similarity[n]) + dim));
      }
      for (int threads : {2, 3}) {
        MatchRun more(rows);
        Context wide = context(threads, 300, dim);
        match(wide, args(more, b.ragged(), 0));
        EXPECT_EQ(more.best.values(), one.best.values());
        EXPECT_TRUE(same_bits(more.similarity.data(), one.similarity.data(), rows));
      }
      for (int s = 0; s < b.size(); ++s) {
        const Batch single({b.length(s)});
        const size_t n = static_cast<size_t>(b.length(s));
        MatchRun alone(n);
        match(on, args(alone, single.ragged(), b.begin(s)));
        for (size_t i = 0; i < n; ++i) {
          const int32_t from = one.best[static_cast<size_t>(b.begin(s)) + i];
          EXPECT_EQ(alone.best[i], from < 0 ? from : from - b.begin(s));
        }
        EXPECT_TRUE(same_bits(alone.similarity.data(), one.similarity.data() + b.begin(s), n));
      }
    }
}

TEST_F(Merge, MatchTiesGoToTheLowerRowAndNanIsNeverBest) {
  const int n = 80, dim = 3;
  std::vector<float> directions(static_cast<size_t>(n * dim), 1.0f);
  std::vector<uint8_t> role(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) role[static_cast<size_t>(i)] = i % 2 ? 2 : 1;
  directions[1 * dim] = kNan;  // the first target
  directions[4 * dim] = kNan;  // a source: every product is NaN
  directions[71 * dim] = 5;    // the best, beyond the first tile
  directions[73 * dim] = 5;
  const Batch b({n});
  MatchRun got(static_cast<size_t>(n));
  const MatchArgs a{matrix_of(directions.data(), n, dim), vector_of(role.data(), n), b.ragged(),
                    vector_of(got.best.data(), n), vector_of(got.similarity.data(), n)};
  const reference::Matched want = reference::match(a);
  Context on = context(1, n, dim);
  match(on, a);
  EXPECT_EQ(got.best.values(), want.best);
  EXPECT_EQ(got.best[2], 71);
  EXPECT_EQ(got.best[4], 1);
  directions[71 * dim] = directions[73 * dim] = 1;
  match(on, a);
  EXPECT_EQ(got.best[2], 3);
}

// Every third row is absorbed by the row two places before it, every ninth by the same as its neighbour.
struct Fold {
  std::vector<int32_t> into, kept, offsets{0};
  std::vector<int> lengths;
  explicit Fold(const Batch& b) {
    for (int s = 0; s < b.size(); ++s) {
      std::vector<int32_t> left;
      for (int j = 0; j < b.length(s); ++j) {
        const int row = b.begin(s) + j;
        const bool absorbed = j % 3 == 2;
        into.push_back(!absorbed ? -1 : j % 9 == 8 ? b.begin(s) : row - 2);
        if (!absorbed) left.push_back(row);
      }
      std::rotate(left.begin(), left.begin() + static_cast<int64_t>(left.size() / 2),
                  left.end());  // any order
      kept.insert(kept.end(), left.begin(), left.end());
      lengths.push_back(static_cast<int>(left.size()));
    }
  }
};

TEST_F(Merge, FoldsRowsTogether) {
  for (const auto& lengths : awkward_batches())
    for (int dim : {1, 17, 192})
      for (MergeRule rule : {MergeRule::size_weighted, MergeRule::plain_mean}) {
        const Batch b(lengths);
        const Fold fold(b);
        const Batch to(fold.lengths);
        const size_t rows = static_cast<size_t>(b.rows()), width = static_cast<size_t>(dim);
        const auto x = normals(rows * width + 1, 2);
        auto size = normals(rows + 1, 3), similarity = normals(rows + 1, 4);
        for (float& s : size) s = 1 + std::fabs(s);
        for (float& s : similarity) s = std::fabs(s);
        Guarded<float> out(static_cast<size_t>(to.rows()) * width), out_size(static_cast<size_t>(to.rows()));
        MergeArgs a{matrix_of(x.data(), b.rows(), dim),
                    vector_of(size.data(), b.rows()),
                    vector_of(fold.into.data(), b.rows()),
                    vector_of(similarity.data(), b.rows()),
                    vector_of(fold.kept.data(), to.rows()),
                    b.ragged(),
                    to.ragged(),
                    rule,
                    matrix_of(out.data(), to.rows(), dim),
                    vector_of(out_size.data(), to.rows())};
        if (b.rows() == 0) a.into = vector_of(size.data(), 0), a.into.dtype = Dtype::i32, a.kept = a.into;
        const reference::Merged want = reference::merge(a);
        Context on = context(1, 300, dim);
        merge(on, a);
        EXPECT_TRUE(out.intact() && out_size.intact());
        double largest = 0;
        for (float v : x) largest = std::max<double>(largest, std::fabs(v));
        const double steps = b.ragged().max_len / 9.0 + 6;  // the first row of a sequence absorbs every ninth
        std::vector<double> bound(want.out.size(), 2 * steps * kRounding * largest), size_bound;
        for (double w : want.out_size) size_bound.push_back(steps * kRounding * w);
        EXPECT_TRUE(near(out.values(), want.out, bound));
        EXPECT_TRUE(near(out_size.values(), want.out_size, size_bound));
        for (int threads : {2, 3}) {
          Guarded<float> again(out.size()), again_size(out_size.size());
          a.out = matrix_of(again.data(), to.rows(), dim);
          a.out_size = vector_of(again_size.data(), to.rows());
          Context more = context(threads, 300, dim);
          merge(more, a);
          EXPECT_EQ(again.values(), out.values());
          EXPECT_EQ(again_size.values(), out_size.values());
        }
      }
}

TEST_F(Merge, FuseDropped) {
  for (const auto& lengths : awkward_batches())
    for (int dim : {1, 17, 192}) {
      const Batch b(lengths);
      const size_t rows = static_cast<size_t>(b.rows());
      auto x = normals(rows * static_cast<size_t>(dim) + 1, 5);
      auto score = normals(rows + 1, 6);
      std::vector<uint8_t> alive(rows + 1);
      for (size_t i = 0; i <= rows; ++i) alive[i] = i % 5 != 4;
      for (size_t i = 0; i < rows; ++i)  // what is not alive may hold anything
        if (!alive[i]) std::fill_n(x.begin() + static_cast<int64_t>(i) * dim, dim, kNan), score[i] = kNan;
      std::vector<int32_t> count, kept(rows + 1), offsets(static_cast<size_t>(b.size()) + 1);
      for (int i = 0; i < b.size(); ++i) count.push_back(i % 2 ? 1000 : b.length(i) / 3);
      SelectArgs choice;
      choice.score = vector_of(score.data(), b.rows());
      choice.alive = vector_of(alive.data(), b.rows());
      choice.rows = b.ragged();
      choice.count = count.data();
      choice.append = 1;
      choice.kept = vector_of(kept.data(), b.rows());
      choice.kept_offsets = offsets.data();
      Context on = context(1, 300, dim);
      select(on, choice);
      const Ragged to{offsets.data(), b.size(), offsets.back(), b.ragged().max_len};
      const size_t outputs = static_cast<size_t>(offsets.back()) * static_cast<size_t>(dim);
      const std::vector<float> before(outputs, 3.0f);
      Guarded<float> out(before);
      FuseDroppedArgs a{
          matrix_of(x.data(), b.rows(), dim),   choice.score, choice.alive, choice.kept, b.ragged(), to, 1,
          matrix_of(out.data(), to.rows(), dim)};
      const auto want = reference::fuse_dropped(a);
      double largest = 0;
      for (size_t i = 0; i < rows; ++i)
        for (int c = 0; alive[i] && c < dim; ++c)
          largest = std::max<double>(
              largest, std::fabs(score[i] * x[i * static_cast<size_t>(dim) + static_cast<size_t>(c)]));
      const double n = b.ragged().max_len;
      fuse_dropped(on, a);
      EXPECT_TRUE(out.intact());
      EXPECT_TRUE(
          near(out.values(), want, std::vector<double>(want.size(), n * (n + 2) * kRounding * largest)));
      Guarded<float> again(before);
      a.out = matrix_of(again.data(), to.rows(), dim);
      Context more = context(3, 300, dim);
      fuse_dropped(more, a);
      EXPECT_EQ(again.values(), out.values());
    }
}

}  // namespace
}  // namespace hedgerow::test
