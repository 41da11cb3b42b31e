// SPDX-License-Identifier: Apache-2.0
// Products of few rows, and those that normalise their rows first: every tile, split and way of bringing the
// rows, at row counts around the tiles' edges.
#include "tests/cuda/product_problem.h"

namespace hedgerow::cuda::test {
namespace {

class CudaSmall : public CudaTestWith<Dtype> {
 protected:
  // Cases take turns with activations, spare rows and outputs in f32 (one of `f32_every`).
  LinearShape shape(int rows, int n, int k, int f32_every) {
    const Dtype d = GetParam(), out = turn_ % f32_every ? d : Dtype::f32;
    return {.rows = rows,
            .n = n,
            .k = k,
            .in = d,
            .out = out,
            .act = static_cast<Activation>(turn_ % 3),
            .residual_dtype = d,
            .spare = turn_ % 2 ? 150 : 3};
  }
  int turn_ = 0;
};
INSTANTIATE_TEST_SUITE_P(, CudaSmall, testing::Values(Dtype::f16, Dtype::bf16),
                         [](const auto& info) { return std::string(hedgerow::name_of(info.param)); });

constexpr struct {
  int rows, n, k;
} kShapes[] = {{1, 192, 768}, {0, 64, 192},    {63, 200, 200}, {64, 384, 1536},
               {65, 136, 72}, {197, 192, 192}, {300, 64, 3072}},
  kNorms[] = {{1, 576, 192},  {0, 64, 192}, {63, 200, 192},  {65, 136, 384}, {99, 768, 768},
              {197, 64, 392}, {64, 96, 72}, {197, 320, 384}, {20, 100, 33},  {9, 64, 1024}};

// A case takes every fourth plan, the next case another fourth; after a round of cases they move on by one.
TEST_P(CudaSmall, tiles_agree_with_the_definition) {
  std::vector<LinearPlan> plans;
  for (int rows : {8, 16, 32, 64, 104, 128})
    for (int groups : {1, 2}) {
      if (groups == 2 ? rows < 64 : rows == 128) continue;
      for (int split : {1, 2, 4, 8}) plans.push_back({LinearTile::small, split, rows, groups});
    }
  for (int round = 0; round < 2; ++round)
    for (const auto& s : kShapes)
      for (int variant = 0; variant < 2; ++variant, ++turn_) {
        std::vector<LinearPlan> part;
        for (size_t i = static_cast<size_t>((turn_ + turn_ / 14) % 4); i < plans.size(); i += 4)
          part.push_back(plans[i]);
        LinearShape c = shape(s.rows, s.n, s.k, 3);
        c.residual = variant == 1;
        if (c.out == Dtype::f32) c.residual_dtype = Dtype::f32;
        c.in_place = variant == 1 && turn_ % 4 != 1;
        expect_product(c, part);
      }
  LinearShape c = shape(50, 192, 192, 1000);
  c.act = Activation::none, c.out = GetParam();
  expect_product(c, {{}, {LinearTile::small, 1, 8}}, From::index);
}

TEST_P(CudaSmall, tiles_that_normalise_agree_with_the_definition) {
  std::vector<LinearPlan> plans = {{}};
  for (int rows : {8, 16, 32, 64}) plans.push_back({LinearTile::small, 1, rows, 1});
  for (int rows : {32, 64}) plans.push_back({LinearTile::small, 1, rows, 2});
  for (const auto& s : kNorms)
    for (int variant = 0; variant < 3; ++variant, ++turn_) {
      LinearShape c = shape(s.rows, s.n, s.k, 4);
      c.residual = turn_ % 5 == 0;
      expect_product(c, plans, variant == 2 ? From::norm_index : From::norm,
                     variant == 1 ? Dtype::f32 : GetParam());
    }
}

TEST_P(CudaSmall, tiles_that_divide_agree_with_the_definition) {
  std::vector<LinearPlan> plans = {{}, {LinearTile::small, 1, 64, 2}, {LinearTile::small, 1, 104, 1}};
  for (int rows : {8, 16, 32, 64}) plans.push_back({LinearTile::small, 1, rows, 1});
  for (const auto& s : kNorms)
    for (int variant = 0; variant < 2; ++variant, ++turn_) {
      LinearShape c = shape(s.rows, s.n, s.k, 4);
      c.residual = variant == 1;
      expect_product(c, plans, From::divided);
    }
}

using CudaWide = CudaTest;
TEST_F(CudaWide, products_of_f32_normalise_their_rows) {
  expect_product({.rows = 17, .n = 40, .k = 75, .residual = true, .spare = 9}, {{}}, From::norm_index);
}

}  // namespace
}  // namespace hedgerow::cuda::test
