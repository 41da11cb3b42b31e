// SPDX-License-Identifier: Apache-2.0
// Products: every tile shape and split, row counts around the tile edges, all epilogues, rows that are not
// there.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/cuda/definitions.h"
#include "tests/cuda/twin.h"

namespace hedgerow::cuda::test {
namespace {

struct Case {
  Dtype dtype, out_dtype, residual_dtype;
  int n, k, rows, spare;
  std::vector<LinearPlan> plans;
  Activation act;
  bool residual;
  bool alias = false;  // the residual lies where the output goes
  bool divided = false, moments = false;
};

constexpr const char* kTiles[] = {"automatic", "plain",  "split 64x64",   "split 128x64", "split 128x128",
                                  "mma",       "staged", "ping-pong 192", "ping-pong 128"};
constexpr const char* kShares[] = {"", " weights shared", " rows shared"};

// Where the first wrong value lies, for whoever must find out why.
std::string first_wrong(const Twin& got, const std::vector<double>& want, int n, double bound) {
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::fabs(got.get(i) - want[i]) <= bound) continue;
    size_t wrong = 0;
    for (size_t j = i; j < want.size(); ++j) wrong += !(std::fabs(got.get(j) - want[j]) <= bound);
    char text[160];
    std::snprintf(text, sizeof text, " (%zu wrong, first at row %zu col %zu: %.6g, not %.6g)", wrong, i / n,
                  i % n, got.get(i), want[i]);
    return text;
  }
  return "";
}

// Sum and sum of squares of every 64 of `values`, rows of n of them.
std::vector<double> moments_of(const std::vector<double>& values, int n) {
  std::vector<double> m;
  for (size_t i = 0; n % 64 == 0 && i < values.size(); i += 64) {
    m.insert(m.end(), {0.0, 0.0});
    for (size_t j = i; j < i + 64; ++j) m.end()[-2] += values[j], m.end()[-1] += values[j] * values[j];
  }
  return m;
}

void run(const Case& c, const std::string& title) {
  Batch rows({c.rows / 3, 0, c.rows - c.rows / 3}, c.spare);
  Twin x(c.dtype, static_cast<size_t>(rows.capacity()) * c.k),
      out(c.out_dtype, static_cast<size_t>(rows.capacity()) * c.n);
  Twin residual(c.residual_dtype, static_cast<size_t>(rows.capacity()) * c.n);
  x.random(1);
  for (size_t i = 0; c.divided && i < x.count; ++i) x.set(i, static_cast<float>(3 * x.get(i) + 1));
  Twin x_moments(Dtype::f32, static_cast<size_t>(rows.capacity()) * (c.k / 64 * 2)),
      moments(Dtype::f32, static_cast<size_t>(rows.capacity()) * (c.n / 64 * 2));
  if (c.divided) {
    std::vector<double> values;
    for (size_t i = 0; i < static_cast<size_t>(c.rows) * c.k; ++i) values.push_back(x.get(i));
    const std::vector<double> m = moments_of(values, c.k);
    for (size_t i = 0; i < x_moments.count; ++i)
      x_moments.set(i, i < m.size() ? static_cast<float>(m[i]) : kNan);
    x_moments.push();
  }
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
    a.x = matrix_view(x.at(on), c.dtype, rows.capacity(), c.k);
    a.w = &packed, a.act = c.act;
    Twin& old = c.alias && on ? out : residual;
    if (c.residual) a.residual = matrix_view(old.at(on), c.residual_dtype, rows.capacity(), c.n);
    a.out = matrix_view(out.at(on), c.out_dtype, rows.capacity(), c.n);
    a.rows = rows.view(on);
    a.divided = c.divided;
    if (c.divided) a.x_moments = matrix_view(x_moments.at(on), Dtype::f32, rows.capacity(), c.k / 64 * 2);
    if (c.moments) a.moments = matrix_view(moments.at(on), Dtype::f32, rows.capacity(), c.n / 64 * 2);
    return a;
  };
  const std::vector<double> want = definition_of(args(false), w.data(), bias.data(), c.n, c.k);
  const size_t live = static_cast<size_t>(c.rows) * c.n;
  for (const LinearPlan& plan : c.plans) {
    const std::string name =
        title + " " + kTiles[static_cast<int>(plan.tile)] +
        (plan.split > 1 ? " " + std::to_string(plan.split) : "") +
        (plan.cols ? " " + std::to_string(64 * plan.groups) + "x" + std::to_string(plan.cols) : "") +
        kShares[static_cast<int>(plan.share)];
    std::vector<unsigned char> before;
    for (int repeat = 0; repeat < 2; ++repeat) {
      for (size_t i = 0; i < out.count; ++i) out.set(i, kNan);
      if (c.alias) std::memcpy(out.host.data(), residual.host.data(), live * bytes_of(c.out_dtype));
      out.push(), moments.fill(kNan), moments.push();
      queued(linear(nullptr, args(true), plan), name);
      out.pull();
      if (repeat == 0) before = out.host;
    }
    tally.check(before == out.host, name + ": two runs differ");
    const double bound = c.out_dtype == Dtype::f32 ? 5e-5 : c.out_dtype == Dtype::f16 ? 4e-3 : 3.2e-2;
    if (live > 0) close(out, want, bound, name + first_wrong(out, want, c.n, bound));
    untouched(out, live, name);
    if (!c.moments) continue;
    moments.pull();
    const std::vector<double> wanted = moments_of(want, c.n);
    double off = 0;  // a row's pairs add up; a NaN stays
    for (size_t r = 0, pairs = static_cast<size_t>(c.n) / 64; r < static_cast<size_t>(c.rows); ++r) {
      double by[2] = {};
      for (size_t i = r * pairs * 2; i < (r + 1) * pairs * 2; ++i) by[i % 2] += moments.get(i) - wanted[i];
      for (double b : by)
        if (!(std::fabs(b) <= off)) off = std::fabs(b);
    }
    tally.check(off <= 5e-2, name + ": moments off by " + std::to_string(off));
    untouched(moments, live / 64 * 2, name + ": moments");
  }
}

