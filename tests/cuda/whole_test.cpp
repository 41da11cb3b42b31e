// SPDX-License-Identifier: Apache-2.0
// Chains of ops and whole models on the device, as tests of their own names.
#include "tests/cuda/harness.h"

namespace hedgerow::cuda::test {

void test_linear();
void test_linear_small();
void test_linear_e4m3();
void test_linear_i8();
void test_alike();
void test_mlp();
void test_graph();
void test_vit();
void test_vit_graphs();

namespace {

TEST_F(CudaTest, linear) { test_linear(); }
TEST_F(CudaTest, linear_small) { test_linear_small(); }
TEST_F(CudaTest, linear_e4m3) { test_linear_e4m3(); }
TEST_F(CudaTest, linear_i8) { test_linear_i8(); }
TEST_F(CudaTest, alike) { test_alike(); }
TEST_F(CudaTest, mlp) { test_mlp(); }
TEST_F(CudaTest, a_recorded_graph_replays_what_eager_runs_give) { test_graph(); }
TEST_F(CudaTest, models_agree_with_the_cpu) { test_vit(); }
TEST_F(CudaTest, models_replay_what_eager_runs_give) { test_vit_graphs(); }

}  // namespace
}  // namespace hedgerow::cuda::test
