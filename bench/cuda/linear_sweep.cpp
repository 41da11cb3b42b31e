// SPDX-License-Identifier: Apache-2.0
// The four products of a ViT block, with bias (GELU on fc1, residual on proj and fc2): device time of one
// call as a graph of many / their number, over models and row counts, beside cuBLASLt's with the same
// epilogue (its GELU is the tanh kind) and with the bias alone. `all` also times every tile shape. JSON lines
// on standard output.
// `steady` runs each for a quarter of a second: under power and heat as in a long job, where what is fast for
// a millisecond may not be.
//   linear_sweep [f16|bf16|fp8] [all [DIM [ROWS...]] | steady [DIM] | point DIM ROWS TILE SHARE: the products
//   once each, eager, for a profiler]
// fp8: rows and weights are e4m3, so is what fc1 puts out; the rest is f16 (cuBLASLt: what fc1 puts out too).
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "bench/cuda/cublaslt.h"
#include "bench/cuda/timing.h"

using namespace hedgerow;
using namespace hedgerow::cuda;

namespace {

struct Case {
  const char* name;
  int n, k;
  Activation act;
  bool residual;
};

const char* name_of(LinearTile tile) {
  constexpr const char* kNames[] = {"",    "plain",  "s64x64", "s128x64", "s128x128",
                                    "mma", "staged", "pp192",  "pp128",   "small"};
  return kNames[static_cast<int>(tile)];
}
std::string name_of(const LinearPlan& plan) {
  constexpr const char* kShares[] = {"", "w", "x"};
  const std::string size =
      plan.cols ? std::to_string(64 * plan.groups) + "x" + std::to_string(plan.cols) : "";
  return std::string(name_of(plan.tile)) + size + kShares[static_cast<int>(plan.share)] + "/" +
         std::to_string(plan.split);
}

// Shapes that may win somewhere.
std::vector<LinearPlan> plans_for(int rows, int k, bool steady, Dtype dtype, Activation act, bool residual) {
  std::vector<LinearPlan> plans;
  const bool turns_only = dtype == Dtype::e4m3;
  for (LinearTile tile : {LinearTile::split_64x64, LinearTile::split_128x64, LinearTile::split_128x128}) {
    for (int split : {1, 2, 4, 8}) {
      if (rows <= 4000 && !steady && !turns_only && k / 64 >= split) plans.push_back({tile, split});
    }
  }
  for (const StagedTile& t : kStagedTiles) {
    if (steady || turns_only || !t.takes(act) || (residual && !t.takes_residual())) continue;
    plans.push_back({.tile = LinearTile::staged, .groups = t.groups, .cols = t.cols});
  }
  if (rows < 190 && !turns_only) return plans;
  for (LinearTile tile : {LinearTile::pingpong_192, LinearTile::pingpong_128}) {
    for (Share share : {Share::none, Share::weights, Share::rows})
      plans.push_back({.tile = tile, .share = share});
  }
  return plans;
}

}  // namespace

