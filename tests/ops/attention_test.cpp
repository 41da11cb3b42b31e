// SPDX-License-Identifier: Apache-2.0
// Ragged attention against its definition, and bit for bit against itself: alone and in a batch, masked and
// compacted, one query and many.
#include "tests/ops/attention_problem.h"

namespace hedgerow::test {
namespace {

class Attention : public OpTest {
 protected:
  // f(dtype) for each that the backend takes.
  template <class F>
  static void over_dtypes(F&& f) {
    for (Dtype dtype : matrices()) {
      SCOPED_TRACE(name_of(dtype));
      f(dtype);
    }
  }
};
HEDGEROW_FOR_EVERY_BACKEND(Attention);

const std::vector<int> kLengths = {0, 1, 2, 15, 16, 17, 20, 24, 31, 33, 64, 65, 127, 128, 129, 197};

TEST_P(Attention, agrees_with_its_definition_at_every_length) {
  over_dtypes([](Dtype dtype) {
    AttentionProblem p(dtype, 2, 64, kLengths, kLengths, 1, 1.5);
    p.first_row = true;
    p.expect_definition();
  });
}

TEST_P(Attention, agrees_on_long_sequences) {
  over_dtypes([](Dtype dtype) {
    AttentionProblem p(dtype, 1, 64, {100, 3}, {577, 1100}, 2);
    p.expect_definition();
  });
}

TEST_P(Attention, agrees_for_every_head_dim_and_output_dtype) {
  over_dtypes([](Dtype dtype) {
    for (int head_dim : {32, 64, 128})
      for (Dtype to : on_device() ? std::vector<Dtype>{dtype} : matrices()) {
        AttentionProblem p(dtype, 3, head_dim, {1, 7, 50, 12}, {1, 7, 50, 12}, 3);
        p.out = Array(to, p.q_rows.capacity(), p.dim());
        p.expect_definition();
      }
  });
}

TEST_P(Attention, agrees_with_other_queries_than_keys_indexed_queries_and_bias) {
  over_dtypes([](Dtype dtype) {
    AttentionProblem p(dtype, 2, 64, {1, 5, 0, 30, 13, 2}, {40, 17, 9, 3, 0, 66}, 4);
    p.first_row = true;
    p.ask([&](int i) { return (i * 7 + 3) % p.q_rows.rows(); });
    p.bias_by([](int j) {
      return Rng{5, 0}.uniform(static_cast<uint64_t>(j)) < 0.3
                 ? -kInf
                 : 4 * Rng{5, 1}.uniform(static_cast<uint64_t>(j));
    });
    p.expect_definition();
    p.scale = -p.scale;
    p.expect_definition();
    p.biased = false;
    p.expect_definition();
  });
}

TEST_P(Attention, survives_logits_that_overflow_a_naive_exp) {
  over_dtypes([](Dtype dtype) {
    AttentionProblem p(dtype, 1, 64, {33}, {33}, 6, 30);  // logits in the thousands
    p.expect_definition();
  });
}

TEST_P(Attention, a_single_key_passes_its_value_through) {
  over_dtypes([](Dtype dtype) {
    AttentionProblem p(dtype, 2, 64, {1}, {1}, 7);
    const std::vector<double> out = p.run_once();
    for (int c = 0; c < p.dim(); ++c) {
      const double v = p.at(2, 0, c);  // in f32 p, 1 / p and their product round
      EXPECT_NEAR(out[static_cast<size_t>(c)], v, dtype == Dtype::f32 ? 3 * kUnit * std::fabs(v) : 0);
    }
  });
}

TEST_P(Attention, a_query_that_sees_nothing_becomes_zero) {
  over_dtypes([](Dtype dtype) {
    AttentionProblem p(dtype, 2, 64, {3, 14, 2}, {0, 20, 5}, 12);
    p.bias_by([](int j) { return j == 22 ? 0 : -kInf; });
    p.first_row = true;
    const std::vector<double> out = p.run_once();
    for (int i = 0; i < 17 * p.dim(); ++i) ASSERT_EQ(out[static_cast<size_t>(i)], 0);
    for (int i = 0; i < 20 * p.heads; ++i) ASSERT_EQ(p.first.get(i), 0);
    EXPECT_NEAR(p.first.value(22, 0), 1, 8 * kUnit);
    EXPECT_NEAR(out[17 * 128 + 5], p.at(2, 22, 5), 8 * kUnit * std::fabs(p.at(2, 22, 5)));
  });
}

TEST_P(Attention, nan_and_infinity_stay_where_they_are) {
  over_dtypes([](Dtype dtype) {
    const auto problem = [&] { return AttentionProblem(dtype, 1, 64, {15, 20, 9}, {15, 21, 9}, 13); };
    const std::vector<double> want = problem().run_once();
    for (float poison : {kNan, kInf, -kInf}) {
      AttentionProblem p = problem();
      p.at(0, 18, 7, poison);  // one query of the middle sequence
      for (int d = 0; d < 64; ++d) p.at(1, 0, d, poison), p.at(2, 0, d, poison), p.at(2, 44, d, poison);
      const std::vector<double> got = p.run_once();
      for (int i = 15; i < 35; ++i) {
        EXPECT_EQ(same_bits(&got[static_cast<size_t>(i) * 64], &want[static_cast<size_t>(i) * 64], 64),
                  i != 18)
            << "query " << i;
      }
    }
    AttentionProblem p = problem();
    p.at(0, 18, 0, kNan);
    EXPECT_TRUE(std::isnan(p.run_once()[18 * 64]));
  });
}

TEST_P(Attention, a_sequence_alone_has_the_bits_it_has_in_any_batch_and_on_any_thread) {
  over_dtypes([](Dtype dtype) {
    AttentionProblem p(dtype, 3, 64, {5, 50, 1, 0, 99, 20, 17, 12}, {5, 50, 33, 4, 99, 20, 16, 0}, 8);
    p.first_row = true;
    p.bias_by([](int j) { return j % 11 == 4 ? -kInf : 0.1f * static_cast<float>(j % 5); });
    const std::vector<Output> wanted = p.wanted();
    expect_claims(
        p.q_rows, wanted, [&](Context& on, const Part& q) { attention(on, p.args(q)); }, p.size());
  });
}

TEST_P(Attention, a_query_has_the_same_bits_alone_and_among_others) {
  if (!under_test.fixed) GTEST_SKIP() << "sums may follow the batch";
  over_dtypes([](Dtype dtype) {
    for (int keys : {1, 4, 7, 16, 20, 37, 100}) {
      const std::vector<double> whole = AttentionProblem(dtype, 1, 64, {40}, {keys}, 9).run_once();
      for (int queries : {1, 2, 3, 4, 6, 7, 11, 13, 23, 26}) {
        AttentionProblem some(dtype, 1, 64, {40}, {keys}, 9);
        some.q_rows = Batch({queries});
        some.ask([&](int i) { return (i * 3 + queries) % 40; });
        const std::vector<double> part = some.run_once();
        for (int i = 0; i < queries; ++i)
          EXPECT_TRUE(same_bits(&part[static_cast<size_t>(i) * 64],
                                &whole[static_cast<size_t>(some.index.get(i)) * 64], 64))
              << "keys " << keys << " queries " << queries << " query " << i;
      }
    }
  });
}

// Hidden keys, whatever they hold, between the live ones or behind them.
TEST_P(Attention, masked_keys_leave_the_bits_of_the_compacted_ones) {
  if (on_device()) GTEST_SKIP() << "a device packs live keys before it attends";
  over_dtypes([](Dtype dtype) {
    for (int keys : {1, 15, 16, 20, 50, 138})
      for (double density : {0.0, 0.4, 1.0}) {  // 0: all the hidden keys come last
        AttentionProblem compact(dtype, 2, 64, {13}, {keys}, 10);
        std::vector<int> source;  // -1: hidden
        for (int live = 0, total = 0; live < keys || total < keys + 30; ++total) {
          const bool hide = live == keys || Rng{11, 0}.uniform(static_cast<uint64_t>(total)) < density * 0.5;
          source.push_back(hide ? -1 : live++);
        }
        AttentionProblem grid(dtype, 2, 64, {13}, {static_cast<int>(source.size())}, 10);
        grid.bias_by([&](int j) { return source[static_cast<size_t>(j)] < 0 ? -kInf : 0; });
        grid.first_row = true;
        for (int j = 0; j < static_cast<int>(source.size()); ++j)
          for (int c = 0; c < grid.dim(); ++c) {
            const int from = source[static_cast<size_t>(j)];
            grid.at(1, j, c, from >= 0 ? compact.at(1, from, c) : j % 2 ? kNan : 3);
            grid.at(2, j, c, from >= 0 ? compact.at(2, from, c) : j % 3 ? kNan : -5);
          }
        grid.run_once(), compact.run_once();
        EXPECT_TRUE(grid.out.bytes() == compact.out.bytes()) << "keys " << keys;
        for (int j = 0; j < static_cast<int>(source.size()); ++j)
          if (source[static_cast<size_t>(j)] < 0) {
            EXPECT_EQ(grid.first.value(j, 0), 0);
          }
      }
  });
}

}  // namespace
}  // namespace hedgerow::test
