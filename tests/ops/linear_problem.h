// SPDX-License-Identifier: Apache-2.0
// One product: random rows and weights as the op sees them, and how far its result may be from the
// definition. Rows repeat after kDistinct, which divides no tile, so that the slow definition need not
// compute all.
#pragma once

#include "hedgerow/kernels/reference/reference.h"
#include "tests/ops/claims.h"

namespace hedgerow::test {

struct LinearShape {
  int rows = 0, n = 0, k = 0;
  Dtype in = Dtype::f32, out = Dtype::f32;
  Activation act = Activation::none;
  bool bias = true, residual = false, in_place = false;  // in place: the residual lies where the output goes
  Dtype residual_dtype = Dtype::f32;                     // in place: as out
  bool whole = false;                                    // small whole numbers, of which sums are exact
  int spare = 3, gap = 0;                                // rows, and values behind each, that are not there
  std::vector<int> lengths = {};                         // of sequences, where they matter
};
inline std::ostream& operator<<(std::ostream& to, const LinearShape& s) {
  return to << s.rows << " rows, " << s.n << " x " << s.k << ", " << name_of(s.in) << " to " << name_of(s.out)
            << ", act " << static_cast<int>(s.act) << (s.bias ? "" : ", no bias")
            << (s.in_place   ? ", in place"
                : s.residual ? std::string(", residual ") + name_of(s.residual_dtype)
                             : "");
}

class LinearProblem {
 public:
  static constexpr int kDistinct = 97;
  static constexpr float kOutScale = 0x1p-2f;

  explicit LinearProblem(const LinearShape& given)
      : shape(given),
        batch(given.lengths.empty() ? std::vector<int>{given.rows / 3, 0, given.rows - given.rows / 3}
                                    : given.lengths,
              given.spare),
        x(given.in, batch.capacity(), given.k, given.gap),
        out(given.out, batch.capacity(), given.n, given.gap),
        residual(given.in_place ? given.out : given.residual_dtype, batch.capacity(), given.n, given.gap),
        x_scales(Dtype::f32, batch.capacity()) {
    if (shape.in == Dtype::e4m3) x.scale = 0x1p-3f;
    if (shape.out == Dtype::e4m3) out.scale = kOutScale;
    for (int r = 0; r < batch.rows(); ++r) {
      x_scales.set(r, 0.01 + 0.05 * Rng{5, 5}.uniform(row(r)));
      for (int c = 0; c < shape.k; ++c) {
        const uint64_t i = row(r) * static_cast<uint64_t>(shape.k) + static_cast<uint64_t>(c);
        x.set(r, c,
              shape.in == Dtype::i8 ? integer(i, 127)
              : shape.whole         ? integer(i, 2)
                                    : Rng{1, 1}.normal(i));
      }
      for (int c = 0; c < shape.n; ++c) {
        const uint64_t i = row(r) * static_cast<uint64_t>(shape.n) + static_cast<uint64_t>(c);
        residual.set(r, c, shape.whole ? integer(i + 77, 40) : Rng{1, 2}.normal(i));
        if (shape.in_place) out.set(r, c, residual.value(r, c));
      }
    }
    for (int i = 0; i < shape.n; ++i)
      bias.push_back(static_cast<float>(shape.whole ? integer(static_cast<uint64_t>(i) + 5, 20)
                                                    : Rng{1, 3}.normal(static_cast<uint64_t>(i))));
    pack();
  }

  virtual ~LinearProblem() = default;

  LinearArgs args(const Part& p) {
    return {.x = x.matrix(p),
            .w = &packed,
            .act = shape.act,
            .x_scales = shape.in == Dtype::i8 ? x_scales.vector(p) : Tensor{},
            .residual = shape.in_place   ? out.matrix(p)
                        : shape.residual ? residual.matrix(p)
                                         : Tensor{},
            .out = out.matrix(p),
            .rows = p.rows};
  }

