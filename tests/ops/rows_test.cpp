// SPDX-License-Identifier: Apache-2.0
// Ops that move or measure single rows, against their definitions.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/ops/claims.h"

namespace hedgerow::test {
namespace {

class Rows : public OpTest {};
HEDGEROW_FOR_EVERY_BACKEND(Rows);

// Rows of heads with values between them, one row without a direction.
Array rows_of_heads(Dtype dtype, const Batch& b, int width) {
  Array x(dtype, b.capacity(), width, 5);
  x.normals(4, b.rows());
  for (int c = 0; b.rows() > 2 && c < width; ++c) x.set(2, c, 0);
  return x;
}
// As heads, or with none of them as one vector.
Tensor view(Array& x, const Part& p, int heads, int dim) {
  return heads ? x.heads(p, heads, dim) : x.matrix(p);
}

template <class F>
void over_heads(F&& f) {
  over_shapes([&](Batch& b, int dim) {
    for (Dtype dtype : matrices())
      for (int heads : {0, 3}) {
        Array x = rows_of_heads(dtype, b, std::max(heads, 1) * dim);
        f(b, x, heads, dim);
      }
  });
}

TEST_P(Rows, row_norm_agrees_with_its_definition) {
  over_heads([](Batch& b, Array& x, int heads, int dim) {
    Array out(Dtype::f32, b.capacity());
    const auto args = [&](const Part& p) {
      return RowNormArgs{.x = view(x, p, heads, dim), .out = out.vector(p), .rows = p.rows};
    };
    const auto want = reference::row_norm(args(b.all(Side::host)));
    const double steps = sum_steps(x.cols()) + heads + 3;
    expect_claims(b, {{&out, want, bounds(want, [&](double w) { return steps * kUnit * w; })}},
                  [&](Context& on, const Part& p) { row_norm(on, args(p)); });
  });
}

TEST_P(Rows, direction_agrees_with_its_definition) {
  over_heads([](Batch& b, Array& x, int heads, int dim) {
    Array out(Dtype::f32, b.capacity(), dim);
    const auto args = [&](const Part& p) {
      return DirectionArgs{.x = view(x, p, heads, dim), .out = out.matrix(p), .rows = p.rows};
    };
    const auto want = reference::direction(args(b.all(Side::host)));
    std::vector<double> bound;
    const int copies = std::max(heads, 1);
    for (int i = 0; i < b.rows(); ++i) {
      double length = 0, off = 0;  // off: of the length, by the values' own errors
      std::vector<double> size;
      for (int c = 0; c < dim; ++c) {
        double mean = 0, sum = 0;
        for (int h = 0; h < copies; ++h) {
          mean += x.value(i, h * dim + c) / copies;
          sum += std::fabs(x.value(i, h * dim + c)) / copies;
        }
        length += mean * mean, off += sum * sum, size.push_back(sum);
      }
      length = std::max(std::sqrt(length), 1e-30);
      off = (copies + 2) * std::sqrt(off) / length;
      for (int c = 0; c < dim; ++c)
        bound.push_back(kUnit *
                        ((copies + 2) * size[static_cast<size_t>(c)] / length +
                         (sum_steps(dim) + 4 + off) * std::fabs(want[static_cast<size_t>(i * dim + c)])));
    }
    expect_claims(b, {{&out, want, bound}}, [&](Context& on, const Part& p) { direction(on, args(p)); });
  });
}

TEST_P(Rows, head_score_agrees_with_its_definition) {
  for (const auto& lengths : awkward_batches())
    for (int heads : {1, 3, 12})
      for (bool weighted : {false, true}) {
        Batch b(lengths);
        Array probs(Dtype::f32, b.capacity(), heads), weight(Dtype::f32, b.capacity()),
            out(Dtype::f32, b.capacity());
        weight.normals(6, b.rows());
        for (int i = 0; i < b.rows() * heads; ++i)
          probs.set(i, std::fabs(Rng{1, 5}.normal(static_cast<uint64_t>(i))));
        const auto args = [&](const Part& p) {
          return HeadScoreArgs{.probs = probs.matrix(p),
                               .weight = weighted ? weight.vector(p) : Tensor{},
                               .divisor = static_cast<float>(heads),
                               .out = out.vector(p),
                               .rows = p.rows};
        };
        const auto want = reference::head_score(args(b.all(Side::host)));
        const auto bound =  // all terms have one sign
            bounds(want, [&](double w) { return (heads + 3) * kUnit * std::fabs(w); });
        expect_claims(b, {{&out, want, bound}}, [&](Context& on, const Part& p) { head_score(on, args(p)); });
      }
}

// A CPU computes in double; a device in f32, where exp and log are off by four roundings in all.
TEST_P(Rows, keep_log_prob_agrees_with_its_definition_and_saturates_without_overflow) {
  for (const auto& lengths : awkward_batches()) {
    Batch b(lengths);
    Array x(Dtype::f32, b.capacity(), 2), out(Dtype::f32, b.capacity());
    x.normals(7, b.rows(), 20);
    if (b.rows() > 1) x.set(1, 0, 1000), x.set(1, 1, -1000);
    const auto args = [&](const Part& p) {
      return KeepLogProbArgs{.x = x.matrix(p), .out = out.vector(p), .rows = p.rows};
    };
    const auto want = reference::keep_log_prob(args(b.all(Side::host)));
    const auto bound = bounds(want, [](double w) {
      return on_device() ? 6 * kUnit * (1 + std::fabs(w)) : 1.01 * kUnit * std::fabs(w) + 1e-14;
    });
    expect_claims(b, {{&out, want, bound}}, [&](Context& on, const Part& p) { keep_log_prob(on, args(p)); });
  }
}

// Rows of the residual stream, and whole numbers.
template <class F>
void over_rows_to_move(F&& f) {
  std::vector<Dtype> dtypes = streams();
  dtypes.push_back(Dtype::i32);
  over_shapes([&](Batch& b, int dim) {
    for (Dtype dtype : dtypes) {
      const int others = b.rows() + 3;
      Array x(dtype, others, dim), index(Dtype::i32, b.capacity());
      x.normals(8, others, 100);
      for (int i = 0; i < b.rows(); ++i) index.set(i, i % 5 == 3 ? -1 : others - 1 - i);
      f(b, x, index);
    }
  });
}

TEST_P(Rows, gather_moves_the_rows_of_its_index) {
  over_rows_to_move([](Batch& b, Array& x, Array& index) {
    Array out(x.dtype(), b.capacity(), x.cols());
    const auto args = [&](const Part& p) {
      return GatherArgs{
          .x = x.matrix(whole(p.side)), .index = index.vector(p), .out = out.matrix(p), .rows = p.rows};
    };
    expect_claims(b, {{&out, reference::gather(args(b.all(Side::host)))}},
                  [&](Context& on, const Part& p) { gather(on, args(p)); });
  });
}

TEST_P(Rows, scatter_puts_rows_where_its_index_says_and_leaves_the_others) {
  over_rows_to_move([](Batch& b, Array& other, Array& index) {
    Array x(other.dtype(), b.capacity(), other.cols()), out = other.as(other.dtype());
    x.normals(9, b.rows(), 100);
    const auto args = [&](const Part& p) {
      return ScatterArgs{
          .x = x.matrix(p), .index = index.vector(p), .out = out.matrix(whole(p.side)), .rows = p.rows};
    };
    expect_claims(b, {{&out, reference::scatter(args(b.all(Side::host)))}},
                  [&](Context& on, const Part& p) { scatter(on, args(p)); });
  });
}

TEST_P(Rows, patchify_agrees_with_its_definition) {
  for (Dtype dtype : matrices())
    for (int patch : {4, 7, 16, 32})
      for (int special : {1, 2}) {
        const std::vector<int> tall = {patch, 3 * patch, 2 * patch}, broad = {2 * patch, patch, 5 * patch};
        std::vector<Array> pictures;
        std::vector<int> lengths;
        for (size_t i = 0; i < tall.size(); ++i) {
          pictures.emplace_back(Dtype::f32, 3 * tall[i] * broad[i]).normals(9 + i, 3 * tall[i] * broad[i]);
          lengths.push_back(special + tall[i] / patch * (broad[i] / patch));
        }
        Batch b(lengths);
        Array out(dtype, b.capacity(), 3 * patch * patch), heights(Dtype::i32, tall),
            widths(Dtype::i32, broad);
        std::vector<const float*> there, here;
        for (Array& a : pictures)
          here.push_back(a.data<float>(Side::host)), there.push_back(a.data<float>(Side::backend));
        const Buffer table = copy_on(*under_test.backend, there.data(), there.size() * sizeof there[0]);
        const auto args = [&](Side side) {
          const Part p = b.all(side);
          return PatchifyArgs{.images = side == Side::host ? here.data() : table.as<const float* const>(),
                              .heights = heights.data<int32_t>(side),
                              .widths = widths.data<int32_t>(side),
                              .patch = patch,
                              .special = special,
                              .out = out.matrix(p),
                              .rows = p.rows};
        };
        const auto want = reference::patchify(args(Side::host));
        const auto bound =
            bounds(want, [&](double w) { return dtype == Dtype::f32 ? 0 : rounding(dtype, w); });
        expect_outputs({{&out, want, bound}}, [&](Context& on) { patchify(on, args(Side::backend)); });
      }
}

}  // namespace
}  // namespace hedgerow::test
