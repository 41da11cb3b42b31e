// SPDX-License-Identifier: Apache-2.0
// Ops over rows against their definitions, and bit for bit against themselves: any thread count, alone or in
// a batch.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/support.h"

namespace hedgerow::test {
namespace {

class Rows : public KernelTest {
 protected:
  // One op on the rows of a batch. call(on, rows, first, out): runs it on rows [first, first + rows.rows())
  // of the inputs; out points at the first output row. want and bound: per output value.
  template <class T, class Call>
  void check(const Batch& batch, int width, const std::vector<double>& want, const std::vector<double>& bound,
             Call&& call) {
    const size_t n = static_cast<size_t>(batch.rows()) * static_cast<size_t>(width);
    Guarded<T> once(n);
    Context on = context();
    call(on, batch.ragged(), 0, once.data());
    EXPECT_TRUE(once.intact());
    EXPECT_TRUE(near(once.values(), want, bound));
    for (int threads : {2, 3}) {
      Guarded<T> again(n);
      Context more = context(threads);
      call(more, batch.ragged(), 0, again.data());
      EXPECT_TRUE(again.intact());
      EXPECT_TRUE(same_bits(again.data(), once.data(), n)) << threads << " threads";
    }
    for (int i = 0; i < batch.size(); ++i) {
      const Batch one({batch.length(i)});
      const size_t values = static_cast<size_t>(one.rows()) * static_cast<size_t>(width);
      Guarded<T> alone(values, 1);
      call(on, one.ragged(), batch.begin(i), alone.data());
      EXPECT_TRUE(same_bits(alone.data(), once.data() + batch.begin(i) * width, values)) << "sequence " << i;
    }
  }

