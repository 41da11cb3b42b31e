// SPDX-License-Identifier: Apache-2.0
// The ops of a block's halves, fused or not: norm and product together, products into residual rows, a whole
// feed-forward half.
#include "tests/ops/linear_problem.h"

namespace hedgerow::test {
namespace {

class Halves : public OpTest {
 protected:
  // f(weights, residual rows) for each pair that models use.
  template <class F>
  static void over_dtypes(F&& f) {
    for (Dtype weights : matrices())
      for (Dtype stream : {Dtype::f32, weights}) {
        if (stream == Dtype::f32 ? weights == Dtype::f16 && !on_device()
                                 : !under_test.backend->traits().residual.has(stream))
          continue;
        SCOPED_TRACE(std::string(name_of(weights)) + " over " + name_of(stream));
        f(weights, stream);
        if (weights == Dtype::f32) break;
      }
  }
};
HEDGEROW_FOR_EVERY_BACKEND(Halves);

double unit_of(Dtype d) { return d == Dtype::f16 ? 0x1p-11 : d == Dtype::bf16 ? 0x1p-8 : 0; }

// A matrix as weights of this dtype hold it.
std::vector<float> matrix(int n, int k, uint64_t key, Dtype dtype) {
  Array m(dtype, n, k);
  m.normals(key, n, 1 / std::sqrt(1.0 * k));
  const std::vector<double> v = m.values(n);
  return {v.begin(), v.end()};
}

// A norm and the product behind it.
struct NormProduct {
  int n, k;
  Dtype dtype;
  std::vector<float> gamma, beta, w, bias;
  PackedNormLinear packed;

