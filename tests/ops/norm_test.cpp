// SPDX-License-Identifier: Apache-2.0
// Layer norm against its definition: every dtype of rows and outputs that a backend takes, 8 bits included.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/ops/claims.h"

namespace hedgerow::test {
namespace {

class Norm : public OpTest {};
HEDGEROW_FOR_EVERY_BACKEND(Norm);

// Rows and what is learned of a norm.
struct Norms {
  Batch& b;
  int dim;
  Array x, gamma, beta;
  Norms(Batch& batch, int width, Dtype in)
      : b(batch),
        dim(width),
        x(in, batch.capacity(), width),
        gamma(Dtype::f32, width),
        beta(Dtype::f32, width) {
    x.normals(1, b.rows(), 3), gamma.normals(2, dim), beta.normals(3, dim);
  }
  LayerNormArgs args(const Part& p, Array& out) {
    return {.x = x.matrix(p),
            .index = {},
            .gamma = gamma.vector(whole(p.side)),
            .beta = beta.vector(whole(p.side)),
            .out = out.matrix(p),
            .rows = p.rows};
  }
  // Of values in f32, before they are stored: the mean, the deviation and the affine step round.
  std::vector<double> bounds_of(const std::vector<double>& want) const {
    std::vector<double> bound;
    const double steps = sum_steps(dim);
    for (int i = 0; i < b.rows(); ++i) {
      double mean = 0, size = 0, variance = 0;
      for (int c = 0; c < dim; ++c) mean += x.value(i, c) / dim, size += std::fabs(x.value(i, c)) / dim;
      for (int c = 0; c < dim; ++c) variance += std::pow(x.value(i, c) - mean, 2) / dim;
      const double sd = std::sqrt(variance + 1e-6);
      for (int c = 0; c < dim; ++c) {
        const double z = std::fabs(x.value(i, c) - mean) / sd, g = std::fabs(gamma.get(c)),
                     shift = std::fabs(beta.get(c));
        bound.push_back(kUnit * (g * (steps * size / sd + (steps + 8) * z) + 2 * shift +
                                 2 * std::fabs(want[static_cast<size_t>(i * dim + c)])));
      }
    }
    return bound;
  }
};

template <class F>
void over_norms(F&& f) {
  over_shapes([&](Batch& b, int dim) {
    for (Dtype in : streams()) {
      Norms n(b, dim, in);
      f(n);
    }
  });
}

TEST_P(Norm, layer_norm_agrees_with_its_definition) {
  over_norms([](Norms& n) {
    for (Dtype to : matrices()) {
      Array out(to, n.b.capacity(), n.dim);
      const auto want = reference::layer_norm(n.args(n.b.all(Side::host), out));
      std::vector<double> bound = n.bounds_of(want);
      for (size_t i = 0; to != Dtype::f32 && i < want.size(); ++i) bound[i] += 1.01 * rounding(to, want[i]);
      expect_claims(n.b, {{&out, want, bound}},
                    [&](Context& on, const Part& p) { layer_norm(on, n.args(p, out)); });
    }
  });
}

// Squares are summed, a root and a quotient round, and the product with gamma.
TEST_P(Norm, rms_norm_agrees_with_its_definition) {
  if (!under_test.backend->traits().codes) GTEST_SKIP() << under_test.backend->name << " has no RMS norm";
  over_norms([](Norms& n) {
    for (Dtype to : matrices()) {
      Array out(to, n.b.capacity(), n.dim);
      const auto args = [&](const Part& p) {
        LayerNormArgs a = n.args(p, out);
        a.kind = NormKind::rms, a.beta = {};
        return a;
      };
      const auto want = reference::layer_norm(args(n.b.all(Side::host)));
      expect_claims(n.b,
                    {{&out, want,
                      bounds(want,
                             [&](double w) {
                               const double off = kUnit * (sum_steps(n.dim) / 2 + 8) * std::fabs(w);
                               return off + (to == Dtype::f32 ? 0 : 1.01 * rounding(to, w));
                             })}},
                    [&](Context& on, const Part& p) { layer_norm(on, args(p)); });
    }
  });
}

TEST_P(Norm, by_index_equals_gather_then_norm) {
  const std::vector<int> index = {19, 0, 0, 7, 3, 18, 2, 2, 11};
  for (int dim : {65, 384})
    for (Dtype to : matrices()) {
      Batch from({20}, 0), b({9}, 0);
      Norms n(from, dim, Dtype::f32);
      Array list(Dtype::i32, index), gathered(Dtype::f32, 9, dim), direct(to, 9, dim), moved(to, 9, dim);
      const Part p = b.all(Side::backend);
      const auto args = [&](Array& x, Tensor by, Array& out) {
        LayerNormArgs a = n.args(p, out);
        a.x = x.matrix(p), a.index = by;
        return a;
      };
      run([&](Context& on) {
        layer_norm(on, args(n.x, list.vector(p), direct));
        gather(on, {.x = n.x.matrix(p), .index = list.vector(p), .out = gathered.matrix(p), .rows = p.rows});
        layer_norm(on, args(gathered, {}, moved));
      });
      direct.pull(), moved.pull();
      EXPECT_TRUE(direct.bytes() == moved.bytes());
      EXPECT_FALSE(std::isnan(direct.get(0)));
    }
}

// What is stored is the exact value rounded, or, where f32 came out on the other side of a midpoint, its
// neighbour, which is rare; scales that leave room, and one in which many values are too large.
TEST_P(Norm, e4m3_rows_hold_the_nearest_values) {
  if (!takes_eight_bits()) GTEST_SKIP() << under_test.backend->name << " has no 8-bit rows here";
  over_norms([](Norms& n) {
    Array out(Dtype::e4m3, n.b.capacity(), n.dim);
    out.scale = n.dim == 384 ? 0x1p-8f : 0x1p-4f;
    std::vector<double> want = reference::layer_norm(n.args(n.b.all(Side::host), out)), bound;
    const double most = 448.0 * out.scale;
    for (double& w : want) w = std::clamp(w, -most, most);
    for (double w : want) bound.push_back(0x1.01p-4 * std::fabs(w) + 0x1.01p-10 * out.scale);
    expect_claims(n.b, {{&out, want, bound}},
                  [&](Context& on, const Part& p) { layer_norm(on, n.args(p, out)); });
    size_t nearest = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      const uint8_t exact = f32_to_e4m3(static_cast<float>(want[i] / out.scale));
      nearest += out.get(static_cast<int64_t>(i)) == static_cast<double>(e4m3_to_f32(exact)) * out.scale;
    }
    EXPECT_GE(nearest + want.size() / 1000 + 2, want.size());
  });
}

TEST_P(Norm, int8_rows_hold_values_to_half_a_step_of_their_own_scale) {
  if (!takes_eight_bits()) GTEST_SKIP() << under_test.backend->name << " has no 8-bit rows here";
  over_norms([](Norms& n) {
    Array out(Dtype::i8, n.b.capacity(), n.dim), scales(Dtype::f32, n.b.capacity());
    const auto args = [&](const Part& p) {
      LayerNormArgs a = n.args(p, out);
      a.out_scales = scales.vector(p);
      return a;
    };
    const auto want = reference::layer_norm(args(n.b.all(Side::host)));
    std::vector<double> steps, scale, step_bound, scale_bound;
    for (int r = 0; r < n.b.rows(); ++r) {
      double most = 0;
      for (int c = 0; c < n.dim; ++c)
        most = std::max(most, std::fabs(want[static_cast<size_t>(r * n.dim + c)]));
      scale.push_back(most / 127), scale_bound.push_back(1e-5 * most);
      for (int c = 0; c < n.dim; ++c) {
        steps.push_back(want[static_cast<size_t>(r * n.dim + c)] / most * 127);
        step_bound.push_back(0.501 + 127e-5);
      }
    }
    expect_claims(n.b, {{&out, steps, step_bound}, {&scales, scale, scale_bound}},
                  [&](Context& on, const Part& p) { layer_norm(on, args(p)); });
  });
}

}  // namespace
}  // namespace hedgerow::test
