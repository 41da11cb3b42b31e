// SPDX-License-Identifier: Apache-2.0
// The fused MLP: every team, row counts around the tiles' edges and enough rows for turns of both heights,
// both activations, f32 and 16-bit rows, in place and not. Rows repeat, so that the slow definition need not
// compute all.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/cuda/definitions.h"
#include "tests/cuda/twin.h"

namespace hedgerow::cuda::test {
namespace {

constexpr int kDistinct = 97;  // rows; no divisor of a tile
constexpr const char* kTeams[] = {"automatic", "alone", "shared", "split"};

struct Model {
  Dtype dtype, stream;
  int dim, hidden;
  Activation act;
  PackedLinear w1, w2;
  Twin gamma, beta, base;
  std::vector<double> want;  // [kDistinct, dim]
  std::string name;

  Model(Dtype d, Dtype s, int dim_, int hidden_, Activation a)
      : dtype(d),
        stream(s),
        dim(dim_),
        hidden(hidden_),
        act(a),
        gamma(Dtype::f32, dim_),
        beta(Dtype::f32, dim_),
        base(s, static_cast<size_t>(kDistinct) * dim_) {
    name = std::string("mlp ") + name_of(d) + (s == Dtype::f32 ? " over f32 " : " ") + std::to_string(dim) +
           " x " + std::to_string(hidden) + (a == Activation::gelu_tanh ? " tanh" : "");
    gamma.random(11), beta.random(12), base.random(13, 2);
    const std::vector<float> m1 = matrix(hidden, dim, 1), m2 = matrix(dim, hidden, 2);
    std::vector<float> b1(hidden), b2(dim);
    const Rng rng{5, 5};
    for (int i = 0; i < hidden; ++i) b1[i] = static_cast<float>(rng.normal(i));
    for (int i = 0; i < dim; ++i) b2[i] = static_cast<float>(rng.normal(i + 100000));
    w1 = pack_linear(m1.data(), b1.data(), hidden, dim, d),
    w2 = pack_linear(m2.data(), b2.data(), dim, hidden, d);
    Batch all({kDistinct}, 0);
    MlpArgs args = arguments(base, base, false);
    args.rows = all.view(false);
    want = definition_of(args, m1.data(), b1.data(), m2.data(), b2.data());
  }
  std::vector<float> matrix(int n, int k, uint64_t seed) const {
    std::vector<float> m(static_cast<size_t>(n) * k);
    const Rng rng{seed, 9};
    for (size_t i = 0; i < m.size(); ++i)
      m[i] =
          widen(narrow(static_cast<float>(rng.normal(i)) / std::sqrt(static_cast<float>(k)), dtype), dtype);
    return m;
  }
  MlpArgs arguments(Twin& x, Twin& out, bool on) {
    MlpArgs a;
    const int64_t rows = static_cast<int64_t>(x.count) / dim;
    a.x = matrix_view(x.at(on), stream, rows, dim), a.out = matrix_view(out.at(on), stream, rows, dim);
    a.norm_gamma = vector_view(gamma.at(on), Dtype::f32, dim),
    a.norm_beta = vector_view(beta.at(on), Dtype::f32, dim);
    a.w1 = &w1, a.w2 = &w2, a.act = act;
    return a;
  }
  double bound() const {
    if (stream == Dtype::f32) return dtype == Dtype::f16 ? 1e-3 : 8e-3;
    return stream == Dtype::f16 ? 6e-3 : 5e-2;
  }
};

void run(Model& m, int rows, int spare, MlpTeam team, bool in_place) {
  Batch batch({rows / 3, 0, rows - rows / 3}, spare);
  const size_t live = static_cast<size_t>(rows) * m.dim, all = static_cast<size_t>(batch.capacity()) * m.dim;
  const std::string name = m.name + " rows " + std::to_string(rows) + " " + kTeams[static_cast<int>(team)] +
                           (in_place ? " in place" : "");
  Twin x(m.stream, all), out(m.stream, all);
  for (size_t i = 0; i < all; ++i)
    x.set(i, i < live ? static_cast<float>(m.base.get(i % m.base.count)) : kNan);
  std::vector<unsigned char> before;
  for (int repeat = 0; repeat < 2; ++repeat) {
    Twin& to = in_place ? x : out;
    const std::vector<unsigned char> given = x.host;
    x.push();
    for (size_t i = 0; !in_place && i < all; ++i) out.set(i, kNan);
    out.push();
    MlpArgs args = m.arguments(x, to, true);
    args.rows = batch.view(true);
    queued(mlp(nullptr, args, team), name);
    to.pull();
    if (repeat == 0) before = to.host;
    tally.check(before == to.host, name + ": two runs differ");
    size_t wrong = 0, first = 0;
    double worst = 0;
    for (size_t i = 0; i < live; ++i) {
      const double off = std::fabs(to.get(i) - m.want[i % m.want.size()]);
      worst = off > worst ? off : worst;
      if (off <= m.bound()) continue;
      if (wrong++ == 0) first = i;
    }
    char text[200];
    std::snprintf(text, sizeof text,
                  ": %zu of %zu wrong, worst by %.3g, first at row %zu col %zu: %.6g, not %.6g", wrong, live,
                  worst, first / m.dim, first % m.dim, live ? to.get(first) : 0.0,
                  live ? m.want[first % m.want.size()] : 0.0);
    tally.check(wrong == 0, name + text);
    untouched(to, live, name);
    x.host = given;
  }
}

}  // namespace

void test_mlp() {
  const MlpTeam teams[] = {MlpTeam::alone, MlpTeam::split, MlpTeam::shared};
  for (int dim : {192, 384}) {
    for (Dtype dtype : {Dtype::f16, Dtype::bf16}) {
      for (Dtype stream : {dtype, Dtype::f32}) {
        Model m(dtype, stream, dim, stream == Dtype::f32 ? 5 * 64 : 4 * dim,
                stream == dtype && dtype == Dtype::bf16 ? Activation::gelu_tanh : Activation::gelu_erf);
        for (MlpTeam team : teams) {
          for (int rows : {0, 1, 63, 64, 65, 127, 128, 129, 193, 257, 511, 3152})
            run(m, rows, rows % 2 ? 100 : 0, team, rows % 4 == 1);
          if (dtype == Dtype::f16 && stream == dtype && team != MlpTeam::split) {
            for (int rows : {17000, 35111}) run(m, rows, 500, team, true);
          }
        }
        run(m, 700, 3000, MlpTeam::automatic, true);
      }
    }
  }
  // Shapes it does not take are refused, not computed wrongly.
  Model other(Dtype::f16, Dtype::f16, 256, 256, Activation::gelu_erf);
  Batch batch({5});
  Twin x(Dtype::f16, static_cast<size_t>(batch.capacity()) * 256);
  MlpArgs args = other.arguments(x, x, true);
  args.rows = batch.view(true);
  tally.check(mlp(nullptr, args) == cudaErrorNotSupported, "mlp of dim 256 is refused");
  tally.check(!fuses_mlp(50000, 256, 1024) && !fuses_mlp(50000, 192, 800) && !fuses_mlp(50000, 192, 832),
              "mlp of other shapes is not offered");
  tally.check(!fuses_mlp(3000, 192, 768) && !fuses_mlp(3000, 384, 1536), "mlp of few rows is not offered");
}

}  // namespace hedgerow::cuda::test
