// SPDX-License-Identifier: Apache-2.0
// Ragged attention of every CPU level against its definition in double.
#include "tests/attention_problem.h"

namespace hedgerow {
namespace {

TEST(attention, agrees_with_its_definition_at_every_length) {
  for_all([](const Backend& b, Dtype dtype) {
    Problem p = make(dtype, 2, 64, kLengths, kLengths, 1, 1.5);
    p.first_row = true;
    compare_with_definition(b.name, p, run(b, p));
  });
}

TEST(attention, agrees_on_long_sequences) {
  for_all([](const Backend& b, Dtype dtype) {
    if (!std::strcmp(b.name, "scalar")) return;
    const Problem p = make(dtype, 1, 64, {100, 3}, {577, 1100}, 2);
    compare_with_definition(b.name, p, run(b, p));
  });
}

TEST(attention, agrees_for_every_head_dim_and_output_dtype) {
  for_all([](const Backend& b, Dtype dtype) {
    for (int head_dim : {32, 64, 128}) {
      for (Dtype out : {Dtype::f32, Dtype::bf16}) {
        Problem p = make(dtype, 3, head_dim, {1, 7, 50, 12}, {1, 7, 50, 12}, 3);
        p.out_dtype = out;
        compare_with_definition(b.name, p, run(b, p));
      }
    }
  });
}

TEST(attention, agrees_with_other_queries_than_keys_indexed_queries_and_bias) {
  for_all([](const Backend& b, Dtype dtype) {
    Problem p = make(dtype, 2, 64, {1, 5, 0, 30, 13, 2}, {40, 17, 9, 3, 0, 66}, 4);
    p.first_row = true;
    for (int i = 0; i < p.q_rows(); ++i) p.q_index.push_back((i * 7 + 3) % p.q_rows());
    for (int j = 0; j < p.kv_rows(); ++j)
      p.key_bias.push_back(Rng{5, 0}.uniform(j) < 0.3 ? -kInf : static_cast<float>(4 * Rng{5, 1}.uniform(j)));
    compare_with_definition(b.name, p, run(b, p));
    p.scale = -p.scale;
    compare_with_definition(b.name, p, run(b, p));
    p.key_bias.clear();
    compare_with_definition(b.name, p, run(b, p));
  });
}

TEST(attention, survives_logits_that_overflow_a_naive_exp) {
  for_all([](const Backend& b, Dtype dtype) {
    const Problem p = make(dtype, 1, 64, {33}, {33}, 6, 30);  // logits in the thousands
    compare_with_definition(b.name, p, run(b, p));
  });
}

TEST(attention, a_single_key_passes_its_value_through) {
  for_all([](const Backend& b, Dtype dtype) {
    const Problem p = make(dtype, 2, 64, {1}, {1}, 7);
    const Result r = run(b, p);
    for (size_t i = 0; i < p.v.size(); ++i) {
      if (dtype == Dtype::bf16)
        EXPECT_EQ(r.out[i], p.v[i]) << b.name;
      else
        EXPECT_NEAR(r.out[i], p.v[i], 3 * kEps * std::abs(p.v[i]))
            << b.name;  // p, 1 / p and their product round
    }
  });
}

TEST(attention, a_query_that_sees_nothing_becomes_zero) {
  for_all([](const Backend& b, Dtype dtype) {
    Problem p = make(dtype, 2, 64, {3, 14, 2}, {0, 20, 5}, 12);
    p.key_bias.assign(25, -kInf);
    p.key_bias[22] = 0;
    p.first_row = true;
    const Result r = run(b, p);
    for (int i = 0; i < 17 * p.dim(); ++i) ASSERT_EQ(r.out[static_cast<size_t>(i)], 0.0f) << b.name;
    for (int i = 0; i < 20 * p.heads; ++i) ASSERT_EQ(r.first_row[static_cast<size_t>(i)], 0.0f) << b.name;
    EXPECT_FLOAT_EQ(r.first_row[22 * 2], 1.0f);
    EXPECT_FLOAT_EQ(r.out[17 * 128 + 5], p.v[22 * 128 + 5]);
  });
}

TEST(attention, nan_and_infinity_stay_where_they_are) {
  for_all([](const Backend& b, Dtype dtype) {
    const Problem clean = make(dtype, 1, 64, {15, 20, 9}, {15, 21, 9}, 13);
    const Result want = run(b, clean);
    for (float poison : {kNan, kInf, -kInf}) {
      Problem p = clean;
      p.q[static_cast<size_t>(15 + 3) * 64 + 7] = poison;  // one query of the middle sequence
      for (int d = 0; d < 64; ++d)
        p.k[d] = p.v[d] = poison, p.v[p.v.size() - 64 + static_cast<size_t>(d)] = poison;
      const Result r = run(b, p);
      for (int i = 15; i < 35; ++i) {
        const bool same =
            !std::memcmp(&r.out[static_cast<size_t>(i) * 64], &want.out[static_cast<size_t>(i) * 64], 256);
        EXPECT_EQ(same, i != 18) << b.name << " " << name_of(dtype) << " query " << i;
      }
    }
    Problem p = clean;
    p.q[18 * 64] = kNan;
    const Result r = run(b, p);
    EXPECT_TRUE(std::isnan(r.out[18 * 64])) << b.name;
  });
}

}  // namespace
}  // namespace hedgerow
