// SPDX-License-Identifier: Apache-2.0
// The matrix product of every level that runs here: against its definition in double, with a bound that
// follows from the number of roundings; bit for bit between row counts, places, cuts and thread counts; and
// never outside its output.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "hedgerow/core/rng.h"
#include "hedgerow/kernels/cpu/level.h"
#include "hedgerow/kernels/kernels.h"

namespace hedgerow {
namespace {

constexpr Activation kActivations[] = {Activation::none, Activation::gelu_erf, Activation::gelu_tanh};
constexpr Dtype kDtypes[] = {Dtype::f32, Dtype::bf16};
constexpr int kPad = 7;  // elements between rows, and before and after the output
constexpr uint8_t kUntouched = 0xa5;

struct Problem {
  int rows, n, k;
  Dtype in = Dtype::f32, out = Dtype::f32;
  Activation act = Activation::none;
  bool bias = true, residual = false, alias = false;
};

// Values as the op sees them: already rounded to the input dtype.
struct Values {
  std::vector<float> x, w, bias, residual;
};
Values draw(const Problem& p) {
  const auto fill = [](std::vector<float>& v, size_t n, uint64_t key, bool round) {
    v.resize(n);
    for (size_t i = 0; i < n; ++i) {
      v[i] = static_cast<float>(Rng{11, key}.normal(i));
      if (round) v[i] = bf16_to_f32(f32_to_bf16(v[i]));
    }
  };
  Values v;
  fill(v.x, static_cast<size_t>(p.rows) * p.k, 1, p.in == Dtype::bf16);
  fill(v.w, static_cast<size_t>(p.n) * p.k, 2, p.in == Dtype::bf16);
  fill(v.bias, p.n, 3, false);
  fill(v.residual, static_cast<size_t>(p.rows) * p.n, 4, false);
  return v;
}

double activate(double y, Activation act) {
  if (act == Activation::gelu_erf) return 0.5 * y * std::erfc(-y / std::sqrt(2.0));
  if (act == Activation::gelu_tanh)
    return 0.5 * y * (1 + std::tanh(std::sqrt(2 / M_PI) * (y + 0.044715 * y * y * y)));
  return y;
}

// An output (and residual) buffer with untouched zones around every row.
struct Out {
  Out(const Problem& p, const Values& v) : stride(p.n + kPad), bytes(bytes_of(p.out)) {
    store.assign((static_cast<size_t>(p.rows) * stride + 2 * kPad) * bytes, kUntouched);
    view = matrix_view(store.data() + kPad * bytes, p.out, p.rows, p.n, stride);
    if (p.alias)
      for (int r = 0; r < p.rows; ++r)
        std::memcpy(view.row<float>(r), &v.residual[static_cast<size_t>(r) * p.n],
                    4 * static_cast<size_t>(p.n));
  }
  float at(int r, int c) const {
    return bytes == 4 ? view.row<float>(r)[c] : bf16_to_f32(view.row<uint16_t>(r)[c]);
  }
  const uint8_t* row_bytes(int r) const { return view.row<uint8_t>(0) + r * stride * bytes; }
  bool guards_intact(const Problem& p) const {
    std::vector<uint8_t> copy = store;
    for (int r = 0; r < p.rows; ++r)
      std::memset(copy.data() + (kPad + r * stride) * bytes, kUntouched, static_cast<size_t>(p.n) * bytes);
    for (uint8_t b : copy)
      if (b != kUntouched) return false;
    return true;
  }
  int64_t stride;
  int bytes;
  std::vector<uint8_t> store;
  Tensor view;
};

// x with a gap of NaN between rows: reading it would show.
struct Rows {
  Rows(const Problem& p, const std::vector<float>& x) : stride(p.k + kPad), offsets{0, p.rows} {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const size_t size = static_cast<size_t>(p.rows) * stride + kPad;
    wide.assign(size, nan), narrow.assign(size, f32_to_bf16(nan));
    for (int r = 0; r < p.rows; ++r)
      for (int i = 0; i < p.k; ++i) {
        const float a = x[static_cast<size_t>(r) * p.k + i];
        wide[r * stride + i] = a, narrow[r * stride + i] = f32_to_bf16(a);
      }
    const void* data = p.in == Dtype::f32 ? static_cast<void*>(wide.data()) : narrow.data();
    view = matrix_view(data, p.in, p.rows, p.k, stride);
    ragged = {offsets, 1, p.rows, p.rows};
  }
  int64_t stride;
  int32_t offsets[2];
  std::vector<float> wide;
  std::vector<uint16_t> narrow;
  Tensor view;
  Ragged ragged;
};

class LinearTest : public testing::TestWithParam<const Backend*> {
 protected:
  void SetUp() override {
    if (!GetParam()->runs_here()) GTEST_SKIP() << GetParam()->name << " does not run on this machine";
    level_ = cpu::level_named(GetParam()->name);
    if (!level_) GTEST_SKIP() << GetParam()->name << " is not a CPU table";
  }

