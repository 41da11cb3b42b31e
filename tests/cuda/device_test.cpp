// SPDX-License-Identifier: Apache-2.0
// More than one device: what kernels are told once holds for each of them.
#include <cuda_runtime.h>

#include "tests/cuda/harness.h"
#include "tests/ops/linear_problem.h"

namespace hedgerow::cuda::test {
namespace {

// By a kernel that needs more of a block's memory than it has unless asked for.
TEST_F(CudaTest, every_device_of_a_machine_computes_the_same_bits) {
  int count = 0;
  ASSERT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  if (count < 2) GTEST_SKIP() << "there is one device";
  std::vector<uint8_t> first;
  for (int id = 0; id < count; ++id) {
    ASSERT_EQ(cudaSetDevice(id), cudaSuccess);
    LinearProblem p({.rows = 300, .n = 384, .k = 192, .in = Dtype::f16, .out = Dtype::f16});
    run([&](Context& on) { hedgerow::linear(on, p.args(p.batch.all(Side::backend))); });
    p.out.pull();
    if (id == 0) first = p.out.bytes();
    EXPECT_TRUE(p.out.bytes() == first) << "device " << id;
  }
  ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
}

}  // namespace
}  // namespace hedgerow::cuda::test