  // Values of f32 and 16 bits: a product and a sum may round apart; a GELU's slope is at most 1.13, its own
  // error 1e-6. e4m3: each instruction cuts 33 terms off at 2^-13 of the largest; eight deviations of such a
  // sum, of terms that are at most 8 at any time. int8 sums are exact. Behind 8 bits GELU is off by 2e-3.
  std::vector<Output> wanted() {
    const int distinct = repeats() ? std::min(batch.rows(), kDistinct) : batch.rows();
    Batch few({distinct});
    Array rows = given_rows(distinct);
    const Part p = few.all(Side::host);
    LinearArgs a = args(p);
    a.x = rows.matrix(p), a.residual = shape.residual || shape.in_place ? residual.matrix(p) : Tensor{};
    const float* const b = shape.bias ? bias.data() : nullptr;
    const std::vector<double> want = reference::linear(a, weights.data(), b, shape.n, shape.k);
    std::vector<double> size;
    if (!is_quantised(shape.in)) {
      for (int64_t i = 0; i < rows.rows() * rows.cols(); ++i) rows.set(i, std::fabs(rows.get(i)));
      std::vector<float> w = weights, c = bias;
      for (float& v : w) v = std::fabs(v);
      for (float& v : c) v = std::fabs(v);
      a.residual = {}, a.act = Activation::none;
      size = reference::linear(a, w.data(), b ? c.data() : nullptr, shape.n, shape.k);
    }
    Output output{&out, {}, {}};
    for (int r = 0; r < batch.rows(); ++r)
      for (int c = 0; c < shape.n; ++c) {
        const size_t i = static_cast<size_t>(r % distinct * shape.n + c);
        double w = want[i], off = size.empty() ? quantised_bound(w) : bound_of(w, size[i]);
        if (shape.whole) {  // exact sums are stored as a CPU rounds them, too large ones too
          if (shape.out == Dtype::e4m3)
            w = static_cast<double>(e4m3_to_f32(f32_to_e4m3(static_cast<float>(w) / kOutScale))) * kOutScale;
          off = 0;
        }
        output.want.push_back(w), output.bound.push_back(off);
      }
    return {output};
  }

  LinearShape shape;
  Batch batch;
  Array x, out, residual, x_scales;
  std::vector<float> weights, bias;  // as packed
  PackedLinear packed;

 protected:
  // What the product is of, in f32; whether it repeats after kDistinct rows.
  virtual Array given_rows(int count) {
    Array rows(Dtype::f32, count, shape.k);
    for (int r = 0; r < count; ++r)
      for (int c = 0; c < shape.k; ++c)
        rows.set(r, c, x.value(r, c) * (shape.in == Dtype::i8 ? x_scales.get(r) : 1));
    return rows;
  }
  virtual bool repeats() const { return true; }

 private:
  static uint64_t row(int r) { return static_cast<uint64_t>(r % kDistinct); }
  static double integer(uint64_t i, int most) {
    return std::floor(Rng{7, 3}.uniform(i) * (2 * most + 1)) - most;
  }
  bool gelu() const { return shape.act != Activation::none; }

  double bound_of(double want, double size) const {
    double off = 1.13 * kUnit * (2 * shape.k + 2) * size + kUnit * std::fabs(want);
    if (gelu()) off += 1e-6 + 4 * kUnit * std::fabs(want);
    if (shape.residual || shape.in_place) off += kUnit * (std::fabs(want) + off);
    return off + (shape.out == Dtype::f32 ? 0 : rounding(shape.out, std::fabs(want) + off));
  }
  double quantised_bound(double want) const {
    const double sums = shape.in == Dtype::e4m3 ? 8 * 0x1p-13 * std::sqrt(33.0 * shape.k / 32) + 1e-5
                        : gelu()                ? 0
                                                : 2e-5 * (1 + std::fabs(want));
    const double off = sums + (gelu() ? 2e-3 + std::fabs(want) * 0x1p-10 : 0);
    if (shape.out == Dtype::f16) return off + std::fabs(want) * 0x1p-11 + 1e-6;
    return off * 1.07 + std::fabs(want) * 0x1p-4 + kOutScale * 0x1p-10;
  }

