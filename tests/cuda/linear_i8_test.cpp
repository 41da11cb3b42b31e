// SPDX-License-Identifier: Apache-2.0
// Products of int8 rows and weights: sums are exact, so an output is off by its own rounding alone. Row
// counts around the tiles' edges, tails in n and k, rows that are not there.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/cuda/definitions.h"
#include "tests/cuda/twin.h"

namespace hedgerow::cuda::test {
namespace {

struct Case {
  int n, k, rows, spare;
  Dtype out = Dtype::f16;
  Activation act = Activation::none;
  bool residual = false;
};

constexpr float kOutScale = 0x1p-2f;

std::vector<LinearPlan> plans() {
  std::vector<LinearPlan> all(1);
  for (LinearTile tile : {LinearTile::pingpong_192, LinearTile::pingpong_128}) {
    for (Share share : {Share::none, Share::weights, Share::rows})
      all.push_back({.tile = tile, .share = share});
  }
  return all;
}

// f32 on the way, or GELU's f16; then what is stored.
double allowed(const Case& c, double want) {
  const double way =
      c.act == Activation::none ? 2e-5 * (1 + std::fabs(want)) : 2e-3 + std::fabs(want) * 0x1p-10;
  return way * 1.07 +
         (c.out == Dtype::f16 ? std::fabs(want) * 0x1p-11 : std::fabs(want) * 0x1p-4 + kOutScale * 0x1p-10);
}

void run(const Case& c) {
  Batch rows({c.rows / 3, 0, c.rows - c.rows / 3}, c.spare);
  const size_t n = static_cast<size_t>(c.n), k = static_cast<size_t>(c.k),
               capacity = static_cast<size_t>(rows.capacity());
  Twin x(Dtype::i8, capacity * k), scales(Dtype::f32, capacity), wide(Dtype::f32, capacity * k);
  Twin out(c.out, capacity * n), residual(Dtype::f16, capacity * n);
  const Rng rng{static_cast<uint64_t>(c.rows + c.k), 3};
  for (size_t r = 0; r < capacity; ++r) {
    scales.set(r, r < static_cast<size_t>(c.rows) ? static_cast<float>(0.01 + 0.05 * rng.uniform(r)) : kNan);
    for (size_t i = r * k; i < (r + 1) * k; ++i) {
      x.set(i, static_cast<float>(std::floor(rng.uniform(i + 999) * 255) - 127));
      wide.set(i, static_cast<float>(x.get(i) * scales.get(r)));
    }
  }
  x.push(), scales.push(), residual.random(2);
  std::vector<float> w(n * k), bias(n);
  for (size_t i = 0; i < w.size(); ++i)
    w[i] = static_cast<float>(rng.normal(i + 1000) / std::sqrt(static_cast<double>(k)) * (1 + i / k % 5));
  for (size_t i = 0; i < n; ++i) bias[i] = static_cast<float>(rng.normal(i + 5));
  const PackedLinear packed = pack_linear(w.data(), bias.data(), c.n, c.k, Dtype::i8);
  std::vector<int8_t> stored(n * k);
  std::vector<uint16_t> w_scales(n);
  copy_from_device(stored.data(), packed.data.as(), stored.size());
  copy_from_device(w_scales.data(), packed.scales.as(), w_scales.size() * 2);
  size_t far = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const float scale = bf16_to_f32(w_scales[i / k]), there = static_cast<float>(stored[i]) * scale;
    far += std::fabs(there - w[i]) > scale * 0.51f + std::fabs(w[i]) * 0x1p-8f;
    w[i] = there;
  }
  tally.check(far == 0, "linear_i8: weights are stored to half a step");
  const auto args = [&](bool on) {
    Product a;
    a.x = matrix_view(on ? x.at(true) : wide.at(false), on ? Dtype::i8 : Dtype::f32, rows.capacity(), c.k);
    a.x_scales = vector_view(scales.at(on), Dtype::f32, rows.capacity());
    a.w = &packed, a.act = c.act;
    if (c.residual) a.residual = matrix_view((on ? out : residual).at(on), Dtype::f16, rows.capacity(), c.n);
    a.out = c.out == Dtype::e4m3 ? e4m3_view(out.at(on), kOutScale, rows.capacity(), c.n)
                                 : matrix_view(out.at(on), Dtype::f16, rows.capacity(), c.n);
    a.rows = rows.view(on);
    return a;
  };
  const std::vector<double> want = definition_of(args(false), w.data(), bias.data(), c.n, c.k);
  const size_t live = static_cast<size_t>(c.rows) * n;
  for (const LinearPlan& plan : plans()) {
    char name[160];
    std::snprintf(name, sizeof name, "linear_i8 %d x %d x %d%s%s to %s plan %d share %d", c.rows, c.n, c.k,
                  c.act == Activation::none ? "" : " gelu", c.residual ? " in place" : "", name_of(c.out),
                  static_cast<int>(plan.tile), static_cast<int>(plan.share));
    for (size_t i = 0; i < out.count; ++i) out.set(i, kNan);
    if (c.residual) std::memcpy(out.host.data(), residual.host.data(), live * 2);
    out.push();
    queued(linear(nullptr, args(true), plan), name);
    out.pull();
    size_t wrong = 0, first = 0;
    for (size_t i = 0; i < live; ++i) {
      const double got = out.get(i) * (c.out == Dtype::e4m3 ? kOutScale : 1);
      if (std::fabs(got - want[i]) <= allowed(c, want[i])) continue;
      if (wrong++ == 0) first = i;
    }
    char text[160];
    std::snprintf(text, sizeof text, ": %zu wrong, first at row %zu col %zu: %.6g, not %.6g", wrong,
                  first / n, first % n, live ? out.get(first) : 0, live ? want[first] : 0);
    tally.check(wrong == 0, std::string(name) + text);
    untouched(out, live, name);
  }
}

}  // namespace

void test_linear_i8() {
  for (const int rows : {0, 1, 63, 65, 127, 128, 129, 257}) {
    const int n = rows % 2 ? 400 : 384, k = rows % 4 == 1 ? 336 : 192;
    for (const Dtype out : {Dtype::f16, Dtype::e4m3}) {
      run({.n = n, .k = k, .rows = rows, .spare = 100, .out = out});
      run({.n = n, .k = k, .rows = rows, .spare = 9, .out = out, .act = Activation::gelu_erf});
    }
    run({.n = n, .k = k, .rows = rows, .spare = 100, .residual = true});
  }
  run({.n = 80, .k = 1104, .rows = 300, .spare = 20, .act = Activation::gelu_tanh, .residual = true});
  run({.n = 1008, .k = 80, .rows = 4600, .spare = 400, .residual = true});
  run({.n = 768, .k = 768, .rows = 700, .spare = 1});
}

}  // namespace hedgerow::cuda::test