  // Through the public op.
  Out run(const Problem& p, const Values& v, int threads = 1) {
    Context on(*GetParam(), threads);
    on.reserve_scratch(GetParam()->scratch_bytes(1, 1, 64));
    const PackedLinear w = pack_linear(on, v.w.data(), p.bias ? v.bias.data() : nullptr, p.n, p.k, p.in);
    const Rows x(p, v.x);
    Out out(p, v);
    linear(on, arguments(p, v, x, w, out));
    return out;
  }
  static LinearArgs arguments(const Problem& p, const Values& v, const Rows& x, const PackedLinear& w,
                              const Out& out) {
    LinearArgs a;
    a.x = x.view, a.w = &w, a.act = p.act, a.out = out.view, a.rows = x.ragged;
    if (p.residual) a.residual = p.alias ? out.view : matrix_view(v.residual.data(), Dtype::f32, p.rows, p.n);
    return a;
  }

  void expect_definition(const Problem& p) {
    SCOPED_TRACE(testing::Message() << "rows " << p.rows << " n " << p.n << " k " << p.k << " in "
                                    << name_of(p.in) << " out " << name_of(p.out) << " act "
                                    << static_cast<int>(p.act) << " bias " << p.bias << " residual "
                                    << p.residual << p.alias);
    const Values v = draw(p);
    const Out out = run(p, v);
    EXPECT_TRUE(out.guards_intact(p));
    const double eps = 0x1p-24;
    for (int r = 0; r < p.rows; ++r)
      for (int c = 0; c < p.n; ++c) {
        double sum = 0, size = 0;
        for (int i = 0; i < p.k; ++i) {
          const double product =
              double{v.x[static_cast<size_t>(r) * p.k + i]} * v.w[static_cast<size_t>(c) * p.k + i];
          sum += product, size += std::fabs(product);
        }
        if (p.bias) sum += v.bias[c], size += std::fabs(v.bias[c]);
        double y = activate(sum, p.act);
        // A level without fused multiply-add rounds twice a step; a GELU's slope is at most 1.13, its own
        // error 1e-6.
        double bound = 1.13 * eps * (2 * p.k + 2) * size + eps * std::fabs(y);
        if (p.act != Activation::none) bound += 1e-6 + 4 * eps * std::fabs(y);
        if (p.residual) {
          y += v.residual[static_cast<size_t>(r) * p.n + c];
          bound += eps * (std::fabs(y) + bound);
        }
        if (p.out == Dtype::bf16) bound += 0x1p-8 * (std::fabs(y) + bound);
        ASSERT_NEAR(out.at(r, c), y, bound) << "at " << r << ", " << c;
      }
  }

