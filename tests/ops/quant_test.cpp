// SPDX-License-Identifier: Apache-2.0
// Products with weights of codes: rows in f32 against their definition, rows in int8 to the bit of a plain
// model, so that all levels give the same; rows apart and together, on any number of threads.
#include "tests/ops/quant_problem.h"

namespace hedgerow::test {
namespace {

class Quants : public OpTest {
 protected:
  void SetUp() override {
    OpTest::SetUp();
    if (!IsSkipped() && !under_test.backend->traits().codes)
      GTEST_SKIP() << under_test.backend->name << " takes no weights of codes";
  }
};
HEDGEROW_FOR_EVERY_BACKEND(Quants);

constexpr RowsOf kRowsOf[] = {RowsOf::f32, RowsOf::int8};

void expect_product(QuantProblem& p, const std::vector<int>& threads = {}) {
  SCOPED_TRACE(text_of(p.parts[0].quant) + ", n " + std::to_string(p.parts[0].n) + ", k " +
               std::to_string(p.parts[0].k) + (p.rows_of == RowsOf::int8 ? ", int8" : ", f32"));
  expect_outputs(
      {p.wanted()}, [&](Context& on) { linear(on, p.args(p.b.all(Side::backend))); }, {}, threads);
}

TEST_P(Quants, products_agree_with_their_definition_and_in_int8_with_the_model_to_the_bit) {
  for (const Quant& q : quant_kinds())
    for (int k : {20, 32, 64, 96, 256, 288, 512}) {
      if (k_quant(q) && k % kQuantBlock) continue;
      for (int n : {1, 31, 32, 33, 100}) {
        if (n != 33 && k != 256 + 32 * !k_quant(q)) continue;
        for (RowsOf of : kRowsOf) {
          if (q.bits == 0 && of == RowsOf::int8) continue;
          Batch b({2, 0, 1});
          QuantProblem p(b, {QuantMatrix(q, n, k)}, of);
          expect_product(p);
        }
      }
    }
}

// Rows alone, in every number that a tile takes, and across what stays beside a block of weights.
TEST_P(Quants, bits_of_a_row_depend_neither_on_other_rows_nor_on_threads) {
  for (const Quant& q : quant_kinds({64}))
    for (RowsOf of : kRowsOf) {
      if (q.bits == 0 && of == RowsOf::int8) continue;
      Batch b({1, 2, 3, 4, 5, 6, 7, 8, 9, 63, 64, 65, 130});
      QuantProblem p(b, {QuantMatrix(q, 33, q.bits ? 256 : 52)}, of);
      SCOPED_TRACE(text_of(q));
      expect_claims(b, {p.wanted()}, [&](Context& on, const Part& part) {
        LinearArgs a = p.args(part);
        linear(on, a);
      });
    }
}

TEST_P(Quants, bands_of_other_kinds_orders_bias_and_residual_come_out_side_by_side) {
  const Quant four{.bits = 4, .group = 32, .scales = Scales::k4},
      six{.bits = 6, .group = 16, .scales = Scales::k6, .zero = 32},
      gptq{.bits = 4, .group = 128, .scales = Scales::f16_zero, .zero = 1},
      eight{.bits = 8, .group = 32, .scales = Scales::f16, .zero = 128};
  for (RowsOf of : kRowsOf)
    for (bool biased : {false, true}) {
      Batch b({5, 0, 1, 12});
      std::vector<std::vector<QuantMatrix>> products = {
          {QuantMatrix(four, 96, 512, 1), QuantMatrix(four, 33, 512, 2), QuantMatrix(six, 33, 512, 3)},
          {QuantMatrix(gptq, 64, 288, 1).shuffle(1), QuantMatrix(eight, 5, 288, 2)},
          {QuantMatrix(eight, 40, 288, 1), QuantMatrix(gptq, 31, 288, 2).shuffle(2),
           QuantMatrix(gptq, 70, 288, 3).shuffle(3)}};
      for (auto& parts : products) {
        QuantProblem p(b, parts, of, biased);
        p.adds = biased;
        expect_product(p, {2, 3});
      }
    }
}

TEST_P(Quants, a_gate_of_two_bands_multiplies) {
  for (const Quant& q :
       {Quant{.bits = 4, .group = 32, .scales = Scales::k4},
        Quant{.bits = 8, .group = 64, .scales = Scales::f16, .zero = 128}, Quant{.values = Dtype::bf16}})
    for (RowsOf of : kRowsOf) {
      if (q.bits == 0 && of == RowsOf::int8) continue;
      for (bool more : {false, true}) {
        Batch b({3, 9});
        std::vector<QuantMatrix> parts = {QuantMatrix(q, 70, 256, 1), QuantMatrix(q, 70, 256, 2)};
        if (more && q.bits) parts[0].shuffle(1), parts[1].shuffle(2);
        QuantProblem p(b, parts, of, more, Activation::silu_gated);
        p.adds = more;
        expect_product(p, {2, 3});
      }
    }
}

TEST_P(Quants, a_row_that_holds_no_number_gives_none_and_leaves_others_alone) {
  for (const Quant& q : quant_kinds({32}))
    for (RowsOf of : kRowsOf) {
      SCOPED_TRACE(text_of(q));
      for (float bad : {kNan, kInf, -kInf}) {
        Batch b({9});
        QuantProblem p(b, {QuantMatrix(q, 33, 256)}, of);
        const auto compute = [&] {
          run([&](Context& on) { linear(on, p.args(b.all(Side::backend))); });
          p.out.pull();
          return p.out.values(9);
        };
        const auto good = compute();
        p.x.set(4, 100, bad);
        const auto now = compute();
        const size_t row = 33;
        EXPECT_TRUE(same_bits(good.data(), now.data(), 4 * row));
        EXPECT_TRUE(same_bits(&good[5 * row], &now[5 * row], 4 * row));
        for (size_t i = 4 * row; i < 5 * row; ++i) EXPECT_FALSE(std::isfinite(now[i])) << i;
      }
    }
}

// Chunks of zeros, of the smallest numbers there are and of the largest: codes stay codes.
TEST_P(Quants, chunks_of_extreme_size_keep_their_sums) {
  const Quant q{.bits = 8, .group = 32, .scales = Scales::f16, .zero = 128};
  for (float size : {0.0f, 1e-45f, 1e-39f, 1e-37f, 1e-30f, 1e30f}) {
    Batch b({3});
    QuantProblem p(b, {QuantMatrix(q, 33, 96)}, RowsOf::int8);
    for (int c = 0; c < 32; ++c) p.x.set(0, c, c % 3 ? (c % 2 ? size : -size) : 0), p.x.set(1, c, -size);
    run([&](Context& on) { linear(on, p.args(b.all(Side::backend))); });
    p.out.pull();
    const auto w = p.weights();
    for (int r = 0; r < 3; ++r)
      for (int o = 0; o < 33; ++o) {
        double want = 0, off = 1e-34;
        for (int c = 0; c < 96; ++c) {
          double most = 0;
          for (int i = c / 32 * 32; i < c / 32 * 32 + 32; ++i)
            most = std::max(most, std::fabs(p.x.value(r, i)));
          want += w[static_cast<size_t>(o * 96 + c)] * p.x.value(r, c);
          off += std::fabs(w[static_cast<size_t>(o * 96 + c)]) * most / 253;
        }
        EXPECT_NEAR(p.out.value(r, o), want, off) << size << ", row " << r;
      }
  }
}

TEST_P(Quants, embed_gives_the_rows_themselves) {
  HEDGEROW_NEEDS(embed);
  for (const Quant& q : quant_kinds())
    for (int k : {20, 256, 288, 512}) {
      if (k_quant(q) && k % kQuantBlock) continue;
      SCOPED_TRACE(text_of(q) + ", k " + std::to_string(k));
      const QuantMatrix m(q, 70, k);
      const PackedLinear w = pack_quant(*under_test.backend, {m.source()}, nullptr, RowsOf::int8);
      Batch b({3, 4});
      Array ids(Dtype::i32, std::vector<int>{0, 69, 31, 32, 33, 69, 64, 0, 0, 0}), out(Dtype::f32, 10, k);
      const auto args = [&](const Part& p) {
        return EmbedArgs{.ids = ids.vector(p), .w = &w, .out = out.matrix(p), .rows = p.rows};
      };
      expect_claims(b, {{&out, reference::embed(args(b.all(Side::host)), m.source())}},
                    [&](Context& on, const Part& p) { embed(on, args(p)); });
    }
}

TEST_P(Quants, packed_weights_take_no_more_than_the_file) {
  const Quant q4{.bits = 4, .group = 32, .scales = Scales::f16, .zero = 8},
      q41{.bits = 4, .group = 32, .scales = Scales::f16_min},
      q5{.bits = 5, .group = 32, .scales = Scales::f16, .zero = 16},
      q51{.bits = 5, .group = 32, .scales = Scales::f16_min},
      q8{.bits = 8, .group = 32, .scales = Scales::f16, .zero = 128};
  const std::vector<std::pair<Quant, double>> bytes_of_256 = {
      {q4, 8 * 18},
      {q41, 8 * 20},
      {q5, 8 * 22},
      {q51, 8 * 24},
      {q8, 8 * 34},
      {{.bits = 4, .group = 32, .scales = Scales::k4}, 144},
      {{.bits = 5, .group = 32, .scales = Scales::k4}, 176},
      {{.bits = 6, .group = 16, .scales = Scales::k6, .zero = 32}, 210},
      {{.bits = 4, .group = 128, .scales = Scales::f16_zero, .zero = 1}, 128 + 2 * 2.5},
      {{.values = Dtype::f16}, 512},
      {{.values = Dtype::f32}, 1024}};
  for (const auto& [q, bytes] : bytes_of_256) {
    const QuantMatrix m(q, 64, 512);
    const PackedLinear w = pack_quant(*under_test.backend, {m.source()}, nullptr, RowsOf::int8);
    EXPECT_LE(static_cast<double>(w.data.bytes()), 1.02 * 64 * 2 * bytes) << text_of(q);
  }
}

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST_P(Quants, what_cannot_be_packed_is_refused_by_name) {
  const auto refused = [](const std::string& field, QuantSource s) {
    const std::string what = error_of([&] { pack_quant(*under_test.backend, {s}, nullptr, RowsOf::int8); });
    EXPECT_NE(what.find(field), std::string::npos) << what;
    EXPECT_NE(what.find("pack_quant"), std::string::npos) << what;
  };
  const Quant good{.bits = 4, .group = 32, .scales = Scales::f16, .zero = 8};
  const QuantMatrix m(good, 4, 64);
  const auto with = [&](auto&& change) {
    QuantSource s = m.source();
    change(s);
    return s;
  };
  refused("quant", with([](QuantSource& s) { s.quant.bits = 3; }));
  refused("quant", with([](QuantSource& s) { s.quant.bits = 6; }));
  refused("quant", with([](QuantSource& s) { s.quant.group = 48; }));
  refused("quant", with([](QuantSource& s) { s.quant.group = 16; }));
  refused("quant", with([](QuantSource& s) { s.quant.group = 384; }));
  refused("quant", with([](QuantSource& s) { s.quant.scales = Scales::none; }));
  refused("quant", with([](QuantSource& s) { s.quant.scales = Scales::f16_min; }));  // and zero is 8
  refused("quant", with([](QuantSource& s) { s.quant = {.values = Dtype::i8}; }));
  refused("k", with([](QuantSource& s) { s.quant = {.bits = 4, .group = 32, .scales = Scales::k4}; }));
  refused("[n, k]", with([](QuantSource& s) { s.n = 0; }));
  refused("order", with([](QuantSource& s) { s.order = {0, 1}; }));
  refused("order", with([](QuantSource& s) { s.order.assign(64, 64); }));
  refused("order", with([](QuantSource& s) { s.order.assign(64, -1); }));
  refused("order", with([](QuantSource& s) { s.quant = {}, s.order.assign(64, 0); }));
  refused("read", with([](QuantSource& s) { s.read = nullptr; }));
  EXPECT_NE(error_of([] { pack_quant(*under_test.backend, {}, nullptr, RowsOf::int8); }).find("parts"),
            std::string::npos);
  // What a reader throws comes out, whichever thread it was on.
  const QuantMatrix large(good, 1000, 64);
  QuantSource s = large.source();
  s.read = [&](int first, int count, QuantRow* to) {
    if (first >= 640) throw Error("row 640: wanted another");
    large.source().read(first, count, to);
  };
  EXPECT_EQ(error_of([&] { pack_quant(*under_test.backend, {s}, nullptr, RowsOf::int8); }),
            "row 640: wanted another");
}

TEST_P(Quants, wrong_products_are_refused_by_name) {
  Batch b({3});
  const Quant q{.bits = 4, .group = 32, .scales = Scales::f16, .zero = 8};
  QuantProblem p(b, {QuantMatrix(q, 8, 64), QuantMatrix(q, 8, 64, 2)}, RowsOf::int8);
  const auto refused = [&](const std::string& field, auto&& change) {
    LinearArgs a = p.args(b.all(Side::backend));
    change(a);
    const std::string what = error_of([&] { run([&](Context& on) { linear(on, a); }); });
    EXPECT_NE(what.find("linear: " + field), std::string::npos) << what;
  };
  refused("x", [](LinearArgs& a) { a.x.extents[1] = 32; });
  refused("out", [](LinearArgs& a) { a.out.extents[1] = 32; });
  refused("out", [](LinearArgs& a) { a.act = Activation::silu_gated; });
  refused("act", [](LinearArgs& a) { a.act = Activation::gelu_erf; });
  refused("between", [](LinearArgs& a) { a.between = {}; });
  Array ids(Dtype::i32, std::vector<int>{0, 8, 0, 0, 0, 0}), out(Dtype::f32, 6, 64);
  const PackedLinear one = pack_quant(*under_test.backend, {p.parts[0].source()}, nullptr, RowsOf::int8);
  const auto embedding = [&](const PackedLinear* w) {
    const Part all = b.all(Side::backend);
    return error_of([&] {
      run([&](Context& on) {
        embed(on, {.ids = ids.vector(all), .w = w, .out = out.matrix(all), .rows = all.rows});
      });
    });
  };
  EXPECT_NE(embedding(&p.w).find("embed: w"), std::string::npos) << embedding(&p.w);
  EXPECT_NE(embedding(&one).find("embed: ids"), std::string::npos) << embedding(&one);
}

}  // namespace
}  // namespace hedgerow::test
