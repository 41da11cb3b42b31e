// SPDX-License-Identifier: Apache-2.0
// Which plans give the same bits: what a product whose rows may not depend on their batch can choose from. A
// sum that is cut in two rounds otherwise; every other product is one chain in steps of 16.
#include "tests/cuda/product_problem.h"

namespace hedgerow::cuda::test {
namespace {

class CudaAlike : public CudaTestWith<Dtype> {};
INSTANTIATE_TEST_SUITE_P(, CudaAlike, testing::Values(Dtype::f16, Dtype::bf16),
                         [](const auto& info) { return std::string(hedgerow::name_of(info.param)); });

constexpr LinearPlan kPlans[] = {{.tile = LinearTile::pingpong_128},
                                 {.tile = LinearTile::pingpong_192},
                                 {.tile = LinearTile::pingpong_192, .share = Share::rows},
                                 {.tile = LinearTile::staged, .groups = 2, .cols = 192},
                                 {.tile = LinearTile::staged, .groups = 1, .cols = 80},
                                 {.tile = LinearTile::staged, .groups = 2, .cols = 160},
                                 {.tile = LinearTile::staged, .groups = 3, .cols = 192},
                                 {.tile = LinearTile::split_64x64},
                                 {.tile = LinearTile::split_128x64},
                                 {.tile = LinearTile::split_128x128},
                                 {.tile = LinearTile::mma},
                                 {.tile = LinearTile::small, .rows = 16, .groups = 1},
                                 {.tile = LinearTile::small, .rows = 64, .groups = 1},
                                 {.tile = LinearTile::small, .rows = 64, .groups = 2},
                                 {.tile = LinearTile::small, .rows = 104, .groups = 2}};

TEST_P(CudaAlike, products_that_cut_no_sum_have_the_same_bits) {
  const Dtype d = GetParam();
  for (int rows : {50, 197, 700, 3000})
    for (LinearShape shape :
         {LinearShape{.n = 576, .k = 192}, LinearShape{.n = 768, .k = 192, .act = Activation::gelu_erf},
          LinearShape{.n = 192, .k = 768, .residual = true},
          LinearShape{.n = 768, .k = 3072, .residual = true}}) {
      shape.rows = rows, shape.in = shape.out = shape.residual_dtype = d;
      LinearProblem p(shape);
      std::vector<uint8_t> first;
      for (const LinearPlan& plan : kPlans) {
        p.out.restore();
        run([&](Context& on) {
          queued(cuda::linear(stream_of(on), product_of(p.args(p.batch.all(Side::backend))), plan));
        });
        p.out.pull();
        if (first.empty()) first = p.out.bytes();
        EXPECT_TRUE(p.out.bytes() == first) << shape << ": " << text_of(plan);
      }
    }
}

}  // namespace
}  // namespace hedgerow::cuda::test
