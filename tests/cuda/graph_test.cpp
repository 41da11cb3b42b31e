// SPDX-License-Identifier: Apache-2.0
// One recorded graph serves every batch that fits: lengths, budgets and values change on the device between
// replays, and every replay gives the bits of an eager run. Memory does not grow.
#include "tests/cuda/harness.h"

namespace hedgerow::cuda::test {
namespace {

constexpr int kBatch = 6, kMost = 150, kDim = 128, kHeads = 2, kHidden = 256;
constexpr int kRows = kBatch * kMost;

// A prune and a block: score, choose, pack, normalise, project, attend, project with residual.
struct Chain {
  Array x{Dtype::f16, kRows, kDim}, offsets{Dtype::i32, kBatch + 1}, count{Dtype::i32, kBatch};
  Array gamma{Dtype::f32, kDim}, beta{Dtype::f32, kDim}, out{Dtype::f16, kRows, kDim};
  Buffer score = device_buffer(kRows * 4), kept = device_buffer(kRows * 4),
         kept_offsets = device_buffer((kBatch + 1) * 4), packed = device_buffer(kRows * kDim * 2),
         norm = device_buffer(kRows * kDim * 2), qkv = device_buffer(kRows * kDim * 6),
         attended = device_buffer(kRows * kDim * 2);
  PackedLinear w_qkv, w_out;

  Chain() {
    const Rng rng{31, 1};
    std::vector<float> w(static_cast<size_t>(3 * kDim) * kDim);
    for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(rng.normal(i)) * 0.1f;
    w_qkv = pack_linear(w.data(), nullptr, 3 * kDim, kDim, Dtype::f16);
    w_out = pack_linear(w.data(), w.data(), kDim, kDim, Dtype::f16);
    gamma.normals(1, kDim), beta.normals(2, kDim), offsets.set(0, 0);
  }

  void change(uint64_t seed) {
    const Rng rng{seed, 5};
    int total = 0;
    for (int i = 0; i < kBatch; ++i) {
      const int length = static_cast<int>(rng.uniform(i) * (kMost + 1));
      total += length;
      offsets.set(i + 1, total);
      count.set(i, std::floor(rng.uniform(i + 100) * length));
    }
    for (int i = 0; i < kRows * kDim; ++i)
      x.set(i, i < total * kDim ? Rng{seed, 7}.normal(static_cast<uint64_t>(i)) : kNan);
  }

  cudaError_t queue(cudaStream_t stream) {
    const Ragged all{offsets.data<int32_t>(Side::backend), kBatch, kRows, kMost};
    const Ragged left{kept_offsets.as<const int32_t>(), kBatch, kRows, kMost};
    const auto rows = [](const void* p, int cols) { return matrix_view(p, Dtype::f16, kRows, cols); };
    const auto heads = [&](int i) {
      return heads_view(qkv.as<char>() + i * kDim * 2, Dtype::f16, kRows, kHeads, 64, 3 * kDim);
    };
    const Tensor scores = vector_view(score.as(), Dtype::f32, kRows),
                 list = vector_view(kept.as(), Dtype::i32, kRows);
    cudaError_t first = cudaSuccess;
    const auto note = [&](cudaError_t e) { first = first == cudaSuccess ? e : first; };
    note(row_norm(stream, {rows(x.data<void>(Side::backend), kDim), scores, all}));
    SelectArgs choice;
    choice.score = scores, choice.rows = all, choice.count = count.data<int32_t>(Side::backend);
    choice.kept = list, choice.kept_offsets = kept_offsets.as<int32_t>();
    note(select(stream, choice));
    note(gather(stream, {rows(x.data<void>(Side::backend), kDim), list, rows(packed.as(), kDim), left}));
    LayerNormArgs n;
    n.x = rows(packed.as(), kDim), n.out = rows(norm.as(), kDim), n.rows = left;
    n.gamma = vector_view(gamma.data<void>(Side::backend), Dtype::f32, kDim);
    n.beta = vector_view(beta.data<void>(Side::backend), Dtype::f32, kDim);
    note(layer_norm(stream, n));
    Product project;
    project.x = rows(norm.as(), kDim), project.w = &w_qkv, project.out = rows(qkv.as(), 3 * kDim);
    project.rows = left;
    note(linear(stream, project));
    AttentionArgs a;
    a.q = heads(0), a.kv = {heads(1), heads(2)}, a.q_rows = a.kv_rows = left, a.scale = 0.125f;
    a.out = heads_view(attended.as(), Dtype::f16, kRows, kHeads, 64);
    note(attention(stream, a));
    project.x = rows(attended.as(), kDim), project.w = &w_out, project.act = Activation::gelu_erf;
    project.residual = rows(packed.as(), kDim), project.out = rows(out.data<void>(Side::backend), kDim);
    note(linear(stream, project));
    return first;
  }
};

TEST_F(CudaTest, a_recorded_graph_replays_what_eager_runs_give_and_memory_does_not_grow) {
  constexpr int kRounds = 200;
  Chain chain;
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  const auto finish = [&](cudaError_t e) {
    queued(e), queued(cudaStreamSynchronize(stream));
    chain.out.pull();
  };
  chain.change(1);
  finish(chain.queue(stream));  // what is set up on first use is set up here
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  queued(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  queued(chain.queue(stream));
  queued(cudaStreamEndCapture(stream, &graph));
  ASSERT_EQ(cudaGraphInstantiate(&ready, graph, 0), cudaSuccess);

  size_t free_before = 0, free_after = 0, total = 0;
  cudaMemGetInfo(&free_before, &total);
  int differ = 0, nans = 0, empty = 0;
  for (int round = 0; round < kRounds; ++round) {
    chain.change(static_cast<uint64_t>(round) + 2);
    chain.out.restore();
    finish(chain.queue(stream));
    const std::vector<uint8_t> eager = chain.out.bytes();
    int32_t rows = 0;
    copy_from_device(&rows, chain.kept_offsets.as<int32_t>() + kBatch, 4);
    empty += rows == 0;
    for (int i = 0; i < rows * kDim; ++i) nans += std::isnan(chain.out.get(i));
    chain.out.restore();
    chain.out.data<void>(Side::backend);  // as it was
    finish(cudaGraphLaunch(ready, stream));
    differ += chain.out.bytes() != eager;
  }
  cudaMemGetInfo(&free_after, &total);
  EXPECT_EQ(differ, 0) << "replays differ from eager runs";
  EXPECT_EQ(nans, 0) << "NaN among live rows";
  EXPECT_LT(empty, kRounds) << "every batch was empty";
  EXPECT_GE(free_after, free_before);
  cudaGraphExecDestroy(ready), cudaGraphDestroy(graph), cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace hedgerow::cuda::test