  // Every awkward batch at a middling width, every awkward width at one batch.
  template <class F>
  void over_shapes(F&& f) {
    for (const auto& lengths : awkward_batches()) f(Batch(lengths), 33);
    for (int dim : kAwkwardDims) f(Batch({5, 0, 3}), dim);
    f(Batch({197, 40, 197}), 384);  // large enough to be split among threads
  }
};

size_t cells(const Batch& b, int dim) { return static_cast<size_t>(b.rows()) * static_cast<size_t>(dim); }

template <class T>
void layer_norm_bound(const std::vector<float>& x, const Batch& b, int dim, const std::vector<float>& gamma,
                      const std::vector<float>& beta, const std::vector<double>& want,
                      std::vector<double>& bound) {
  for (int i = 0; i < b.rows(); ++i) {
    double mean = 0, size = 0, variance = 0;
    const float* row = x.data() + static_cast<size_t>(i) * static_cast<size_t>(dim);
    for (int c = 0; c < dim; ++c)
      mean += row[c] / static_cast<double>(dim), size += std::fabs(row[c]) / static_cast<double>(dim);
    for (int c = 0; c < dim; ++c) variance += (row[c] - mean) * (row[c] - mean) / dim;
    const double sd = std::sqrt(variance + 1e-6), steps = sum_steps(dim);
    for (int c = 0; c < dim; ++c) {
      const double z = std::fabs(row[c] - mean) / sd,
                   w = want[static_cast<size_t>(i) * static_cast<size_t>(dim) + static_cast<size_t>(c)];
      bound.push_back(kUnit *
                          (std::fabs(gamma[static_cast<size_t>(c)]) * (steps * size / sd + (steps + 8) * z) +
                           2 * std::fabs(beta[static_cast<size_t>(c)]) + 2 * std::fabs(w)) +
                      (sizeof(T) == 2 ? 1.01 * kUnitBf16 * std::fabs(w) : 0));
    }
  }
}

TEST_F(Rows, LayerNorm) {
  over_shapes([&](const Batch& b, int dim) {
    const auto x = normals(cells(b, dim) + 64, 1, 3), gamma = normals(static_cast<size_t>(dim), 2),
               beta = normals(static_cast<size_t>(dim), 3);
    const auto run = [&]<class T>(T) {
      const auto args = [&](Ragged rows, int first, T* out) {
        return LayerNormArgs{.x = matrix_of(x.data() + first * dim, rows.row_capacity, dim),
                             .index = {},
                             .gamma = vector_of(gamma.data(), dim),
                             .beta = vector_of(beta.data(), dim),
                             .out = matrix_of(out, rows.row_capacity, dim),
                             .rows = rows};
      };
      std::vector<T> unused(cells(b, dim) + 1);
      const auto want = reference::layer_norm(args(b.ragged(), 0, unused.data()));
      std::vector<double> bound;
      layer_norm_bound<T>(x, b, dim, gamma, beta, want, bound);
      check<T>(b, dim, want, bound,
               [&](Context& on, Ragged rows, int first, T* out) { layer_norm(on, args(rows, first, out)); });
    };
    run(float{});
    run(uint16_t{});
  });
}

TEST_F(Rows, LayerNormByIndexEqualsGatherThenLayerNorm) {
  const int dim = 65;
  const Batch b({9});
  const auto x = normals(20 * dim, 1), gamma = normals(dim, 2), beta = normals(dim, 3);
  const std::vector<int32_t> index = {19, 0, 0, 7, 3, 18, 2, 2, 11};
  Guarded<float> direct(9 * dim), moved(9 * dim), gathered(9 * dim);
  Context on = context();
  LayerNormArgs a{.x = matrix_of(x.data(), 20, dim),
                  .index = vector_of(index.data(), 9),
                  .gamma = vector_of(gamma.data(), dim),
                  .beta = vector_of(beta.data(), dim),
                  .out = matrix_of(direct.data(), 9, dim),
                  .rows = b.ragged()};
  layer_norm(on, a);
  gather(on, {a.x, a.index, matrix_of(gathered.data(), 9, dim), b.ragged()});
  a.x = matrix_of(gathered.data(), 9, dim);
  a.index = {};
  a.out = matrix_of(moved.data(), 9, dim);
  layer_norm(on, a);
  EXPECT_EQ(direct.values(), moved.values());
}

TEST_F(Rows, RowNormAndUnitRow) {
  over_shapes([&](const Batch& b, int dim) {
    for (int heads : {0, 3}) {  // 0: rank 2
      const int copies = std::max(heads, 1), stride = copies * dim + 5;
      auto x = normals(cells(b, stride) + 64, 4);
      if (b.rows() > 2) std::fill_n(x.begin() + 2 * stride, stride, 0.0f);  // a zero row stays zero
      const auto run = [&]<class T>(const std::vector<T>& values) {
        const auto view = [&](Ragged rows, int first) {
          const T* p = values.data() + first * stride;
          return heads ? heads_view(p, dtype_of<T>(), rows.row_capacity, heads, dim, stride)
                       : matrix_of(p, rows.row_capacity, dim, stride);
        };
        std::vector<double> bound;
        std::vector<float> unused(cells(b, dim) + 1);
        const auto norm =
            reference::row_norm({view(b.ragged(), 0), vector_of(unused.data(), b.rows()), b.ragged()});
        for (double w : norm) bound.push_back((sum_steps(copies * dim) + copies + 2) * kUnit * w);
        check<float>(b, 1, norm, bound, [&](Context& on, Ragged rows, int first, float* out) {
          row_norm(on, {view(rows, first), vector_of(out, rows.row_capacity), rows});
        });

        const auto unit =
            reference::unit_row({view(b.ragged(), 0), matrix_of(unused.data(), b.rows(), dim), b.ragged()});
        bound.clear();
        for (int i = 0; i < b.rows(); ++i) {
          double length = 0;
          std::vector<double> size(static_cast<size_t>(dim), 0.0);
          for (int c = 0; c < dim; ++c) {
            double v = 0;
            for (int h = 0; h < copies; ++h) {
              const double e = as_double(values[static_cast<size_t>(i * stride + h * dim + c)]) / copies;
              v += e;
              size[static_cast<size_t>(c)] += std::fabs(e);
            }
            length += v * v;
          }
          length = std::sqrt(length);
          double off = 0;  // of the length, by the values' own errors
          for (double s : size) off += s * s;
          off = (copies + 2) * std::sqrt(off) / std::max(length, 1e-30);
          for (int c = 0; c < dim; ++c)
            bound.push_back(kUnit *
                            ((copies + 2) * size[static_cast<size_t>(c)] / std::max(length, 1e-30) +
                             (sum_steps(dim) + 4 + off) * std::fabs(unit[static_cast<size_t>(i * dim + c)])));
        }
        check<float>(b, dim, unit, bound, [&](Context& on, Ragged rows, int first, float* out) {
          unit_row(on, {view(rows, first), matrix_of(out, rows.row_capacity, dim), rows});
        });
      };
      run(x);
      if (heads) run(to_bf16(x));
    }
  });
}

TEST_F(Rows, HeadScoreAndKeepLogProb) {
  for (const auto& lengths : awkward_batches()) {
    const Batch b(lengths);
    for (int heads : {1, 3, 12}) {
      auto p = normals(cells(b, heads) + 16, 5);
      for (float& v : p) v = std::fabs(v);
      const auto weight = normals(cells(b, 1) + 16, 6);
      const auto args = [&](Ragged rows, int first, float* out, bool weighted) {
        return HeadScoreArgs{matrix_of(p.data() + first * heads, rows.row_capacity, heads),
                             weighted ? vector_of(weight.data() + first, rows.row_capacity) : Tensor{},
                             static_cast<float>(heads), vector_of(out, rows.row_capacity), rows};
      };
      for (bool weighted : {false, true}) {
        std::vector<float> unused(cells(b, 1) + 1);
        const auto want = reference::head_score(args(b.ragged(), 0, unused.data(), weighted));
        std::vector<double> bound;
        for (double w : want) bound.push_back((heads + 3) * kUnit * std::fabs(w));  // all terms have one sign
        check<float>(b, 1, want, bound, [&](Context& on, Ragged rows, int first, float* out) {
          head_score(on, args(rows, first, out, weighted));
        });
      }
    }
    auto x = normals(cells(b, 2) + 16, 7, 20);
    if (b.rows() > 1) x[2] = 1000, x[3] = -1000;  // saturates without overflow
    const auto args = [&](Ragged rows, int first, float* out) {
      return KeepLogProbArgs{matrix_of(x.data() + 2 * first, rows.row_capacity, 2),
                             vector_of(out, rows.row_capacity), rows};
    };
    std::vector<float> unused(cells(b, 1) + 1);
    const auto want = reference::keep_log_prob(args(b.ragged(), 0, unused.data()));
    std::vector<double> bound;
    for (double w : want) bound.push_back(1.01 * kUnit * std::fabs(w) + 1e-14);
    check<float>(b, 1, want, bound, [&](Context& on, Ragged rows, int first, float* out) {
      keep_log_prob(on, args(rows, first, out));
    });
  }
}

TEST_F(Rows, GatherAndScatter) {
  over_shapes([&](const Batch& b, int dim) {
    const int sources = b.rows() + 3;
    const auto x = normals(static_cast<size_t>(sources * dim), 8);
    std::vector<int32_t> index(cells(b, 1) + 1);
    for (int i = 0; i < b.rows(); ++i) index[static_cast<size_t>(i)] = i % 5 == 3 ? -1 : sources - 1 - i;
    const auto args = [&](Ragged rows, int first, float* out) {
      return GatherArgs{matrix_of(x.data(), sources, dim), vector_of(index.data() + first, rows.row_capacity),
                        matrix_of(out, rows.row_capacity, dim), rows};
    };
    std::vector<float> unused(cells(b, dim) + 1);
    const auto want = reference::gather(args(b.ragged(), 0, unused.data()));
    check<float>(
        b, dim, want, std::vector<double>(want.size(), 0.0),
        [&](Context& on, Ragged rows, int first, float* out) { gather(on, args(rows, first, out)); });

    // Rows of 16 bits move as they are.
    const auto narrow = to_bf16(x);
    Guarded<uint16_t> halves(cells(b, dim));
    Context on = context();
    gather(on, {matrix_of(narrow.data(), sources, dim), vector_of(index.data(), b.rows()),
                matrix_of(halves.data(), b.rows(), dim), b.ragged()});
    EXPECT_TRUE(halves.intact());
    for (size_t i = 0; i < halves.size(); ++i) ASSERT_EQ(halves[i], f32_to_bf16(static_cast<float>(want[i])));
    Guarded<uint16_t> back(static_cast<size_t>(sources * dim));
    scatter(on, {matrix_of(halves.data(), b.rows(), dim), vector_of(index.data(), b.rows()),
                 matrix_of(back.data(), sources, dim), b.ragged()});
    EXPECT_TRUE(back.intact());
    for (int i = 0; i < b.rows(); ++i)
      if (const int to = index[static_cast<size_t>(i)]; to >= 0)
        ASSERT_TRUE(same_bits(back.data() + to * dim, halves.data() + i * dim, static_cast<size_t>(dim)));

    for (int threads : {1, 3}) {
      Guarded<float> out(static_cast<size_t>(sources * dim));
      for (size_t i = 0; i < out.size(); ++i) out[i] = -7;
      const ScatterArgs s{matrix_of(x.data(), b.rows(), dim), vector_of(index.data(), b.rows()),
                          matrix_of(out.data(), sources, dim), b.ragged()};
      const auto scattered = reference::scatter(s);
      Context on = context(threads);
      scatter(on, s);
      EXPECT_TRUE(out.intact());
      EXPECT_TRUE(near(out.values(), scattered, std::vector<double>(scattered.size(), 0.0)));
    }
  });
}

TEST_F(Rows, Patchify) {
  for (int patch : {4, 7, 16, 32}) {
    const std::vector<int> heights = {patch, 3 * patch, 2 * patch}, widths = {2 * patch, patch, 5 * patch};
    std::vector<std::vector<float>> pictures;
    std::vector<const float*> images;
    std::vector<int> lengths;
    for (size_t i = 0; i < heights.size(); ++i) {
      pictures.push_back(normals(static_cast<size_t>(3 * heights[i] * widths[i]), 9 + i));
      lengths.push_back(2 + heights[i] / patch * (widths[i] / patch));
    }
    for (const auto& p : pictures) images.push_back(p.data());
    const Batch b(lengths);
    const int dim = 3 * patch * patch;
    const auto run = [&]<class T>(T) {
      Guarded<T> out(cells(b, dim)), again(cells(b, dim));
      PatchifyArgs a{
          images.data(), heights.data(), widths.data(), patch, 2, matrix_of(out.data(), b.rows(), dim),
          b.ragged()};
      const auto want = reference::patchify(a);
      std::vector<double> bound;
      for (double w : want) bound.push_back(sizeof(T) == 2 ? kUnitBf16 * std::fabs(w) : 0);
      Context on = context(), more = context(3);
      patchify(on, a);
      EXPECT_TRUE(out.intact());
      EXPECT_TRUE(near(out.values(), want, bound));
      a.out = matrix_of(again.data(), b.rows(), dim);
      patchify(more, a);
      EXPECT_EQ(again.values(), out.values());
    };
    run(float{});
    run(uint16_t{});
  }
}

TEST_F(Rows, GlobalHalf) {
  over_shapes([&](const Batch& b, int dim) {
    const auto x = normals(cells(b, dim), 10, 2);
    std::vector<uint8_t> alive(cells(b, 1) + 1);
    for (size_t i = 0; i < alive.size(); ++i) alive[i] = Rng{3, 1}.uniform(i) < 0.6;
    const auto run = [&]<class T>(const std::vector<T>& values) {
      for (bool masked : {false, true}) {
        Guarded<T> first(values);
        const GlobalHalfArgs a{matrix_of(first.data(), b.rows(), dim),
                               masked ? vector_of(alive.data(), b.rows()) : Tensor{}, 1, b.ragged()};
        const auto want = reference::global_half(a);
        double largest = 0;
        for (T v : values) largest = std::max(largest, std::fabs(as_double(v)));
        std::vector<double> bound;
        for (double w : want)
          bound.push_back((b.ragged().max_len + 2) * kUnit * largest +
                          (sizeof(T) == 2 ? kUnitBf16 * std::fabs(w) : 0));
        Context on = context();
        global_half(on, a);
        EXPECT_TRUE(first.intact());
        EXPECT_TRUE(near(first.values(), want, bound));
        Guarded<T> more(values), alone(values);
        Context threads = context(3);
        GlobalHalfArgs c = a;
        c.x = matrix_of(more.data(), b.rows(), dim);
        global_half(threads, c);
        for (int i = 0; i < b.size(); ++i) {
          const Batch one({b.length(i)});
          c.x = matrix_of(alone.data() + b.begin(i) * dim, one.rows(), dim);
          if (masked) c.alive = vector_of(alive.data() + b.begin(i), one.rows());
          c.rows = one.ragged();
          global_half(on, c);
        }
        EXPECT_TRUE(same_bits(more.data(), first.data(), values.size()));
        EXPECT_TRUE(same_bits(alone.data(), first.data(), values.size()));
      }
    };
    run(x);
    run(to_bf16(x));
  });
}

// A row that takes no part may hold anything, and a sequence full of NaN is its own business.
TEST_F(Rows, NothingLeaksFromMaskedRowsOrNeighbours) {
  const int dim = 40;
  const Batch b({20, 30}), compact({15});
  auto x = normals(50 * dim, 11);
  std::vector<uint8_t> alive(50, 1);
  std::vector<float> live;
  for (int i = 0; i < 20; ++i) {
    alive[static_cast<size_t>(i)] = i % 4 != 3;
    if (i % 4 != 3) live.insert(live.end(), x.begin() + i * dim, x.begin() + (i + 1) * dim);
    if (i % 4 == 3) std::fill_n(x.begin() + i * dim, dim, kNan);
  }
  std::fill(x.begin() + 20 * dim, x.end(), kNan);
  Context on = context();
  global_half(on, {matrix_of(x.data(), 50, dim), vector_of(alive.data(), 50), 1, b.ragged()});
  global_half(on, {matrix_of(live.data(), 15, dim), {}, 1, compact.ragged()});
  for (int i = 0, j = 0; i < 20; ++i)
    if (i % 4 != 3) {
      EXPECT_TRUE(same_bits(x.data() + i * dim, live.data() + j++ * dim, dim)) << i;
    }
}

}  // namespace
}  // namespace hedgerow::test
