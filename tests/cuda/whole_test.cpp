// SPDX-License-Identifier: Apache-2.0
// Chains of ops and whole models on the device, as tests of their own names.
#include "tests/cuda/harness.h"

namespace hedgerow::cuda::test {

void test_graph();
void test_vit();
void test_vit_graphs();

namespace {

TEST_F(CudaTest, a_recorded_graph_replays_what_eager_runs_give) { test_graph(); }
TEST_F(CudaTest, models_agree_with_the_cpu) { test_vit(); }
TEST_F(CudaTest, models_replay_what_eager_runs_give) { test_vit_graphs(); }

}  // namespace
}  // namespace hedgerow::cuda::test
