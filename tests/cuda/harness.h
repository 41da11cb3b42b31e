// SPDX-License-Identifier: Apache-2.0
// Tests of single CUDA kernels and plans, which the table chooses from by itself.
#pragma once

#include "hedgerow/kernels/cuda/cuda.h"
#include "hedgerow/kernels/cuda/memory.h"
#include "hedgerow/kernels/cuda/ops.h"
#include "tests/ops/claims.h"

namespace hedgerow::cuda::test {

using namespace hedgerow::test;  // NOLINT: one harness

// Skipped, visibly, where no GPU is.
template <class Base>
class OnGpu : public Base {
 protected:
  void SetUp() override {
    under_test = {&backend(), false};
    if (!backend().runs_here())
      GTEST_SKIP() << "cuda needs " << backend().description << ", which this machine does not have ("
                   << backend().why_not() << ")";
  }
};
using CudaTest = OnGpu<testing::Test>;
template <class T>
using CudaTestWith = OnGpu<testing::TestWithParam<T>>;

inline cudaStream_t stream_of(const Context& on) { return static_cast<cudaStream_t>(on.stream()); }
inline void queued(cudaError_t e) { EXPECT_EQ(e, cudaSuccess) << cudaGetErrorString(e); }

}  // namespace hedgerow::cuda::test