  NormProduct(int outputs, int dim, Dtype weights, Dtype stream, uint64_t key, bool may_fold)
      : n(outputs),
        k(dim),
        dtype(weights),
        gamma(matrix(dim, 1, 1, Dtype::f32)),
        beta(matrix(dim, 1, 2, Dtype::f32)),
        w(matrix(outputs, dim, key, weights)),
        bias(matrix(outputs, 1, key + 1, Dtype::f32)) {
    packed = pack_norm_linear(*under_test.backend, given(stream, may_fold));
  }
  NormLinearWeights given(Dtype stream = Dtype::f32, bool may_fold = true) const {
    return {.gamma = gamma.data(),
            .beta = beta.data(),
            .w = w.data(),
            .bias = bias.data(),
            .n = n,
            .k = k,
            .dtype = dtype,
            .stream = stream,
            .may_fold = may_fold};
  }
  // How far an output of this row may be off, whatever follows. Sums in f32 and what they make of the row's
  // moments; of normalised rows at most eight values land on the other side of a midpoint. Where the norm is
  // folded, weights and rows round elsewhere than in the definition: eight deviations of that.
  std::vector<double> bounds_of(const std::vector<double>& row) const {
    double mean = 0, variance = 0;
    for (double v : row) mean += v / k;
    for (double v : row) variance += (v - mean) * (v - mean) / k;
    const double sd = std::sqrt(variance + 1e-6), unit = unit_of(dtype);
    std::vector<double> bound;
    for (size_t o = 0; o < static_cast<size_t>(n); ++o) {
      double size = std::fabs(bias[o]), most = 0, squares = 0, fold = 0;
      const float* const of = &w[o * static_cast<size_t>(k)];
      for (size_t c = 0; c < row.size(); ++c) fold += static_cast<double>(of[c]) * gamma[c] / k;
      for (size_t c = 0; c < row.size(); ++c) {
        const double z = (row[c] - mean) / sd, y = z * gamma[c] + beta[c];
        size += std::fabs(of[c]) * (std::fabs(gamma[c]) * (1 + std::fabs(z)) + std::fabs(beta[c]));
        most = std::max(most, std::fabs(y * of[c]));
        squares += std::pow(of[c] * gamma[c] - fold, 2) * (z * z + std::pow(row[c] / sd, 2));
      }
      const double sums = kUnit * size * (4 * (sum_steps(k) + 16) + 2 * k + 2);
      bound.push_back(1.13 * (sums + (packed.folded ? 8 * unit * std::sqrt(squares) : 16 * unit * most)));
    }
    return bound;
  }
};

// Some sequences, and rows with a mean.
const std::vector<int> kLengths = {5, 0, 1, 17, 40};
Array stream_rows(Batch& b, int dim, Dtype dtype) {
  Array x(dtype, b.capacity(), dim);
  for (int i = 0; i < b.rows() * dim; ++i) x.set(i, 3 * Rng{1, 13}.normal(static_cast<uint64_t>(i)) + 1);
  return x;
}
std::vector<double> row_of(const Array& x, int64_t r) {
  std::vector<double> row;
  for (int64_t c = 0; c < x.cols(); ++c) row.push_back(x.value(r, c));
  return row;
}
// With what activation and storing add.
double stored(double off, double want, Activation act, Dtype to) {
  off += kUnit * std::fabs(want) + (act == Activation::none ? 0 : 1e-6 + 4 * kUnit * std::fabs(want));
  return off + (to == Dtype::f32 ? 0 : rounding(to, std::fabs(want) + off));
}

// By index too, and with a second product of the same rows.
TEST_P(Halves, norm_linear_agrees_with_its_definition) {
  over_dtypes([](Dtype weights, Dtype stream) {
    for (int k : {33, 192, 384})
      for (bool may_fold : {false, true})
        for (int variant = 0; variant < 3; ++variant) {
          Batch b(kLengths);
          const int n = k == 192 ? 96 : 75;
          const Activation act = static_cast<Activation>(variant);
          Array x = stream_rows(b, k, stream), index(Dtype::i32, b.capacity()), out(weights, b.capacity(), n),
                also_out(weights, b.capacity(), n + 5);
          for (int i = 0; i < b.rows(); ++i) index.set(i, (i * 7) % b.rows());
          const NormProduct w(n, k, weights, stream, 3, may_fold),
              also(n + 5, k, weights, stream, 5, may_fold);
          const size_t bytes = workspace_bytes(b.capacity(), w.packed, nullptr);
          const Buffer between = allocate_on(*under_test.backend, bytes);
          const auto args = [&](const Part& p) {
            NormLinearArgs a{.x = {.x = variant == 1 ? x.matrix(whole(p.side)) : x.matrix(p)},
                             .w = &w.packed,
                             .act = act,
                             .out = out.matrix(p),
                             .between = {.data = between.as(), .bytes = bytes},
                             .rows = p.rows};
            if (variant == 1) a.index = index.vector(p);
            if (variant == 2) a.also = &also.packed, a.also_out = also_out.matrix(p);
            return a;
          };
          const auto output = [&](Array& to, const NormProduct& of) {
            Output o{&to, reference::norm_linear(args(b.all(Side::host)), of.given()), {}};
            for (int i = 0; i < b.rows(); ++i)
              for (double off : of.bounds_of(row_of(x, variant == 1 ? (i * 7) % b.rows() : i)))
                o.bound.push_back(stored(off, o.want[o.bound.size()], act, weights));
            return o;
          };
          std::vector<Output> outputs = {output(out, w)};
          if (variant == 2) outputs.push_back(output(also_out, also));
          expect_claims(b, outputs, [&](Context& on, const Part& p) { norm_linear(on, args(p)); },
                        {.heads = 1, .head_dim = 64});
        }
  });
}

TEST_P(Halves, residual_linear_agrees_with_its_definition) {
  over_dtypes([](Dtype weights, Dtype stream) {
    for (const auto& [n, k] : {std::pair{96, 64}, {75, 33}, {192, 768}})
      for (bool in_place : {false, true}) {
        LinearShape shape{.n = n, .k = k, .in = weights, .out = stream, .lengths = kLengths};
        shape.residual = !in_place, shape.in_place = in_place, shape.residual_dtype = stream;
        LinearProblem q(shape);
        expect_claims(q.batch, q.wanted(),
                      [&](Context& on, const Part& p) {
                        const LinearArgs a = q.args(p);
                        Stream to{.x = a.out};
                        residual_linear(
                            on, {.x = a.x, .w = a.w, .residual = a.residual, .to = &to, .rows = a.rows});
                        EXPECT_FALSE(to.measured);  // there is no room for it
                      },
                      {.heads = 1, .head_dim = 64});
      }
  });
}

// So many rows that a device gains by it; elsewhere nobody reads moments, and rows carry none.
TEST_P(Halves, moments_that_rows_carry_are_those_of_the_rows) {
  over_dtypes([](Dtype weights, Dtype stream) {
    constexpr int kDim = 768;
    LinearShape shape{.rows = on_device() ? 12500 : 50, .n = kDim, .k = 64, .in = weights, .out = stream};
    shape.in_place = true, shape.residual_dtype = stream;
    LinearProblem q(shape);
    const NormProduct reader(kDim, kDim, weights, stream, 3, true);
    const size_t bytes = moments_bytes(*under_test.backend, reader.packed, q.batch.capacity());
    Array moments(Dtype::f32, q.batch.capacity(), kDim / 64 * 2);
    bool measured = false;
    run(
        [&](Context& on) {
          const Part p = q.batch.all(Side::backend);
          const LinearArgs a = q.args(p);
          Stream to{.x = a.out, .moments = bytes ? moments.matrix(p) : Tensor{}};
          residual_linear(on, {.x = a.x, .w = a.w, .residual = a.residual, .to = &to, .rows = a.rows});
          measured = to.measured;
        },
        1, {.heads = 1, .head_dim = 64});
    EXPECT_EQ(measured, bytes > 0 && !under_test.fixed);
    if (!measured) return;
    q.out.pull(), moments.pull();
    Batch b({shape.rows}, 0);
    const Part p = b.all(Side::host);
    const std::vector<double> want = reference::moments_of_rows(q.out.matrix(p), p.rows);
    const double unit = unit_of(stream);  // they are of rows before these are rounded
    for (int r = 0; r < shape.rows; ++r) {
      double sum = 0, squares = 0, size = 0;
      for (int c = 0; c < moments.cols(); ++c) (c % 2 ? squares : sum) += moments.value(r, c);
      for (double v : row_of(q.out, r)) size += std::fabs(v);
      ASSERT_NEAR(sum, want[static_cast<size_t>(2 * r)], (unit + kDim * kUnit) * size) << r;
      ASSERT_NEAR(squares, want[static_cast<size_t>(2 * r + 1)],
                  (2.01 * unit + kDim * kUnit) * want[static_cast<size_t>(2 * r + 1)])
          << r;
    }
  });
}

TEST_P(Halves, feed_forward_agrees_with_its_definition_in_place) {
  over_dtypes([](Dtype weights, Dtype stream) {
    for (const auto& [dim, hidden] : {std::pair{33, 70}, {192, 768}, {64, 256}})
      for (bool may_fold : {false, true}) {
        Batch b(kLengths);
        const Activation act = may_fold ? Activation::gelu_erf : Activation::gelu_tanh;
        Array x = stream_rows(b, dim, stream);
        const NormProduct w1(hidden, dim, weights, stream, 3, may_fold);
        const std::vector<float> w2 = matrix(dim, hidden, 7, weights), b2 = matrix(dim, 1, 8, Dtype::f32);
        const PackedLinear second =
            pack_linear(*under_test.backend, w2.data(), b2.data(), dim, hidden, weights);
        const size_t bytes = workspace_bytes(b.capacity(), w1.packed, &second);
        const Buffer between = allocate_on(*under_test.backend, bytes);
        const auto args = [&](Stream& rows, const Part& p) {
          rows.x = x.matrix(p);
          return FeedForwardArgs{.x = &rows,
                                 .w1 = &w1.packed,
                                 .w2 = &second,
                                 .act = act,
                                 .between = {.data = between.as(), .bytes = bytes},
                                 .rows = p.rows};
        };
        Stream rows;
        const FeedForwardArgs all = args(rows, b.all(Side::host));
        Output o{&x, reference::feed_forward(all, w1.given(), w2.data(), b2.data()), {}};
        const std::vector<double> inside = reference::norm_linear(
            {.x = rows, .w = &w1.packed, .act = act, .out = {}, .between = {}, .rows = all.rows}, w1.given());
        for (int i = 0; i < b.rows(); ++i) {
          const std::vector<double> off = w1.bounds_of(row_of(x, i));
          for (int c = 0; c < dim; ++c) {
            double squares = 0, sums = 0;
            for (size_t h = 0; h < static_cast<size_t>(hidden); ++h) {
              const double w = w2[static_cast<size_t>(c * hidden) + h],
                           v = inside[static_cast<size_t>(i * hidden) + h];
              squares += w * w * (std::pow(off[h], 2) + std::pow(8 * unit_of(weights) * v, 2));
              sums += std::fabs(w) * (1.13 * (2 * hidden + 2) * kUnit * std::fabs(v) + 2e-6);
            }
            const double unrounded = weights == Dtype::f32 ? std::sqrt(hidden * squares) : std::sqrt(squares);
            o.bound.push_back(stored(unrounded + sums, o.want[o.bound.size()], Activation::none, stream));
          }
        }
        expect_claims(b, {o},
                      [&](Context& on, const Part& p) {
                        Stream part;
                        feed_forward(on, args(part, p));
                      },
                      {.heads = 1, .head_dim = 64});
      }
  });
}

}  // namespace
}  // namespace hedgerow::test
