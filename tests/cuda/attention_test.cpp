// SPDX-License-Identifier: Apache-2.0
// Every attention kernel, whatever the table would choose: lengths around every tile edge, fewer queries than
// keys, hidden keys that hold NaN.
#include "tests/cuda/harness.h"
#include "tests/ops/attention_problem.h"

namespace hedgerow::cuda::test {
namespace {

class CudaAttention : public CudaTestWith<std::tuple<Dtype, int>> {};

constexpr const char* kKernels[] = {"automatic", "mma", "light", "one_group", "two_groups", "halves"};

// Lengths around the edges of tiles, some that one block can hold, some longer than a ring of keys.
const std::vector<std::vector<int>> kLengths = {{0, 1, 15, 16, 17, 63, 64, 65, 0, 127, 128, 129, 197, 250, 2},
                                                {20, 1, 14, 0, 9},
                                                {20, 31, 3, 32},
                                                {64, 64, 40},
                                                {77, 5, 80, 0, 48},
                                                {1, 47, 96, 33},
                                                {48, 33, 2, 47},
                                                {128, 0, 127, 65, 1, 113, 112, 64},
                                                {400, 3, 513}};

TEST_P(CudaAttention, every_kernel_agrees_with_the_definition) {
  const auto [dtype, head_dim] = GetParam();
  const bool chosen = dtype != Dtype::f32 && head_dim == 64;  // several kernels are there
  for (const std::vector<int>& lengths : kLengths)
    for (int variant = 0; variant < 8; ++variant) {
      if (!chosen && lengths[0] == 400) continue;
      std::vector<int> asked = lengths;
      for (size_t i = 0; (variant & 2) && i < asked.size(); ++i)
        asked[i] = i % 3 == 0 ? asked[i] / 2 : i % 3 == 1 ? asked[i] > 0 : asked[i];
      AttentionProblem p(dtype, 2, head_dim, asked, lengths, 11 + static_cast<uint64_t>(head_dim));
      p.first_row = variant & 4;
      if (variant & 2) {  // from the end of each sequence
        std::vector<int> rows;
        for (int s = 0; s < p.q_rows.size(); ++s)
          for (int i = 0; i < p.q_rows.length(s); ++i)
            rows.push_back(p.kv_rows.begin(s) + p.kv_rows.length(s) - 1 - i);
        for (int j = 0; j < p.kv_rows.rows() * p.dim(); ++j)
          p.at(0, j / p.dim(), j % p.dim(), Rng{1, 9}.normal(static_cast<uint64_t>(j)));
        p.ask([&](int i) { return rows[static_cast<size_t>(i)]; });
      }
      if (variant & 1)
        p.bias_by([&](int j) {
          const bool hidden = Rng{5, 3}.uniform(static_cast<uint64_t>(j)) < 0.2;
          for (int c = 0; hidden && j % 3 == 0 && c < p.dim(); ++c) p.at(1, j, c, kNan), p.at(2, j, c, kNan);
          return hidden ? -kInf : Rng{5, 3}.normal(static_cast<uint64_t>(j) + 1000);
        });
      const std::vector<Output> wanted = p.wanted();
      for (int kernel = 0; kernel < (chosen ? 6 : 1); ++kernel) {
        SCOPED_TRACE(testing::Message() << kKernels[kernel] << ", " << lengths.size() << " sequences from "
                                        << lengths[0] << ", variant " << variant);
        expect_outputs(wanted, [&](Context& on) {
          queued(cuda::attention(stream_of(on), p.args(p.q_rows.all(Side::backend)),
                                 static_cast<AttentionKernel>(kernel)));
        });
      }
    }
}

INSTANTIATE_TEST_SUITE_P(, CudaAttention,
                         testing::Combine(testing::Values(Dtype::f16, Dtype::bf16, Dtype::f32),
                                          testing::Values(64, 32, 128)),
                         [](const auto& info) {
                           return hedgerow::name_of(std::get<0>(info.param)) +
                                  std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace hedgerow::cuda::test
