// SPDX-License-Identifier: Apache-2.0
// Products of few rows, and those that normalise their rows first, against their definition in double.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/cuda/definitions.h"
#include "tests/cuda/twin.h"

namespace hedgerow::cuda::test {
namespace {

enum class From { rows, index, norm, norm_index, divided };

struct Case {
  Dtype dtype, out_dtype, residual_dtype;
  int n, k, rows, spare;
  std::vector<LinearPlan> plans;
  Activation act;
  bool residual;
  From from = From::rows;
  Dtype x_dtype = Dtype::u8;  // of rows that are normalised; u8: as dtype
  bool in_place = false;      // out is the residual
};

std::string name_of(const LinearPlan& plan) {
  std::string name = plan.tile == LinearTile::small ? "small" : "automatic";
  if (plan.rows) name += " " + std::to_string(plan.rows) + "x" + std::to_string(64 * plan.groups);
  return name + "/" + std::to_string(plan.split);
}

// The first value that is off, for whoever looks for the reason.
void explain(const Twin& got, const std::vector<double>& want, int n, double bound, const std::string& what) {
  size_t bad = 0, first = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::fabs(got.get(i) - want[i]) <= bound) continue;
    if (bad++ == 0) first = i;
  }
  if (bad != 0) {
    std::printf("  %s: %zu of %zu off; first: row %zu output %zu: %g, wanted %g\n", what.c_str(), bad,
                want.size(), first / n, first % n, got.get(first), want[first]);
  }
}

void run(const Case& c, const std::string& title) {
  Batch rows({c.rows / 3, 0, c.rows - c.rows / 3}, c.spare);
  const bool normed = c.from == From::norm || c.from == From::norm_index,
             indexed = c.from == From::index || c.from == From::norm_index;
  const Dtype x_dtype = c.x_dtype == Dtype::u8 ? c.dtype : c.x_dtype;
  Twin x(x_dtype, static_cast<size_t>(rows.capacity()) * c.k), gamma(Dtype::f32, c.k), beta(Dtype::f32, c.k),
      index(Dtype::i32, rows.capacity());
  Twin out(c.out_dtype, static_cast<size_t>(rows.capacity()) * c.n);
  Twin residual(c.residual_dtype, static_cast<size_t>(rows.capacity()) * c.n);
  x.random(1), gamma.random(5), beta.random(6);
  const bool divided = c.from == From::divided;
  for (size_t i = 0; (normed || divided) && i < x.count; ++i) x.set(i, static_cast<float>(3 * x.get(i) + 1));
  for (int i = 0; i < rows.capacity(); ++i)  // past the live rows it may say anything
    index.set(i, i < c.rows ? static_cast<float>((i * 7) % c.rows) : i % 2 ? -5.0f : 1e9f);
  index.push();
  for (size_t i = static_cast<size_t>(c.rows) * c.k; i < x.count; ++i) x.set(i, kNan);
  x.push(), residual.random(2);
  std::vector<float> w(static_cast<size_t>(c.n) * c.k), bias(c.n);
  const Rng rng{9, 9};
  for (size_t i = 0; i < w.size(); ++i) {
    w[i] = static_cast<float>(rng.normal(i)) / std::sqrt(static_cast<float>(c.k));
    if (c.dtype != Dtype::f32) w[i] = widen(narrow(w[i], c.dtype), c.dtype);
  }
  for (int i = 0; i < c.n; ++i) bias[i] = static_cast<float>(rng.normal(i + 100000000));
  const PackedLinear packed = pack_linear(w.data(), bias.data(), c.n, c.k, c.dtype);
  auto args = [&](bool on) {
    Product a;
    a.x = matrix_view(x.at(on), x_dtype, rows.capacity(), c.k);
    if (indexed) a.index = vector_view(index.at(on), Dtype::i32, rows.capacity());
    if (normed) {
      a.norm_gamma = vector_view(gamma.at(on), Dtype::f32, c.k);
      a.norm_beta = vector_view(beta.at(on), Dtype::f32, c.k);
    }
    a.w = &packed, a.act = c.act, a.divided = divided;
    if (c.residual) a.residual = matrix_view(residual.at(on), c.residual_dtype, rows.capacity(), c.n);
    a.out = matrix_view(out.at(on), c.out_dtype, rows.capacity(), c.n);
    a.rows = rows.view(on);
    return a;
  };
  const std::vector<double> want = definition_of(args(false), w.data(), bias.data(), c.n, c.k);
  for (const LinearPlan& plan : c.plans) {
    const std::string name = title + " " + name_of(plan);
    std::vector<unsigned char> before;
    for (int repeat = 0; repeat < 2; ++repeat) {
      out.fill(kNan);
      Product a = args(true);
      if (c.in_place) {
        std::memcpy(out.host.data(), residual.host.data(),
                    static_cast<size_t>(c.rows) * c.n * bytes_of(c.out_dtype));
        out.push();
        a.residual = a.out;
      }
      queued(linear(nullptr, a, plan), name);
      out.pull();
      if (repeat == 0) before = out.host;
    }
    tally.check(before == out.host, name + ": two runs differ");
    // Rows that are normalised here and there may round to different neighbours: half a step of a few values.
    const double flips = !normed ? 0 : c.dtype == Dtype::f16 ? 3e-3 : c.dtype == Dtype::bf16 ? 2.4e-2 : 1e-5;
    const double bound = (c.out_dtype == Dtype::f32   ? 5e-5
                          : c.out_dtype == Dtype::f16 ? 4e-3
                                                      : 3.2e-2) +
                         flips;
    explain(out, want, c.n, bound, name);
    if (c.rows != 0) close(out, want, bound, name);
    untouched(out, static_cast<size_t>(c.rows) * c.n, name);
  }
}

