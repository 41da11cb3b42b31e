// SPDX-License-Identifier: Apache-2.0
// Ragged attention, head_dim 64, 12 heads: device time of one call as a graph of 100 calls / 100, mean of
// three seeds, over batch x mean length; every kernel beside the automatic choice. JSON lines on standard
// output.
//   attention_sweep [f16|bf16] [all | point BATCH MEAN KERNEL: five eager calls, for a profiler
//                               | serve: figures for the lengths on standard input, see attention_serve.h]
#include <cstdlib>
#include <cstring>

#include "bench/cuda/attention_serve.h"
#include "bench/cuda/timing.h"

using namespace hedgerow;
using namespace hedgerow::cuda;

int main(int argc, char** argv) {
  const Dtype dtype = argc > 1 && !std::strcmp(argv[1], "bf16") ? Dtype::bf16 : Dtype::f16;
  if (argc > 2 && !std::strcmp(argv[2], "serve")) return bench::serve(dtype);
  const bool all = argc > 2 && !std::strcmp(argv[2], "all");
  const int seeds = all ? 1 : 3;
  constexpr int kHeads = 12, kDim = kHeads * 64, kCalls = 100;
  if (bench::no_device()) return 77;
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "creating a stream");
  const char* names[] = {"automatic", "mma", "light", "one_group", "two_groups", "halves"};
  const bool point = argc > 5 && !std::strcmp(argv[2], "point");
  std::vector<int> batches = {1, 8, 32, 64}, means = {20, 40, 60, 99, 150, 197, 288, 577, 785};
  if (point) batches = {std::atoi(argv[3])}, means = {std::atoi(argv[4])};
  for (int batch : batches) {
    for (int mean : means) {
      double us[6] = {}, host_us = 0;
      for (int seed = 1; seed <= seeds; ++seed) {
        const std::vector<int> lengths = bench::spread_lengths(batch, mean, 0.3, seed);
        const int rows = batch * mean, longest = *std::max_element(lengths.begin(), lengths.end());
        const Buffer offsets = bench::device_offsets(lengths),
                     out = device_buffer(static_cast<size_t>(rows) * kDim * 2);
        const Buffer qkv = bench::random_halves(static_cast<size_t>(rows) * 3 * kDim, dtype, 1, seed);
        AttentionArgs a;
        auto part = [&](int i) {
          return heads_view(qkv.as<char>() + static_cast<size_t>(i) * kDim * 2, dtype, rows, kHeads, 64,
                            3 * kDim);
        };
        a.q = part(0), a.kv = {part(1), part(2)}, a.scale = 0.125f;
        a.q_rows = a.kv_rows = {offsets.as<const int32_t>(), batch, rows, longest};
        a.out = heads_view(out.as(), dtype, rows, kHeads, 64);
        if (point) {
          for (int i = 0; i < 5; ++i)
            check(attention(stream, a, static_cast<AttentionKernel>(std::atoi(argv[5]))), "attention");
          check(cudaStreamSynchronize(stream), "attention");
          return 0;
        }
        for (int kernel = 0; kernel < (all ? 6 : 1); ++kernel) {
          const auto time = bench::time_graph(
              stream,
              [&](cudaStream_t s) {
                for (int i = 0; i < kCalls; ++i) {
                  if (const cudaError_t e = attention(s, a, static_cast<AttentionKernel>(kernel));
                      e != cudaSuccess)
                    return e;
                }
                return cudaSuccess;
              },
              all ? 3 : 7);
          us[kernel] += time.device_us / kCalls / seeds;
        }
        std::vector<double> host;
        for (int i = 0; i < 200; ++i) {
          const double begin = now_s();
          check(attention(stream, a), "attention");
          host.push_back((now_s() - begin) * 1e6);
          if (i % 20 == 19) check(cudaStreamSynchronize(stream), "attention");
        }
        std::sort(host.begin(), host.end());
        host_us += host[host.size() / 2] / seeds;
      }
      std::printf(
          "{\"op\":\"attention\",\"dtype\":\"%s\",\"batch\":%d,\"mean\":%d,\"us\":%.2f,\"host_us\":%.2f",
          name_of(dtype), batch, mean, us[0], host_us);
      for (int k = 1; all && k < 6; ++k) std::printf(",\"%s\":%.2f", names[k], us[k]);
      std::printf("}\n");
      std::fflush(stdout);
    }
  }
}
