// SPDX-License-Identifier: Apache-2.0
// Products: every tile shape and split, row counts around the tile edges, all epilogues, rows that are not
// there.
#include "tests/cuda/product_problem.h"

namespace hedgerow::cuda::test {
namespace {

constexpr Activation kNone = Activation::none, kErf = Activation::gelu_erf, kTanh = Activation::gelu_tanh;

// The shape of a product whose rows, residual and output are of one dtype.
LinearShape alike(Dtype d, int rows, int n, int k, int spare, Activation act = kNone) {
  return {.rows = rows, .n = n, .k = k, .in = d, .out = d, .act = act, .residual_dtype = d, .spare = spare};
}
LinearShape in_place(LinearShape s) {
  s.in_place = true;
  return s;
}
LinearShape with_residual(LinearShape s) {
  s.residual = true;
  return s;
}
LinearShape to_f32(LinearShape s) {
  s.out = Dtype::f32;
  return s;
}

class CudaLinear : public CudaTestWith<Dtype> {};
INSTANTIATE_TEST_SUITE_P(, CudaLinear, testing::Values(Dtype::f16, Dtype::bf16),
                         [](const auto& info) { return std::string(hedgerow::name_of(info.param)); });

TEST_P(CudaLinear, every_tile_and_split_agrees_with_the_definition) {
  std::vector<LinearPlan> plans;
  for (int tile = 0; tile < 6; ++tile)
    for (int split : {1, 2, 4, 8})
      if (split == 1 || (tile >= 2 && tile < 5)) plans.push_back({static_cast<LinearTile>(tile), split});
  for (int rows : {1, 64, 130, 700}) {
    const LinearShape s =
        alike(GetParam(), rows, rows == 64 ? 1000 : 384, rows == 130 ? 584 : 512, rows + 100);
    expect_product(to_f32(s), plans);
    LinearShape other = s;
    other.act = kErf;
    expect_product(other, plans);
    other = to_f32(with_residual(s));
    other.residual_dtype = Dtype::f32;
    expect_product(other, plans);
    expect_product(with_residual(s), plans);
  }
  expect_product(to_f32(alike(GetParam(), 33, 2, 48, 5)), {{}});
  expect_product(alike(GetParam(), 20000, 192, 64, 100, kTanh), {{}});
}

// Row counts around their edges and halves, tails in n and k, both output types, a residual that is
// overwritten, and enough rows that every block has turns of both heights.
TEST_P(CudaLinear, tiles_that_take_turns_agree_with_the_definition) {
  const Dtype d = GetParam();
  const std::vector<LinearPlan> plans = turning_plans();
  for (int rows : {0, 1, 63, 65, 127, 128, 129, 255, 257}) {
    const int n = rows % 2 ? 392 : 384, k = rows % 4 == 1 ? 328 : 192;
    const LinearShape s = alike(d, rows, n, k, 100);
    expect_product(alike(d, rows, n, k, 100, kErf), plans);
    expect_product(in_place(s), plans);
    expect_product(in_place(to_f32(s)), plans);
    expect_product(with_residual(to_f32(alike(d, rows, n, k, 9))), plans);
  }
  expect_product(with_residual(alike(d, 300, 72, 1096, 20, kTanh)), plans);
  expect_product(to_f32(alike(d, 1000, 1000, 64, 1)), plans);
  expect_product(in_place(alike(d, 4600, 1000, 72, 400)), plans);
  if (d == Dtype::f16) expect_product(in_place(to_f32(alike(d, 4600, 1000, 8, 0))), plans);
}

// Row counts around its edges, tails in n and k, a residual that is overwritten, several turns a block, and
// what it can't take, which another tile does.
TEST_P(CudaLinear, every_staged_tile_agrees_with_the_definition) {
  const Dtype d = GetParam();
  for (const StagedTile& tile : kStagedTiles) {
    const std::vector<LinearPlan> plan = {
        {.tile = LinearTile::staged, .groups = tile.groups, .cols = tile.cols}};
    const int high = 64 * tile.groups;
    for (int rows : {0, 1, high - 1, high, high + 1}) {
      const int n = rows % 2 ? 392 : 384, k = rows % 2 ? 584 : 64;
      expect_product(in_place(alike(d, rows, n, k, 100)), plan);
      if (rows <= high) continue;
      expect_product(alike(d, rows, n, k, 9), plan);
      expect_product(alike(d, rows, n, k, 9, kErf), plan);
    }
    expect_product(with_residual(alike(d, 100, 72, 1096, 20, kTanh)), plan);
    expect_product(to_f32(alike(d, 50, 384, 64, 1)), plan);
    if (d == Dtype::bf16) continue;
    expect_product(in_place(alike(d, 3000, 1000, 72, 900)), plan);
    expect_product(alike(d, 3000, 1000, 72, 400, kErf), plan);
  }
}

class CudaProducts : public CudaTest {};

TEST_F(CudaProducts, of_f32_agree_with_the_definition) {
  expect_product(with_residual(alike(Dtype::f32, 77, 100, 75, 9, kErf)), {{}});
}

// What one product leaves of its rows, and what the next one makes of it, in and out of place.
TEST_F(CudaProducts, leave_and_take_the_moments_of_rows) {
  std::vector<LinearPlan> plans = turning_plans();
  plans.push_back({});
  for (int rows : {0, 1, 64, 127, 129, 700, 3000, 20000}) {
    const int n = rows == 700 ? 768 : rows % 2 ? 192 : 384, k = rows == 64 ? 584 : rows == 700 ? 1024 : 512;
    const auto expect = [&](const LinearShape& s, bool divided, bool gives) {
      ProductProblem p(s, divided ? From::divided : From::rows);
      if (divided) p.measure();
      p.gives_moments = gives;
      p.expect(plans);
    };
    LinearShape s = with_residual(alike(Dtype::f16, rows, n, k, 77));
    s.in_place = rows % 2 == 1;
    expect(s, false, true);
    const int whole = k / 64 * 64;
    expect(alike(Dtype::f16, rows, n, whole, 77, kErf), true, false);
    expect(with_residual(alike(Dtype::f16, rows, n, whole, 77)), true, true);
    expect(to_f32(alike(Dtype::f16, rows, 1000, 192, 5)), true, false);
  }
}

TEST_F(CudaProducts, leave_moments_by_tiles_that_take_turns_alone) {
  ProductProblem p(in_place(alike(Dtype::f16, 5, 192, 192, 0)));
  p.gives_moments = true;
  run([&](Context& on) {
    for (LinearTile tile :
         {LinearTile::plain, LinearTile::mma, LinearTile::split_64x64, LinearTile::staged, LinearTile::small})
      EXPECT_EQ(cuda::linear(stream_of(on), p.product(p.batch.all(Side::backend)), {tile}),
                cudaErrorNotSupported);
  });
}

TEST_F(CudaProducts, of_eight_bits_agree_with_the_definition_by_every_plan) {
  if (!takes_eight_bits()) GTEST_SKIP() << "this device has no 8-bit products";
  std::vector<LinearPlan> plans = turning_plans();
  plans.push_back({});
  for (Dtype in : {Dtype::e4m3, Dtype::i8})
    for (const LinearShape& shape : eight_bit_shapes(in)) expect_product(shape, plans);
}

}  // namespace
}  // namespace hedgerow::cuda::test