  const cpu::Level* level_ = nullptr;
};

TEST_P(LinearTest, MatchesItsDefinitionAtAwkwardSizes) {
  const int rows[] = {0, 1, 2, 3, 5, 6, 7, 8, 13, 14, 15, 27, 29, 43};
  const int shapes[][2] = {{1, 1},  {2, 3},   {12, 16},  {31, 15}, {32, 17},
                           {33, 2}, {64, 64}, {100, 33}, {129, 48}};
  for (Dtype in : kDtypes)
    for (int m : rows)
      for (const auto& s : shapes) expect_definition({m, s[0], s[1], in});
}

TEST_P(LinearTest, MatchesItsDefinitionInEveryVariant) {
  for (Dtype in : kDtypes)
    for (Dtype out : kDtypes)
      for (Activation act : kActivations)
        for (bool bias : {false, true})
          for (int residual = 0; residual < 3; ++residual) {
            if (residual == 2 && out == Dtype::bf16)
              continue;  // the residual is f32: it cannot be a bf16 output
            expect_definition({17, 75, 37, in, out, act, bias, residual > 0, residual == 2});
            expect_definition({3, 192, 40, in, out, act, bias, residual > 0, residual == 2});
          }
}

TEST_P(LinearTest, LongSumsTakeSeveralRounds) {
  for (Dtype in : kDtypes) {
    expect_definition({3, 5, 70001, in});
    expect_definition({17, 40, 22003, in, Dtype::f32, Activation::none, true, true});
  }
}

TEST_P(LinearTest, ARowDoesNotDependOnItsNeighbours) {
  for (Dtype in : kDtypes)
    for (Activation act : kActivations) {
      const Problem all{61, 150, 83, in, Dtype::f32, act, true, true};
      Values v = draw(all);
      // Row 30 is poison: it must stay alone.
      for (int i = 0; i < all.k; ++i) v.x[30 * all.k + i] = i % 2 ? INFINITY : NAN;
      const Out together = run(all, v);
      for (int count : {1, 2, 5, 14, 23})
        for (int first = 0; first + count <= all.rows; first += count) {
          Problem some = all;
          some.rows = count;
          Values part = v;
          part.x.assign(v.x.begin() + first * all.k, v.x.begin() + (first + count) * all.k);
          part.residual.assign(v.residual.begin() + first * all.n,
                               v.residual.begin() + (first + count) * all.n);
          const Out apart = run(some, part);
          for (int r = 0; r < count; ++r)
            if (first + r != 30)
              ASSERT_EQ(0, std::memcmp(apart.row_bytes(r), together.row_bytes(first + r), 4 * all.n))
                  << first + r;
        }
      for (int c = 0; c < all.n; ++c) {
        ASSERT_TRUE(std::isnan(together.at(30, c)));
        ASSERT_TRUE(std::isfinite(together.at(29, c)) && std::isfinite(together.at(31, c)));
      }
    }
}

TEST_P(LinearTest, NeitherThreadsNorCutsChangeABit) {
  for (Dtype in : kDtypes)
    for (const Problem& p :
         {Problem{97, 205, 192, in, in, Activation::gelu_erf}, Problem{20, 192, 192, in, in},
          Problem{1, 1000, 300, in}, Problem{300, 12, 100, in}, Problem{10, 40, 70001, in}}) {
      const Values v = draw(p);
      const Out one = run(p, v);
      for (int threads : {2, 3, 7})
        EXPECT_EQ(one.store, run(p, v, threads).store) << p.rows << " x " << p.n << " threads " << threads;

      // Any cut into tiles at all, in any order.
      Context on(*GetParam(), 1);
      const PackedLinear w = pack_linear(on, v.w.data(), v.bias.data(), p.n, p.k, p.in);
      const Rows x(p, v.x);
      Out out(p, v);
      const LinearArgs args = arguments(p, v, x, w, out);
      const Buffer scratch(level_->linear_scratch_bytes());
      const int panels = (p.n + level_->panel(p.in) - 1) / level_->panel(p.in);
      for (int high = p.rows, i = 0; high > 0; ++i) {
        const int low = std::max(0, high - 1 - static_cast<int>(Rng{5, 6}.bits(i) % 33));
        for (int left = 0; left < panels;) {
          const int right = std::min(panels, left + 1 + static_cast<int>(Rng{7, 8}.bits(left + i) % 3));
          level_->linear(args, {low, high, left, right}, scratch.as());
          left = right;
        }
        high = low;
      }
      EXPECT_EQ(one.store, out.store) << p.rows << " x " << p.n;
    }
}

TEST_P(LinearTest, GeluIsTrueToOneInAMillion) {
  constexpr int kCount = 200001;
  for (Activation act : kActivations) {
    if (act == Activation::none) continue;
    Problem p{kCount, 1, 1, Dtype::f32, Dtype::f32, act, false};
    Values v;
    for (int i = 0; i < kCount; ++i) v.x.push_back(static_cast<float>(-10 + 20.0 * i / (kCount - 1)));
    v.w = {1};
    const Out out = run(p, v);
    double worst = 0;
    for (int i = 0; i < kCount; ++i) {
      const double y = activate(v.x[i], act);
      worst = std::max(worst, std::fabs(out.at(i, 0) - y) - 0x1p-24 * std::fabs(y));
    }
    EXPECT_LE(worst, 1e-6);
    EXPECT_GT(worst, 0);

    p.rows = 5;
    v.x = {INFINITY, -INFINITY, NAN, 0.0f, -100.0f};
    const Out ends = run(p, v);
    EXPECT_EQ(ends.at(0, 0), INFINITY);
    EXPECT_NEAR(ends.at(1, 0), 0, 1e-6);
    EXPECT_TRUE(std::isnan(ends.at(2, 0)));
    EXPECT_EQ(ends.at(3, 0), 0);
    EXPECT_NEAR(ends.at(4, 0), 0, 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, LinearTest, testing::ValuesIn(all_backends()),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace hedgerow
