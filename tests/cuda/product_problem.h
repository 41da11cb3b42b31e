// SPDX-License-Identifier: Apache-2.0
// Products as CUDA kernels take them: rows as they are, by index, normalised or divided on the way, with
// moments of rows that come in or go out; held against their definition plan by plan.
#pragma once

#include "hedgerow/kernels/reference/values.h"
#include "tests/cuda/harness.h"
#include "tests/ops/linear_problem.h"

namespace hedgerow::cuda::test {

enum class From { rows, index, norm, norm_index, divided };

inline std::string text_of(const LinearPlan& p) {
  constexpr const char* kTiles[] = {"automatic", "plain",  "split 64x64",   "split 128x64",  "split 128x128",
                                    "mma",       "staged", "ping-pong 192", "ping-pong 128", "small "};
  constexpr const char* kShares[] = {"", " weights shared", " rows shared"};
  return kTiles[static_cast<int>(p.tile)] + (p.rows ? std::to_string(p.rows) : "") + " by " +
         std::to_string(p.split) + ", " + std::to_string(p.groups) + " groups" +
         (p.cols ? " of " + std::to_string(p.cols) + " columns" : "") + kShares[static_cast<int>(p.share)];
}
// Tiles that take turns, and what the blocks of a cluster may fetch for each other.
inline std::vector<LinearPlan> turning_plans() {
  std::vector<LinearPlan> plans;
  for (LinearTile tile : {LinearTile::pingpong_192, LinearTile::pingpong_128})
    for (Share share : {Share::none, Share::weights, Share::rows})
      plans.push_back({.tile = tile, .share = share});
  return plans;
}

// Sum and sum of squares of every 64 of `values`, rows of n of them.
inline std::vector<double> moments_of(const std::vector<double>& values, int n) {
  std::vector<double> m;
  for (size_t i = 0; n % 64 == 0 && i < values.size(); i += 64) {
    m.insert(m.end(), {0.0, 0.0});
    for (size_t j = i; j < i + 64; ++j) m.end()[-2] += values[j], m.end()[-1] += values[j] * values[j];
  }
  return m;
}

struct ProductProblem : LinearProblem {
  From from;
  bool gives_moments = false, has_moments = false;
  Array gamma, beta, index, x_moments, moments;

  // x_dtype: of rows that are normalised on the way.
  ProductProblem(const LinearShape& s, From from_ = From::rows, Dtype x_dtype = Dtype::u8)
      : LinearProblem(s),
        from(from_),
        gamma(Dtype::f32, s.k),
        beta(Dtype::f32, s.k),
        index(Dtype::i32, batch.capacity()),
        x_moments(Dtype::f32, batch.capacity(), std::max(2, s.k / 64 * 2)),
        moments(Dtype::f32, batch.capacity(), std::max(2, s.n / 64 * 2)) {
    gamma.normals(5, s.k), beta.normals(6, s.k);
    if (x_dtype != Dtype::u8) x = x.as(x_dtype);
    for (int i = 0; i < batch.rows() * s.k && (normed() || from == From::divided); ++i)
      x.set(i, 3 * x.get(i) + 1);
    for (int i = 0; i < batch.capacity(); ++i)  // past the live rows it may say anything
      index.set(i, i < batch.rows() ? (i * 7) % batch.rows() : i % 2 ? -5 : 1e9);
  }
  // Gives the product what is known of its rows.
  void measure() {
    has_moments = true;
    const std::vector<double> m = moments_of(x.values(batch.rows()), shape.k);
    for (size_t i = 0; i < m.size(); ++i) x_moments.set(static_cast<int64_t>(i), m[i]);
  }
  bool normed() const { return from == From::norm || from == From::norm_index; }
  bool indexed() const { return from == From::index || from == From::norm_index; }