// The tiles that take turns: row counts around their edges and halves, tails in n and k, both output types, a
// residual that is overwritten, and enough rows that every block has turns of both heights.
void test_pingpong() {
  std::vector<LinearPlan> plans;
  for (LinearTile tile : {LinearTile::pingpong_192, LinearTile::pingpong_128}) {
    for (Share share : {Share::none, Share::weights, Share::rows})
      plans.push_back({.tile = tile, .share = share});
  }
  for (Dtype dtype : {Dtype::f16, Dtype::bf16}) {
    const std::string kind = std::string("linear ") + name_of(dtype);
    for (int rows : {0, 1, 63, 65, 127, 128, 129, 255, 257}) {
      const int n = rows % 2 ? 392 : 384, k = rows % 4 == 1 ? 328 : 192;
      const std::string title = kind + " rows " + std::to_string(rows);
      run({dtype, dtype, dtype, n, k, rows, 100, plans, Activation::gelu_erf, false}, title + " gelu");
      run({dtype, dtype, dtype, n, k, rows, 100, plans, Activation::none, true, true}, title + " in place");
      run({dtype, Dtype::f32, Dtype::f32, n, k, rows, 100, plans, Activation::none, true, true},
          title + " in place f32");
      run({dtype, Dtype::f32, dtype, n, k, rows, 9, plans, Activation::none, true}, title + " mixed");
    }
    run({dtype, dtype, dtype, 72, 1096, 300, 20, plans, Activation::gelu_tanh, true}, kind + " one column");
    run({dtype, Dtype::f32, Dtype::f32, 1000, 64, 1000, 1, plans, Activation::none, false},
        kind + " one step");
    run({dtype, dtype, dtype, 1000, 72, 4600, 400, plans, Activation::none, true, true},
        kind + " many turns");
  }
  run({Dtype::f16, Dtype::f32, Dtype::f32, 1000, 8, 4600, 0, plans, Activation::none, true, true},
      "linear f16 many turns f32");
}

// Every staged tile: row counts around its edges, tails in n and k, a residual that is overwritten,
// several turns a block, and what it can't take, which another tile does.
void test_staged() {
  for (const StagedTile& tile : kStagedTiles) {
    const std::vector<LinearPlan> plans = {
        {.tile = LinearTile::staged, .groups = tile.groups, .cols = tile.cols}};
    const int high = 64 * tile.groups;
    for (Dtype dtype : {Dtype::f16, Dtype::bf16}) {
      const std::string kind = std::string("linear ") + name_of(dtype) + " rows ";
      for (int rows : {0, 1, high - 1, high, high + 1}) {
        const int n = rows % 2 ? 392 : 384, k = rows % 2 ? 584 : 64;
        run({dtype, dtype, dtype, n, k, rows, 100, plans, Activation::none, true, true},
            kind + std::to_string(rows) + " in place");
        if (rows > high)
          run({dtype, dtype, dtype, n, k, rows, 9, plans, Activation::none, false},
              kind + std::to_string(rows));
        if (rows > high)
          run({dtype, dtype, dtype, n, k, rows, 9, plans, Activation::gelu_erf, false},
              kind + std::to_string(rows) + " gelu");
      }
      run({dtype, dtype, dtype, 72, 1096, 100, 20, plans, Activation::gelu_tanh, true},
          kind + "100 one column");
      run({dtype, Dtype::f32, Dtype::f32, 384, 64, 50, 1, plans, Activation::none, false},
          kind + "50 f32 out");
      if (dtype == Dtype::bf16) continue;
      run({dtype, dtype, dtype, 1000, 72, 3000, 900, plans, Activation::none, true, true},
          kind + "3000 many turns");
      run({dtype, dtype, dtype, 1000, 72, 3000, 400, plans, Activation::gelu_erf, false},
          kind + "3000 many turns gelu");
    }
  }
}

