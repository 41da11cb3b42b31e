// SPDX-License-Identifier: Apache-2.0
// The four products of a ViT block, with bias (GELU on fc1, residual on proj and fc2): device time of one
// call as a graph of 50 calls / 50, over models and row counts; every tile shape beside the automatic choice.
// JSON lines on standard output.
//   linear_sweep [f16|bf16] [all | point DIM ROWS TILE: the four products once each, eager, for a profiler]
#include <cstdlib>
#include <cstring>

#include "bench/cuda/timing.h"

using namespace hedgerow;
using namespace hedgerow::cuda;

int main(int argc, char** argv) {
  const Dtype dtype = argc > 1 && !std::strcmp(argv[1], "bf16") ? Dtype::bf16 : Dtype::f16;
  const bool all = argc > 2 && !std::strcmp(argv[2], "all");
  constexpr int kCalls = 50;
  if (bench::no_device()) return 77;
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "creating a stream");
  const char* tiles[] = {"",        "plain",    "alone192", "alone128", "s64x64",
                         "s128x64", "s128x128", "mma",      "staged192"};
  const bool point = argc > 5 && !std::strcmp(argv[2], "point");
  std::vector<int> dims = {192, 384, 768}, row_counts = {99, 197, 792, 1576, 6304, 25344, 50432};
  if (point) dims = {std::atoi(argv[3])}, row_counts = {std::atoi(argv[4])};
  for (int dim : dims) {
    const struct {
      const char* name;
      int n, k;
      Activation act;
      bool residual;
    } products[] = {{"qkv", 3 * dim, dim, Activation::none, false},
                    {"proj", dim, dim, Activation::none, true},
                    {"fc1", 4 * dim, dim, Activation::gelu_erf, false},
                    {"fc2", dim, 4 * dim, Activation::none, true}};
    for (int rows : row_counts) {
      double sum = 0, best_sum = 0, flops = 0;
      for (const auto& product : products) {
        const Buffer x = bench::random_halves(static_cast<size_t>(rows) * product.k, dtype, 1, 1);
        const Buffer out = device_buffer(static_cast<size_t>(rows) * product.n * 2);
        const Buffer residual = bench::random_halves(static_cast<size_t>(rows) * product.n, dtype, 1, 2);
        const Buffer offsets = bench::device_offsets({rows});
        const std::vector<float> bias(product.n, 0.5f);
        PackedLinear w = pack_linear(std::vector<float>(static_cast<size_t>(product.n) * product.k).data(),
                                     bias.data(), product.n, product.k, dtype);
        w.data = bench::random_halves(static_cast<size_t>(product.n) * product.k, dtype, 0.03f, 3);
        LinearArgs a;
        a.x = matrix_view(x.as(), dtype, rows, product.k), a.w = &w, a.act = product.act;
        if (product.residual) a.residual = matrix_view(residual.as(), dtype, rows, product.n);
        a.out = matrix_view(out.as(), dtype, rows, product.n);
        a.rows = {offsets.as<const int32_t>(), 1, rows, rows};
        auto timed = [&](LinearPlan plan) {
          return bench::time_graph(
                     stream,
                     [&](cudaStream_t s) {
                       for (int i = 0; i < kCalls; ++i) {
                         if (const cudaError_t e = linear(s, a, plan); e != cudaSuccess) return e;
                       }
                       return cudaSuccess;
                     },
                     all ? 3 : 7)
                     .device_us /
                 kCalls;
        };
        if (point) {
          check(linear(stream, a, {static_cast<LinearTile>(std::atoi(argv[5])), 1}), "linear");
          check(cudaStreamSynchronize(stream), "linear");
          continue;
        }
        const LinearPlan chosen = linear_plan(rows, product.n, product.k, product.residual);
        const double us = timed({}), work = 2.0 * rows * product.n * product.k;
        double best = us;
        std::printf(
            "{\"op\":\"linear\",\"dim\":%d,\"rows\":%d,\"product\":\"%s\",\"us\":%.2f,\"tflops\":%.0f,"
            "\"plan\":\"%s/%d\"",
            dim, rows, product.name, us, work / us * 1e-6, tiles[static_cast<int>(chosen.tile)],
            chosen.split);
        for (int tile = 2; all && tile < 9; ++tile) {
          for (int split : {1, 2, 4, 8}) {
            const bool splits = tile >= 4 && tile < 7;
            if (splits ? rows > 2000 || product.k / 64 < split : split > 1) continue;
            if (!splits && rows < 190) continue;
            const double t = timed({static_cast<LinearTile>(tile), split});
            best = std::min(best, t);
            std::printf(",\"%s/%d\":%.2f", tiles[tile], split, t);
          }
        }
        std::printf("}\n");
        sum += us, best_sum += best, flops += work;
      }
      if (point) continue;
      std::printf("{\"op\":\"block\",\"dim\":%d,\"rows\":%d,\"us\":%.2f,\"tflops\":%.0f,\"best_us\":%.2f}\n",
                  dim, rows, sum, flops / sum * 1e-6, best_sum);
      std::fflush(stdout);
    }
  }
}
