// SPDX-License-Identifier: Apache-2.0
// The matrix product against its definition, with a bound that follows from the number of roundings, and bit
// for bit between row counts, places and thread counts.
#include "tests/ops/linear_problem.h"

namespace hedgerow::test {
namespace {

class Linear : public OpTest {
 protected:
  // Between rows lies NaN: reading it would show. On a device, whole vectors of it.
  static void expect(LinearShape shape, const std::vector<int>& threads = {2, 3}) {
    shape.gap = on_device() ? 16 : 7;
    SCOPED_TRACE(testing::Message() << shape);
    LinearProblem p(shape);
    expect(p, threads);
  }
  static void expect(LinearProblem& p, const std::vector<int>& threads = {2, 3}) {
    expect_claims(
        p.batch, p.wanted(), [&](Context& on, const Part& part) { linear(on, p.args(part)); },
        {.heads = 1, .head_dim = 64}, threads);
  }
  // Outputs and residuals that a product of this dtype takes.
  static std::vector<Dtype> partners(Dtype in, std::vector<Dtype> all) {
    if (on_device()) all = in == Dtype::f32 ? std::vector<Dtype>{in} : std::vector<Dtype>{Dtype::f32, in};
    return all;
  }
};
HEDGEROW_FOR_EVERY_BACKEND(Linear);

constexpr Activation kActivations[] = {Activation::none, Activation::gelu_erf, Activation::gelu_tanh};

TEST_P(Linear, agrees_with_its_definition_at_awkward_sizes) {
  const int shapes[][2] = {{1, 1},  {2, 3},   {12, 16},  {31, 15}, {32, 17},
                           {33, 2}, {64, 64}, {100, 33}, {129, 48}};
  for (Dtype in : matrices())
    for (int rows : {0, 1, 2, 3, 5, 6, 7, 8, 13, 14, 15, 27, 29, 43})
      for (const auto& s : shapes) expect({.rows = rows, .n = s[0], .k = s[1], .in = in});
}

TEST_P(Linear, agrees_with_its_definition_in_every_variant) {
  for (Dtype in : matrices())
    for (Dtype out : partners(in, matrices()))
      for (Activation act : kActivations)
        for (bool bias : {false, true}) {
          LinearShape s{.rows = 17, .n = 75, .k = 37, .in = in, .out = out, .act = act, .bias = bias};
          const auto both = [](LinearShape shape) {
            expect(shape);
            shape.rows = 3, shape.n = 192, shape.k = 40;
            expect(shape);
          };
          both(s);
          for (Dtype r : partners(in, streams())) {
            s.residual = true, s.residual_dtype = r;
            both(s);
            s.in_place = r == out;
            if (s.in_place) both(s);
            s.in_place = false;
          }
        }
}

TEST_P(Linear, stores_what_the_traits_say_and_refuses_the_rest) {
  const Traits& t = under_test.backend->traits();
  for (Dtype in : matrices())
    for (Dtype out : {Dtype::f32, Dtype::bf16, Dtype::f16}) {
      LinearProblem p({.rows = 5, .n = 16, .k = 16, .in = in, .out = out});
      const auto call = [&] { run([&](Context& on) { linear(on, p.args(p.batch.all(Side::backend))); }); };
      if (t.rows.has(out) && (t.converts || out == Dtype::f32 || out == in))
        EXPECT_NO_THROW(call()) << name_of(in) << " to " << name_of(out);
      else
        EXPECT_THROW(call(), Error) << name_of(in) << " to " << name_of(out);
    }
}

TEST_P(Linear, long_sums_take_several_rounds) {
  for (Dtype in : matrices()) {
    expect({.rows = 3, .n = 5, .k = 70001, .in = in});
    expect({.rows = 17, .n = 40, .k = 22003, .in = in, .residual = true, .in_place = true});
  }
}

TEST_P(Linear, a_row_does_not_depend_on_its_neighbours) {
  for (Dtype in : matrices())
    for (Activation act : kActivations)
      for (int count : {1, 2, 5, 14, 23}) {
        LinearShape shape{.n = 150, .k = 83, .in = in, .act = act, .residual = true};
        for (int left = 61; left > 0; left -= count) shape.lengths.push_back(std::min(left, count));
        LinearProblem p(shape);
        for (int i = 0; i < shape.k; ++i) p.x.set(30, i, i % 2 ? kInf : kNan);  // it must stay alone
        expect(p, {});
      }
}

TEST_P(Linear, threads_change_no_bit_of_large_products) {
  for (Dtype in : matrices())
    for (LinearShape shape :
         {LinearShape{.rows = 97, .n = 205, .k = 192, .act = Activation::gelu_erf},
          LinearShape{.rows = 20, .n = 192, .k = 192}, LinearShape{.rows = 1, .n = 1000, .k = 300},
          LinearShape{.rows = 300, .n = 12, .k = 100}, LinearShape{.rows = 10, .n = 40, .k = 70001}}) {
      shape.in = shape.out = in;
      expect(shape, {2, 3, 7});
    }
}

// Of f32.
TEST_P(Linear, gelu_is_true_to_one_in_a_million) {
  constexpr int kCount = 200001;
  for (Activation act : {Activation::gelu_erf, Activation::gelu_tanh}) {
    const float one = 1;
    const PackedLinear w = pack_linear(*under_test.backend, &one, nullptr, 1, 1, Dtype::f32);
    const auto gelu = [&](const std::vector<float>& values, std::vector<double>& want) {
      Batch b({static_cast<int>(values.size())}, 0);
      Array x(Dtype::f32, values), out(Dtype::f32, b.rows());
      const auto args = [&](const Part& p) {
        return LinearArgs{
            .x = x.matrix(p), .w = &w, .act = act, .residual = {}, .out = out.matrix(p), .rows = p.rows};
      };
      want = reference::linear(args(b.all(Side::host)), &one, nullptr, 1, 1);
      run([&](Context& on) { linear(on, args(b.all(Side::backend))); });
      out.pull();
      return out.values(b.rows());
    };
    std::vector<float> values;
    std::vector<double> want;
    for (int i = 0; i < kCount; ++i) values.push_back(static_cast<float>(-10 + 20.0 * i / (kCount - 1)));
    const std::vector<double> got = gelu(values, want);
    double worst = 0;
    for (size_t i = 0; i < got.size(); ++i)
      worst = std::max(worst, std::fabs(got[i] - want[i]) - kUnit * std::fabs(want[i]));
    EXPECT_LE(worst, 1e-6);
    EXPECT_GT(worst, 0);

    const std::vector<double> ends = gelu({kNan, 0.0f, -100.0f, kInf, -kInf}, want);
    EXPECT_TRUE(std::isnan(ends[0]));
    EXPECT_EQ(ends[1], 0);
    EXPECT_NEAR(ends[2], 0, 1e-6);
    EXPECT_EQ(ends[3], kInf);
    EXPECT_NEAR(ends[4], 0, 1e-6);
  }
}

TEST_P(Linear, eight_bits_are_within_what_their_sums_may_lose) {
  if (!takes_eight_bits()) GTEST_SKIP() << under_test.backend->name << " has no 8-bit products here";
  for (Dtype in : {Dtype::e4m3, Dtype::i8})
    for (const LinearShape& shape : eight_bit_shapes(in)) {
      SCOPED_TRACE(testing::Message() << shape);
      LinearProblem p(shape);
      expect_outputs(p.wanted(), [&](Context& on) { linear(on, p.args(p.batch.all(Side::backend))); });
    }
}

}  // namespace
}  // namespace hedgerow::test