int main(int argc, char** argv) {
  const Dtype dtype = argc > 1 && !std::strcmp(argv[1], "bf16")  ? Dtype::bf16
                      : argc > 1 && !std::strcmp(argv[1], "fp8") ? Dtype::e4m3
                                                                 : Dtype::f16;
  const Dtype rows_dtype = dtype == Dtype::e4m3 ? Dtype::f16 : dtype;
  const bool steady = argc > 2 && !std::strcmp(argv[2], "steady");
  const bool all = steady || (argc > 2 && !std::strcmp(argv[2], "all"));
  if (bench::no_device()) return 77;
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "creating a stream");
  const bool point = argc > 6 && !std::strcmp(argv[2], "point");
  std::vector<int> dims = {192, 384, 768};
  std::vector<int> row_counts = {99, 197, 792, 1576, 3152, 6304, 12608, 25344, 50432};
  if (all && argc > 3) dims = {std::atoi(argv[3])};
  if (all && argc > 4) {
    row_counts.clear();
    for (int i = 4; i < argc; ++i) row_counts.push_back(std::atoi(argv[i]));
  }
  if (steady) row_counts = {6304, 25344, 50432};
  if (point) dims = {std::atoi(argv[3])}, row_counts = {std::atoi(argv[4])};
  for (int dim : dims) {
    const Case products[] = {{"qkv", 3 * dim, dim, Activation::none, false},
                             {"proj", dim, dim, Activation::none, true},
                             {"fc1", 4 * dim, dim, Activation::gelu_erf, false},
                             {"fc2", dim, 4 * dim, Activation::none, true}};
    for (int rows : row_counts) {
      double sum = 0, best_sum = 0, vendor_sum = 0, flops = 0;
      for (const Case& product : products) {
        const Buffer x = bench::random_halves(static_cast<size_t>(rows) * product.k, dtype, 1, 1);
        const Buffer out = device_buffer(static_cast<size_t>(rows) * product.n * 2);
        const Buffer residual = bench::random_halves(static_cast<size_t>(rows) * product.n, rows_dtype, 1, 2);
        const Buffer offsets = bench::device_offsets({rows});
        const std::vector<float> bias(product.n, 0.5f);
        PackedLinear w = pack_linear(std::vector<float>(static_cast<size_t>(product.n) * product.k).data(),
                                     bias.data(), product.n, product.k, dtype);
        w.data = bench::random_halves(static_cast<size_t>(product.n) * product.k, dtype, 0.03f, 3);
        w.scale = e4m3_scale(8 * 0.03f);
        cuda::Product a;
        a.x = matrix_view(x.as(), dtype, rows, product.k), a.w = &w, a.act = product.act;
        a.x.scale = e4m3_scale(8);
        if (product.residual) a.residual = matrix_view(residual.as(), rows_dtype, rows, product.n);
        a.out = matrix_view(out.as(), product.act == Activation::none ? rows_dtype : dtype, rows, product.n);
        a.out.scale = e4m3_scale(8);
        a.rows = {offsets.as<const int32_t>(), 1, rows, rows};
        if (point) {
          const LinearPlan plan{.tile = static_cast<LinearTile>(std::atoi(argv[5])),
                                .groups = 2,
                                .cols = 192,
                                .share = static_cast<Share>(std::atoi(argv[6]))};
          check(linear(stream, a, plan), "linear");
          check(cudaStreamSynchronize(stream), "linear");
          continue;
        }
        const double work = 2.0 * rows * product.n * product.k;
        const int calls = std::min(50, std::max(10, static_cast<int>(1e12 / work)));
        auto timed = [&](auto&& queue) {
          // A short burst is not to pay for the heat of the one before.
          if (work > 2e9 && !steady) std::this_thread::sleep_for(std::chrono::milliseconds(15));
          const int replays = steady ? static_cast<int>(1.5e14 / (work * calls)) : all ? 5 : 9;
          return bench::time_graph(
                     stream,
                     [&](cudaStream_t s) {
                       for (int i = 0; i < calls; ++i) {
                         if (const cudaError_t e = queue(s); e != cudaSuccess) return e;
                       }
                       return cudaSuccess;
                     },
                     replays)
                     .device_us /
                 calls;
        };
        auto ours = [&](LinearPlan plan) {
          return timed([&](cudaStream_t s) { return linear(s, a, plan); });
        };
        auto vendors = [&](bool gelu, bool add) {
          const bench::VendorLinear vendor(dtype, rows, product.n, product.k, gelu, add);
          if (!vendor) return 0.0;
          return timed(
              [&](cudaStream_t s) { return vendor.queue(s, x.as(), w.data.as(), residual.as(), out.as()); });
        };
        const LinearPlan chosen =
            dtype == Dtype::e4m3
                ? linear_plan_eight_bits(rows, product.n, product.k, product.residual)
                : linear_plan(rows, product.n, product.k, product.residual, true, product.act);
        const double us = ours({}), vendor_us = vendors(product.act != Activation::none, product.residual);
        double best = us;
        std::printf(
            "{\"op\":\"linear\",\"dim\":%d,\"rows\":%d,\"product\":\"%s\",\"us\":%.2f,\"tflops\":%.0f,"
            "\"plan\":\"%s\",\"cublaslt\":%.2f,\"cublaslt_bias\":%.2f",
            dim, rows, product.name, us, work / us * 1e-6, name_of(chosen).c_str(), vendor_us,
            vendors(false, false));
        if (all) {
          for (const LinearPlan& plan :
               plans_for(rows, product.k, steady, dtype, product.act, product.residual)) {
            const double t = ours(plan);
            best = std::min(best, t);
            std::printf(",\"%s\":%.2f", name_of(plan).c_str(), t);
          }
        }
        std::printf("}\n");
        sum += us, best_sum += best, vendor_sum += vendor_us, flops += work;
      }
      if (point) continue;
      std::printf(
          "{\"op\":\"block\",\"dim\":%d,\"rows\":%d,\"us\":%.2f,\"tflops\":%.0f,\"best_us\":%.2f,"
          "\"cublaslt\":%.2f}\n",
          dim, rows, sum, flops / sum * 1e-6, best_sum, vendor_sum);
      std::fflush(stdout);
    }
  }
}