// Few rows: every tile, split and way of bringing the rows, at row counts around the tiles' edges.
void small_tiles() {
  std::vector<LinearPlan> plans;
  for (int rows : {8, 16, 32, 64, 104, 128}) {
    for (int groups : {1, 2}) {
      if (groups == 2 ? rows < 64 : rows == 128) continue;
      for (int split : {1, 2, 4, 8}) plans.push_back({LinearTile::small, split, rows, groups});
    }
  }
  std::vector<LinearPlan> normed = {{}};
  for (int rows : {8, 16, 32, 64}) normed.push_back({LinearTile::small, 1, rows, 1});
  for (int rows : {32, 64}) normed.push_back({LinearTile::small, 1, rows, 2});
  auto title = [](const Case& c) {
    return "small " + std::string(hedgerow::name_of(c.dtype)) + " " + std::to_string(c.rows) + " rows n " +
           std::to_string(c.n) + " k " + std::to_string(c.k) + " from " +
           std::to_string(static_cast<int>(c.from));
  };
  const struct {
    int rows, n, k;
  } shapes[] = {{1, 192, 768}, {0, 64, 192},    {63, 200, 200}, {64, 384, 1536},
                {65, 136, 72}, {197, 192, 192}, {300, 64, 3072}};
  // A case takes every fourth plan, the next case another fourth.
  auto part_of = [](const std::vector<LinearPlan>& all, int turn) {
    std::vector<LinearPlan> part;
    for (size_t i = static_cast<size_t>(turn % 4); i < all.size(); i += 4) part.push_back(all[i]);
    return part;
  };
  int turn = 0;
  for (Dtype dtype : {Dtype::f16, Dtype::bf16}) {
    for (const auto& s : shapes) {
      for (int variant = 0; variant < 2; ++variant, ++turn) {
        Case c{dtype,
               turn % 3 ? dtype : Dtype::f32,
               turn % 3 ? dtype : Dtype::f32,
               s.n,
               s.k,
               s.rows,
               turn % 2 ? 150 : 3,
               part_of(plans, turn + turn / 14),
               static_cast<Activation>(turn % 3),
               variant == 1};
        c.in_place = variant == 1 && turn % 4 != 1;
        run(c, title(c));
      }
    }
    Case c{dtype, dtype,      dtype, 192, 192, 50, 9, {{}, {LinearTile::small, 1, 8}}, Activation::none,
           false, From::index};
    run(c, title(c));
    const struct {
      int rows, n, k;
    } norms[] = {{1, 576, 192},  {0, 64, 192}, {63, 200, 192},  {65, 136, 384}, {99, 768, 768},
                 {197, 64, 392}, {64, 96, 72}, {197, 320, 384}, {20, 100, 33},  {9, 64, 1024}};
    for (const auto& s : norms) {
      for (int variant = 0; variant < 3; ++variant, ++turn) {
        Case n{dtype,
               turn % 4 ? dtype : Dtype::f32,
               dtype,
               s.n,
               s.k,
               s.rows,
               turn % 2 ? 150 : 3,
               normed,
               static_cast<Activation>(turn % 3),
               turn % 5 == 0,
               variant == 2 ? From::norm_index : From::norm,
               variant == 1 ? Dtype::f32 : dtype};
        run(n, title(n));
      }
    }
    std::vector<LinearPlan> divided = {{}, {LinearTile::small, 1, 64, 2}, {LinearTile::small, 1, 104, 1}};
    for (int rows : {8, 16, 32, 64}) divided.push_back({LinearTile::small, 1, rows, 1});
    for (const auto& s : norms) {
      for (int variant = 0; variant < 2; ++variant, ++turn) {
        Case d{dtype,
               turn % 4 ? dtype : Dtype::f32,
               dtype,
               s.n,
               s.k,
               s.rows,
               turn % 2 ? 150 : 3,
               divided,
               static_cast<Activation>(turn % 3),
               variant == 1,
               From::divided};
        run(d, title(d));
      }
    }
  }
  run({Dtype::f32, Dtype::f32, Dtype::f32, 40, 75, 17, 9, {{}}, Activation::none, true, From::norm_index},
      "small f32 norm");
}

}  // namespace

void test_linear_small() { small_tiles(); }

}  // namespace hedgerow::cuda::test