  Product product(const Part& p) {
    Product a = product_of(args(p));
    if (indexed()) a.index = index.vector(p);
    if (normed()) a.norm_gamma = gamma.vector(whole(p.side)), a.norm_beta = beta.vector(whole(p.side));
    a.divided = from == From::divided;
    if (has_moments) a.x_moments = x_moments.matrix(p);
    if (gives_moments) a.moments = moments.matrix(p);
    return a;
  }
  // Beside the derived bound a tighter one that kernels keep to; rows that are normalised here and there may
  // round to different neighbours: half a step of a few values.
  std::vector<Output> wanted() {
    const double steady = shape.out == Dtype::f32   ? 5e-5
                          : shape.out == Dtype::f16 ? 4e-3
                                                    : 3.2e-2,
                 flips = !normed()                 ? 0
                         : shape.in == Dtype::f16  ? 3e-3
                         : shape.in == Dtype::bf16 ? 2.4e-2
                                                   : 1e-5;
    std::vector<Output> outputs = LinearProblem::wanted();
    for (double& b : outputs[0].bound)
      if (!is_quantised(shape.in)) b = from == From::rows ? std::min(b, steady) : steady + flips;
    return outputs;
  }

  void expect(const std::vector<LinearPlan>& plans) {
    const std::vector<Output> outputs = wanted();
    for (const LinearPlan& plan : plans) {
      SCOPED_TRACE(testing::Message()
                   << shape << ", from " << static_cast<int>(from) << ": " << text_of(plan));
      const auto queue = [&](Context& on) {
        queued(cuda::linear(stream_of(on), product(batch.all(Side::backend)), plan));
      };
      moments.restore();
      expect_outputs(outputs, queue, {}, {1});
      if (gives_moments) expect_moments(outputs[0].want);
    }
  }

 protected:
  bool repeats() const override { return !indexed(); }
  // Normalised rows are rounded to the dtype of the weights, divided ones are not.
  Array given_rows(int count) override {
    if (from == From::rows) return LinearProblem::given_rows(count);
    Batch few({count});
    const Part p = few.all(Side::host);
    Array rows(normed() ? shape.in : Dtype::f32, count, shape.k);
    const std::vector<double> values =
        normed() ? reference::layer_norm({.x = x.matrix(p),
                                          .index = indexed() ? index.vector(p) : Tensor{},
                                          .gamma = gamma.vector(p),
                                          .beta = beta.vector(p),
                                          .out = {},
                                          .rows = p.rows})
                 : std::vector<double>();
    for (int r = 0; r < count; ++r) {
      const std::vector<double> row =
          reference::row(x.matrix(p), indexed() ? static_cast<int64_t>(index.get(r)) : r);
      const double by = from == From::divided ? std::sqrt(reference::moments(row).variance + 1e-6) : 1;
      for (int c = 0; c < shape.k; ++c)
        rows.set(r, c,
                 normed() ? values[static_cast<size_t>(r * shape.k + c)] : row[static_cast<size_t>(c)] / by);
    }
    return rows.as(Dtype::f32);
  }

 private:
  // A row's pairs add up; they are of outputs before these are rounded.
  void expect_moments(const std::vector<double>& outputs) {
    moments.pull();
    const std::vector<double> want = moments_of(outputs, shape.n), got = moments.values(batch.rows());
    const size_t cols = static_cast<size_t>(moments.cols());
    double off = 0;
    for (size_t r = 0; r < static_cast<size_t>(batch.rows()); ++r) {
      double by[2] = {};
      for (size_t i = r * cols; i < (r + 1) * cols; ++i) by[i % 2] += got[i] - want[i];
      for (double b : by)
        if (!(std::fabs(b) <= off)) off = std::fabs(b);
    }
    EXPECT_LE(off, 5e-2);
    EXPECT_TRUE(moments.untouched_behind(batch.rows()));
  }
};

inline void expect_product(const LinearShape& shape, const std::vector<LinearPlan>& plans,
                           From from = From::rows, Dtype x_dtype = Dtype::u8) {
  ProductProblem(shape, from, x_dtype).expect(plans);
}

}  // namespace hedgerow::cuda::test
