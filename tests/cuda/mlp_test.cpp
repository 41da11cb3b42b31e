// SPDX-License-Identifier: Apache-2.0
// The fused MLP: every team, row counts around the tiles' edges and enough rows for turns of both heights,
// both activations, f32 and 16-bit rows, in place and not. Rows repeat, so that the slow definition need not
// compute all.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/cuda/harness.h"

namespace hedgerow::cuda::test {
namespace {

constexpr int kDistinct = 97;  // rows; no divisor of a tile
constexpr const char* kTeams[] = {"automatic", "alone", "shared", "split"};

struct Model {
  Dtype dtype, stream;
  int dim, hidden;
  Activation act;
  PackedNormLinear first;  // as it is taken apart
  PackedLinear w2;
  Array gamma, beta, base;
  std::vector<double> want;  // [kDistinct, dim]

  Model(Dtype d, Dtype s, int dim_, int hidden_, Activation a)
      : dtype(d),
        stream(s),
        dim(dim_),
        hidden(hidden_),
        act(a),
        gamma(Dtype::f32, dim_),
        beta(Dtype::f32, dim_),
        base(s, kDistinct, dim_) {
    gamma.normals(11, dim), beta.normals(12, dim), base.normals(13, kDistinct, 2);
    const std::vector<float> m1 = matrix(hidden, dim, 1), m2 = matrix(dim, hidden, 2),
                             b1 = matrix(hidden, 1, 3), b2 = matrix(dim, 1, 4);
    first.w = pack_linear(m1.data(), b1.data(), hidden, dim, d);
    w2 = pack_linear(m2.data(), b2.data(), dim, hidden, d);
    Batch all({kDistinct}, 0);
    const Part p = all.all(Side::host);
    Stream rows{.x = base.matrix(p)};
    const std::vector<float> g = values_of(gamma), b = values_of(beta);
    want = reference::feed_forward(
        {.x = &rows, .w1 = &first, .w2 = &w2, .act = act, .between = {}, .rows = p.rows},
        {.gamma = g.data(), .beta = b.data(), .w = m1.data(), .bias = b1.data(), .n = hidden, .k = dim},
        m2.data(), b2.data());
  }
  std::vector<float> matrix(int n, int k, uint64_t key) const {
    Array m(dtype, n, k);
    return values_of(m.normals(key, n, 1 / std::sqrt(1.0 * k)));
  }
  static std::vector<float> values_of(const Array& a) {
    const std::vector<double> v = a.values(a.rows());
    return {v.begin(), v.end()};
  }
  MlpArgs args(const Part& p, Array& x, Array& out) {
    return {.x = x.matrix(p),
            .norm_gamma = gamma.vector(whole(p.side)),
            .norm_beta = beta.vector(whole(p.side)),
            .w1 = &first.w,
            .w2 = &w2,
            .act = act,
            .out = out.matrix(p),
            .rows = p.rows};
  }
  double bound() const {
    if (stream == Dtype::f32) return dtype == Dtype::f16 ? 1e-3 : 8e-3;
    return stream == Dtype::f16 ? 6e-3 : 5e-2;
  }
  void expect(int rows, int spare, MlpTeam team, bool in_place) {
    SCOPED_TRACE(testing::Message() << rows << " rows of " << hedgerow::name_of(stream) << ", "
                                    << kTeams[static_cast<int>(team)] << (in_place ? ", in place" : ""));
    Batch b({rows / 3, 0, rows - rows / 3}, spare);
    Array x(stream, b.capacity(), dim), out(stream, b.capacity(), dim);
    std::vector<double> wanted;
    for (int i = 0; i < rows * dim; ++i)
      x.set(i, base.get(i % (kDistinct * dim))), wanted.push_back(want[static_cast<size_t>(i) % want.size()]);
    const std::vector<double> bounds(wanted.size(), bound());
    expect_outputs({{in_place ? &x : &out, wanted, bounds}},
                   [&](Context& on) {
                     queued(mlp(stream_of(on), args(b.all(Side::backend), x, in_place ? x : out), team));
                   },
                   {}, {1});
  }
};

// dim, dtype of the weights, and whether rows are f32 or of that dtype too.
class CudaMlp : public CudaTestWith<std::tuple<int, Dtype, bool>> {};
std::string text_of(const std::tuple<int, Dtype, bool>& p) {
  return hedgerow::name_of(std::get<1>(p)) + std::to_string(std::get<0>(p)) +
         (std::get<2>(p) ? "_over_f32" : "");
}
INSTANTIATE_TEST_SUITE_P(, CudaMlp,
                         testing::Combine(testing::Values(192, 384), testing::Values(Dtype::f16, Dtype::bf16),
                                          testing::Bool()),
                         [](const auto& info) { return text_of(info.param); });

TEST_P(CudaMlp, every_team_agrees_with_the_definition) {
  if (!takes_eight_bits()) GTEST_SKIP() << "the fused MLP is Hopper's";
  const auto [dim, dtype, wide] = GetParam();
  Model m(dtype, wide ? Dtype::f32 : dtype, dim, wide ? 5 * 64 : 4 * dim,
          !wide && dtype == Dtype::bf16 ? Activation::gelu_tanh : Activation::gelu_erf);
  for (MlpTeam team : {MlpTeam::alone, MlpTeam::split, MlpTeam::shared}) {
    for (int rows : {0, 1, 63, 64, 65, 127, 128, 129, 193, 257, 511, 3152})
      m.expect(rows, rows % 2 ? 100 : 0, team, rows % 4 == 1);
    if (dtype == Dtype::f16 && !wide && team != MlpTeam::split)
      for (int rows : {17000, 35111}) m.expect(rows, 500, team, true);
  }
  m.expect(700, 3000, MlpTeam::automatic, true);
}

// Shapes it does not take are refused, not computed wrongly.
TEST_F(CudaTest, mlp_refuses_other_shapes_and_is_not_offered_for_few_rows) {
  Model other(Dtype::f16, Dtype::f16, 256, 256, Activation::gelu_erf);
  Batch b({5});
  Array x(Dtype::f16, b.capacity(), 256);
  run([&](Context& on) {
    EXPECT_EQ(mlp(stream_of(on), other.args(b.all(Side::backend), x, x)), cudaErrorNotSupported);
  });
  EXPECT_FALSE(fuses_mlp(50000, 256, 1024) || fuses_mlp(50000, 192, 800) || fuses_mlp(50000, 192, 832));
  EXPECT_FALSE(fuses_mlp(3000, 192, 768) || fuses_mlp(3000, 384, 1536));
}

}  // namespace
}  // namespace hedgerow::cuda::test