// What one product leaves of its rows, and what the next one makes of it, in and out of place. Tiles that
// can't say so.
void test_moments() {
  std::vector<LinearPlan> plans = {{}};
  for (LinearTile tile : {LinearTile::pingpong_128, LinearTile::pingpong_192}) {
    for (Share share : {Share::none, Share::weights, Share::rows})
      plans.push_back({.tile = tile, .share = share});
  }
  const Dtype f16 = Dtype::f16;
  for (int rows : {0, 1, 64, 127, 129, 700, 3000, 20000}) {
    const int n = rows == 700 ? 768 : rows % 2 ? 192 : 384, k = rows == 64 ? 584 : rows == 700 ? 1024 : 512;
    const std::string title = "linear f16 rows " + std::to_string(rows);
    run({f16, f16, f16, n, k, rows, 77, plans, Activation::none, true, rows % 2 == 1, false, true},
        title + " moments");
    run({f16, f16, f16, n, k / 64 * 64, rows, 77, plans, Activation::gelu_erf, false, false, true},
        title + " divided");
    run({f16, f16, f16, n, k / 64 * 64, rows, 77, plans, Activation::none, true, false, true, true},
        title + " both");
    run({f16, Dtype::f32, f16, 1000, 192, rows, 5, plans, Activation::none, false, false, true},
        title + " divided f32");
  }
  Twin x(f16, 5 * 192), moments(Dtype::f32, 5 * 6);
  Batch batch({5});
  const PackedLinear w = pack_linear(std::vector<float>(192 * 192).data(), nullptr, 192, 192, f16);
  Product args;
  args.x = args.residual = args.out = matrix_view(x.at(true), f16, 5, 192), args.w = &w,
  args.rows = batch.view(true);
  args.moments = matrix_view(moments.at(true), Dtype::f32, 5, 6);
  for (LinearTile tile :
       {LinearTile::plain, LinearTile::mma, LinearTile::split_64x64, LinearTile::staged, LinearTile::small})
    tally.check(linear(nullptr, args, {tile}) == cudaErrorNotSupported,
                "moments by another tile are refused");
}

}  // namespace

void test_linear() {
  std::vector<LinearPlan> plans;
  for (int tile = 0; tile < 6; ++tile) {
    for (int split : {1, 2, 4, 8}) {
      if (split == 1 || (tile >= 2 && tile < 5)) plans.push_back({static_cast<LinearTile>(tile), split});
    }
  }
  for (Dtype dtype : {Dtype::f16, Dtype::bf16}) {
    for (int rows : {1, 64, 130, 700}) {
      for (int variant = 0; variant < 4; ++variant) {
        Case c{dtype,
               variant & 1 ? dtype : Dtype::f32,
               variant == 2 ? Dtype::f32 : dtype,
               0,
               0,
               rows,
               rows + 100,
               plans,
               variant == 1 ? Activation::gelu_erf : Activation::none,
               variant >= 2};
        c.n = rows == 64 ? 1000 : 384, c.k = rows == 130 ? 584 : 512;
        run(c, std::string("linear ") + name_of(dtype) + " rows " + std::to_string(rows) + " variant " +
                   std::to_string(variant));
      }
    }
    run({dtype, Dtype::f32, Dtype::f32, 2, 48, 33, 5, {{}}, Activation::none, false}, "linear two outputs");
    run({dtype, dtype, dtype, 192, 64, 20000, 100, {{}}, Activation::gelu_tanh, false}, "linear many rows");
  }
  run({Dtype::f32, Dtype::f32, Dtype::f32, 100, 75, 77, 9, {{}}, Activation::gelu_erf, true}, "linear f32");
  test_pingpong();
  test_staged();
  test_moments();
}

}  // namespace hedgerow::cuda::test
