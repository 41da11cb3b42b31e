// SPDX-License-Identifier: Apache-2.0
// The feed-forward half of a block, x += fc2(gelu(fc1(norm(x)))), at DeiT-T's and -S's widths: device time of
// one call, as a graph of many / their number, in one launch by every team (`us` is the automatic choice) and
// as layer_norm, linear, linear (`apart`). Random data, biases of 0. JSON lines on standard output.
//   mlp_sweep [f16|bf16] [steady: a quarter of a second each, under power and heat as in a long job]
#include <cstring>

#include "bench/cuda/timing.h"

using namespace hedgerow;
using namespace hedgerow::cuda;

int main(int argc, char** argv) {
  const Dtype dtype = argc > 1 && !std::strcmp(argv[1], "bf16") ? Dtype::bf16 : Dtype::f16;
  const bool steady = argc > 2 && !std::strcmp(argv[2], "steady");
  if (bench::no_device()) return 77;
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "creating a stream");
  for (int dim : {192, 384}) {
    const int hidden = 4 * dim;
    const std::vector<float> one(dim, 1.0f);
    const Buffer gamma = device_buffer(dim * 4), beta = device_buffer(dim * 4);
    copy_to_device(gamma.as(), one.data(), dim * 4);
    const size_t weights = static_cast<size_t>(dim) * hidden;
    const std::vector<float> nothing(weights);
    PackedLinear w1 = pack_linear(nothing.data(), nullptr, hidden, dim, dtype),
                 w2 = pack_linear(nothing.data(), nullptr, dim, hidden, dtype);
    w1.data = bench::random_halves(weights, dtype, 0.03f, 3),
    w2.data = bench::random_halves(weights, dtype, 0.03f, 4);
    for (int rows : {197, 394, 788, 1576, 3152, 6304, 8448, 12608, 16896, 25344, 50432}) {
      if (steady && rows < 6304) continue;
      const size_t count = static_cast<size_t>(rows) * dim;
      const Buffer x = bench::random_halves(count, dtype, 1, 1), normed = device_buffer(count * 2),
                   inside = device_buffer(count * 8), offsets = bench::device_offsets({rows});
      MlpArgs a;
      a.x = a.out = matrix_view(x.as(), dtype, rows, dim);
      a.norm_gamma = vector_view(gamma.as(), Dtype::f32, dim),
      a.norm_beta = vector_view(beta.as(), Dtype::f32, dim);
      a.w1 = &w1, a.w2 = &w2, a.rows = {offsets.as<const int32_t>(), 1, rows, rows};
      const Tensor y = matrix_view(normed.as(), dtype, rows, dim),
                   h = matrix_view(inside.as(), dtype, rows, hidden);
      const double work = 4.0 * rows * weights;
      const int calls = std::min(50, std::max(10, static_cast<int>(1e12 / work)));
      auto timed = [&](auto&& queue) {
        const auto many = [&](cudaStream_t s) {
          for (int i = 0; i < calls; ++i) {
            if (const cudaError_t e = queue(s); e != cudaSuccess) return e;
          }
          return cudaSuccess;
        };
        const int replays = steady ? static_cast<int>(1.2e14 / (work * calls)) : 7;
        return bench::time_graph(stream, many, replays).device_us / calls;
      };
      const auto apart = [&](cudaStream_t s) {
        LayerNormArgs n;
        n.x = a.x, n.gamma = a.norm_gamma, n.beta = a.norm_beta, n.out = y, n.rows = a.rows;
        Product first, second;
        first.x = y, first.w = &w1, first.act = a.act, first.out = h, first.rows = a.rows;
        if (fuses_norm(rows, hidden, dim, false, false) == NormFusion::whole)
          first.x = a.x, first.norm_gamma = a.norm_gamma, first.norm_beta = a.norm_beta;
        second.x = h, second.w = &w2, second.residual = second.out = a.x, second.rows = a.rows;
        cudaError_t e = first.norm_gamma ? cudaSuccess : layer_norm(s, n);
        if (e == cudaSuccess) e = linear(s, first);
        return e == cudaSuccess ? linear(s, second) : e;
      };
      const auto fused = [&](MlpTeam team) {
        return timed([&, team](cudaStream_t s) { return mlp(s, a, team); });
      };
      const double us = fused(MlpTeam::automatic);
      std::printf(
          "{\"op\":\"mlp\",\"dim\":%d,\"rows\":%d,\"us\":%.2f,\"tflops\":%.0f,\"apart\":%.2f,\"fuses\":%d,"
          "\"team\":%d",
          dim, rows, us, work / us * 1e-6, timed(apart), fuses_mlp(rows, dim, hidden),
          static_cast<int>(mlp_team(rows)));
      std::printf(",\"alone\":%.2f,\"shared\":%.2f,\"split\":%.2f}\n", fused(MlpTeam::alone),
                  fused(MlpTeam::shared), fused(MlpTeam::split));
      std::fflush(stdout);
    }
  }
}