  void pack() {
    const size_t k = static_cast<size_t>(shape.k);
    float most = 0;
    for (size_t i = 0; i < static_cast<size_t>(shape.n) * k; ++i) {
      const double of_row =
          shape.in == Dtype::i8 ? 1.0 + static_cast<double>(i / k % 5) : 1;  // scales differ
      weights.push_back(static_cast<float>(
          shape.whole ? integer(i + 1000, 2) : Rng{9, 9}.normal(i) / std::sqrt(1.0 * shape.k) * of_row));
      most = std::max(most, std::fabs(weights.back()));
    }
    const float scale = e4m3_scale(most);
    for (float& w : weights) {
      if (shape.in == Dtype::bf16) w = bf16_to_f32(f32_to_bf16(w));
      if (shape.in == Dtype::f16) w = f16_to_f32(f32_to_f16(w));
      if (shape.in == Dtype::e4m3) w = e4m3_to_f32(f32_to_e4m3(w / scale)) * scale;
    }
    packed = pack_linear(*under_test.backend, weights.data(), shape.bias ? bias.data() : nullptr, shape.n,
                         shape.k, shape.in);
    EXPECT_EQ(packed.scale, shape.in == Dtype::e4m3 ? scale : 1);
    if (shape.in == Dtype::i8) read_back();
  }
  // int8 weights are stored to half a step of their output's scale, which is itself rounded to bf16.
  void read_back() {
    const size_t k = static_cast<size_t>(shape.k);
    std::vector<int8_t> stored(weights.size());
    std::vector<uint16_t> scales(static_cast<size_t>(shape.n));
    from_backend(stored.data(), packed.data.as(), stored.size());
    from_backend(scales.data(), packed.scales.as(), scales.size() * 2);
    size_t far = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      const float step = bf16_to_f32(scales[i / k]), there = static_cast<float>(stored[i]) * step;
      far += std::fabs(there - weights[i]) > step * 0.51f + std::fabs(weights[i]) * 0x1p-8f;
      weights[i] = there;
    }
    EXPECT_EQ(far, 0u) << "weights are off by more than half a step";
  }
};

// Products of 8 bits: row counts around the edges of tiles, tails in n and k, rows that are not there. e4m3
// also of small whole numbers, which come out exactly whatever the order and the precision of the sums.
inline std::vector<LinearShape> eight_bit_shapes(Dtype in) {
  std::vector<LinearShape> all;
  const bool e4m3 = in == Dtype::e4m3;
  const auto add = [&](int rows, int n, int k, Dtype out, Activation act, bool in_place, bool whole,
                       int spare) {
    all.push_back({.rows = rows,
                   .n = n,
                   .k = k,
                   .in = in,
                   .out = out,
                   .act = act,
                   .in_place = in_place,
                   .whole = whole && e4m3,
                   .spare = spare});
  };
  for (const int rows : {0, 1, 63, 65, 127, 128, 129, 257}) {
    const int n = rows % 2 ? 400 : 384, k = rows % 4 == 1 ? 336 : 192;
    for (const Dtype out : {Dtype::f16, Dtype::e4m3}) {
      add(rows, n, k, out, Activation::none, false, true, 100);
      add(rows, n, k, out, Activation::gelu_erf, false, false, 9);
    }
    add(rows, n, k, Dtype::f16, Activation::none, true, true, 100);
  }
  add(300, 80, 1104, Dtype::f16, Activation::gelu_tanh, true, false, 20);
  add(4600, 1008, e4m3 ? 16 : 80, Dtype::f16, Activation::none, true, true, 400);
  add(4600, 1008, 80, Dtype::e4m3, Activation::none, false, true, 0);
  add(700, 768, 3072, Dtype::f16, Activation::none, e4m3, false, 1);
  return all;
}

}  // namespace hedgerow::test
