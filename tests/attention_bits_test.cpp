// SPDX-License-Identifier: Apache-2.0
// Ragged attention of every CPU level bit for bit against itself: alone and in a batch, masked and compacted,
// one query and many.
#include "tests/attention_problem.h"

namespace hedgerow {
namespace {

TEST(attention, a_sequence_alone_has_the_bits_it_has_in_any_batch_and_on_any_thread) {
  for_all([](const Backend& b, Dtype dtype) {
    Problem p = make(dtype, 3, 64, {5, 50, 1, 0, 99, 20, 17, 12}, {5, 50, 33, 4, 99, 20, 16, 0}, 8);
    p.first_row = true;
    for (int j = 0; j < p.kv_rows(); ++j)
      p.key_bias.push_back(j % 11 == 4 ? -kInf : 0.1f * static_cast<float>(j % 5));
    const Result whole = run(b, p);
    size_t q = 0, kv = 0;
    for (size_t s = 0; s < p.q_lengths.size(); ++s) {
      const Result one = run(b, alone(p, s));
      const std::vector<float> out(whole.out.begin() + static_cast<long>(q),
                                   whole.out.begin() + static_cast<long>(q + one.out.size()));
      const std::vector<float> row(whole.first_row.begin() + static_cast<long>(kv),
                                   whole.first_row.begin() + static_cast<long>(kv + one.first_row.size()));
      EXPECT_TRUE(same_bits(one.out, out)) << b.name << " sequence " << s;
      EXPECT_TRUE(same_bits(one.first_row, row)) << b.name << " sequence " << s;
      q += one.out.size(), kv += one.first_row.size();
    }
    p.threads = 3;
    const Result threaded = run(b, p);
    EXPECT_TRUE(same_bits(whole.out, threaded.out) && same_bits(whole.first_row, threaded.first_row))
        << b.name;
  });
}

TEST(attention, a_query_has_the_same_bits_alone_and_among_others) {
  for_all([](const Backend& b, Dtype dtype) {
    for (int keys : {1, 4, 7, 16, 20, 37, 100}) {
      const Problem all = make(dtype, 1, 64, {40}, {keys}, 9);
      const Result whole = run(b, all);
      for (int queries : {1, 2, 3, 4, 6, 7, 11, 13, 23, 26}) {
        Problem some = all;
        some.q_lengths = {queries};
        for (int i = 0; i < queries; ++i) some.q_index.push_back((i * 3 + queries) % 40);
        const Result part = run(b, some);
        for (int i = 0; i < queries; ++i)
          EXPECT_EQ(0, std::memcmp(&part.out[static_cast<size_t>(i) * 64],
                                   &whole.out[static_cast<size_t>(some.q_index[i]) * 64], 256))
              << b.name << " " << name_of(dtype) << " keys " << keys << " queries " << queries << " query "
              << i;
      }
    }
  });
}

// Hidden keys, whatever they hold, between the live ones or behind them.
TEST(attention, masked_keys_leave_the_bits_of_the_compacted_ones) {
  for_all([](const Backend& b, Dtype dtype) {
    for (int keys : {1, 15, 16, 20, 50, 138}) {
      for (double density : {0.0, 0.4, 1.0}) {  // 0: all the hidden keys come last
        const Problem compact = make(dtype, 2, 64, {13}, {keys}, 10);
        Problem grid = compact;
        grid.k.clear(), grid.v.clear();
        int live = 0, total = 0;
        for (; live < keys || total < keys + 30; ++total) {
          const bool hide = live == keys || Rng{11, 0}.uniform(total) < density * 0.5;
          grid.key_bias.push_back(hide ? -kInf : 0);
          for (int d = 0; d < grid.dim(); ++d) {
            const size_t at = static_cast<size_t>(live) * grid.dim() + d;
            grid.k.push_back(hide ? (total % 2 ? kNan : 3) : compact.k[at]);
            grid.v.push_back(hide ? (total % 3 ? kNan : -5) : compact.v[at]);
          }
          live += !hide;
        }
        grid.kv_lengths = {total};
        grid.first_row = true;
        const Result masked = run(b, grid);
        EXPECT_TRUE(same_bits(run(b, compact).out, masked.out))
            << b.name << " " << name_of(dtype) << " keys " << keys;
        for (int j = 0; j < total; ++j)
          if (grid.key_bias[j] == -kInf) EXPECT_EQ(masked.first_row[static_cast<size_t>(j) * 2], 0.0f);
      }
    }
  });
}

}  // namespace
}  // namespace hedgerow
