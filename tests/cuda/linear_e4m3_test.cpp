// SPDX-License-Identifier: Apache-2.0
// Products of e4m3 rows and weights. Small whole numbers come out exactly, whatever the order and the
// precision of the sums, so that one wrong place shows; normal numbers within what Hopper's sums may lose.
// Row counts around the tiles' edges, tails in n and k, rows that are not there.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/cuda/definitions.h"
#include "tests/cuda/twin.h"

namespace hedgerow::cuda::test {
namespace {

struct Case {
  int n, k, rows, spare;
  Dtype out = Dtype::f16;
  Activation act = Activation::none;
  bool residual = false, whole = true;  // whole: small whole numbers
};

constexpr float kXScale = 0x1p-3f, kOutScale = 0x1p-2f;

std::vector<LinearPlan> plans() {
  std::vector<LinearPlan> all(1);
  for (LinearTile tile : {LinearTile::pingpong_192, LinearTile::pingpong_128}) {
    for (Share share : {Share::none, Share::weights, Share::rows})
      all.push_back({.tile = tile, .share = share});
  }
  return all;
}

// How far a value may be off. Each instruction cuts 33 terms off at 2^-13 of the largest; eight deviations of
// such a sum, of terms that are at most 8 at any time. Then GELU's own error and the rounding of what is
// stored.
double allowed(const Case& c, double want) {
  const double gelu = c.act == Activation::none ? 0 : 2e-3 + std::fabs(want) * 0x1p-10;
  const double sums = c.whole ? 0 : 8 * 0x1p-13 * std::sqrt(33.0 * c.k / 32) + 1e-5 + gelu;
  if (c.out == Dtype::f16) return sums + (c.whole ? 0 : std::fabs(want) * 0x1p-11 + 1e-6);
  return sums * 1.07 + std::fabs(want) * 0x1p-4 + kOutScale * 0x1p-10;
}

void check_values(const Case& c, const Twin& out, const std::vector<double>& want, const std::string& name) {
  size_t wrong = 0, first = 0;
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double stored = out.get(i), got = c.out == Dtype::e4m3 ? stored * kOutScale : stored;
    bool right = std::fabs(got - want[i]) <= allowed(c, want[i]);
    if (c.out == Dtype::e4m3 && c.whole)  // exact sums are stored as the CPU rounds them, too large ones too
      right = stored == e4m3_to_f32(f32_to_e4m3(static_cast<float>(want[i]) / kOutScale));
    worst = std::max(worst, std::fabs(got - want[i]));
    if (right) continue;
    if (wrong++ == 0) first = i;
  }
  char text[200];
  std::snprintf(text, sizeof text, ": %zu of %zu wrong, first at row %zu col %zu: %.6g, not %.6g", wrong,
                want.size(), first / static_cast<size_t>(c.n), first % static_cast<size_t>(c.n),
                want.empty() ? 0 : out.get(first), want.empty() ? 0 : want[first]);
  tally.check(wrong == 0, name + text);
  if (std::getenv("HEDGEROW_VERBOSE")) std::printf("%s: off by %.3g at most\n", name.c_str(), worst);
}

void run(const Case& c) {
  Batch rows({c.rows / 3, 0, c.rows - c.rows / 3}, c.spare);
  const size_t n = static_cast<size_t>(c.n), k = static_cast<size_t>(c.k),
               capacity = static_cast<size_t>(rows.capacity());
  Twin x(Dtype::e4m3, capacity * k), out(c.out, capacity * n), residual(Dtype::f16, capacity * n);
  const Rng rng{static_cast<uint64_t>(c.rows + c.k), 3};
  const auto whole = [&](uint64_t i, int most) { return std::floor(rng.uniform(i) * (2 * most + 1)) - most; };
  for (size_t i = 0; i < x.count; ++i) {
    const bool there = i < static_cast<size_t>(c.rows) * k;
    x.set(i, !there ? kNan : static_cast<float>(c.whole ? whole(i, 2) : rng.normal(i)) / kXScale);
  }
  for (size_t i = 0; i < residual.count; ++i) residual.set(i, static_cast<float>(whole(i + 77, 40)));
  x.push(), residual.push();
  std::vector<float> w(n * k), bias(n);
  float most = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    w[i] = static_cast<float>(c.whole ? whole(i + 1000, 2)
                                      : rng.normal(i + 1000) / std::sqrt(static_cast<double>(k)));
    most = std::max(most, std::fabs(w[i]));
  }
  const float scale = e4m3_scale(most);
  for (float& v : w) v = e4m3_to_f32(f32_to_e4m3(v / scale)) * scale;
  for (size_t i = 0; i < n; ++i) bias[i] = static_cast<float>(whole(i + 5, 20));
  const PackedLinear packed = pack_linear(w.data(), bias.data(), c.n, c.k, Dtype::e4m3);
  tally.check(packed.scale == scale, "linear_e4m3: scale of the weights");
  const auto args = [&](bool on) {
    Product a;
    a.x = e4m3_view(x.at(on), kXScale, rows.capacity(), c.k);
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
    std::snprintf(name, sizeof name, "linear_e4m3 %d x %d x %d %s%s%s to %s plan %d share %d", c.rows, c.n,
                  c.k, c.whole ? "whole" : "normal", c.act == Activation::none ? "" : " gelu",
                  c.residual ? " in place" : "", name_of(c.out), static_cast<int>(plan.tile),
                  static_cast<int>(plan.share));
    std::vector<unsigned char> before;
    for (int repeat = 0; repeat < 2; ++repeat) {
      for (size_t i = 0; i < out.count; ++i) out.set(i, kNan);
      if (c.residual) std::memcpy(out.host.data(), residual.host.data(), live * 2);
      out.push();
      queued(linear(nullptr, args(true), plan), name);
      out.pull();
      if (repeat == 0) before = out.host;
    }
    tally.check(before == out.host, std::string(name) + ": two runs differ");
    check_values(c, out, want, name);
    untouched(out, live, name);
  }
}

}  // namespace

void test_linear_e4m3() {
  for (const int rows : {0, 1, 63, 65, 127, 128, 129, 257}) {
    const int n = rows % 2 ? 400 : 384, k = rows % 4 == 1 ? 336 : 192;
    for (const Dtype out : {Dtype::f16, Dtype::e4m3}) {
      run({.n = n, .k = k, .rows = rows, .spare = 100, .out = out});
      run({.n = n,
           .k = k,
           .rows = rows,
           .spare = 9,
           .out = out,
           .act = Activation::gelu_erf,
           .whole = false});
    }
    run({.n = n, .k = k, .rows = rows, .spare = 100, .residual = true});
  }
  run({.n = 80,
       .k = 1104,
       .rows = 300,
       .spare = 20,
       .act = Activation::gelu_tanh,
       .residual = true,
       .whole = false});
  run({.n = 1008, .k = 16, .rows = 4600, .spare = 400, .residual = true});
  run({.n = 1008, .k = 80, .rows = 4600, .spare = 0, .out = Dtype::e4m3});
  run({.n = 768, .k = 3072, .rows = 700, .spare = 1, .residual = true, .whole = false});
}

}  // namespace hedgerow::cuda::test
