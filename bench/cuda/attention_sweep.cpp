// SPDX-License-Identifier: Apache-2.0
// Ragged attention, head_dim 64, 12 heads: device time of one call as a graph of 100 calls / 100, mean of
// three seeds, over batch x mean length; every kernel beside the automatic choice. JSON lines on standard
// output.
//   attention_sweep [f16|bf16] [all | point BATCH MEAN KERNEL: five eager calls, for a profiler | serve]
// serve: a line "HEADS REPLAYS LENGTH..." on standard input, the figures of that batch on standard output, so
// that bench/peers/gpu.py can take turns between this op and its peers at the same lengths.
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <numeric>
#include <sstream>
#include <string>

#include "bench/cuda/timing.h"

using namespace hedgerow;
using namespace hedgerow::cuda;

namespace {

// One batch on the device, the arguments of its call, and what is measured of it.
struct Batch {
  std::vector<int> lengths;
  int heads, rows;
  Buffer offsets, out, qkv;
  AttentionArgs args;

  Batch(std::vector<int> l, int h, Dtype dtype, uint64_t seed)
      : lengths(std::move(l)), heads(h), rows(std::accumulate(lengths.begin(), lengths.end(), 0)) {
    const int dim = heads * 64, batch = static_cast<int>(lengths.size());
    offsets = bench::device_offsets(lengths), out = device_buffer(static_cast<size_t>(rows) * dim * 2);
    qkv = bench::random_halves(static_cast<size_t>(rows) * 3 * dim, dtype, 1, seed);
    auto part = [&](int i) {
      return heads_view(qkv.as<char>() + static_cast<size_t>(i) * dim * 2, dtype, rows, heads, 64, 3 * dim);
    };
    args.q = part(0), args.kv = {part(1), part(2)}, args.scale = 0.125f;
    args.q_rows = args.kv_rows = {offsets.as<const int32_t>(), batch, rows,
                                  *std::max_element(lengths.begin(), lengths.end())};
    args.out = heads_view(out.as(), dtype, rows, heads, 64);
  }

  double device_us(cudaStream_t stream, int replays,
                   AttentionKernel kernel = AttentionKernel::automatic) const {
    constexpr int kCalls = 100;
    auto queue = [&](cudaStream_t s) {
      for (int i = 0; i < kCalls; ++i) {
        if (const cudaError_t e = attention(s, args, kernel); e != cudaSuccess) return e;
      }
      return cudaSuccess;
    };
    return bench::time_graph(stream, queue, replays).device_us / kCalls;
  }

  double host_us(cudaStream_t stream) const {
    std::vector<double> host;
    for (int i = 0; i < 200; ++i) {
      const double begin = now_s();
      check(attention(stream, args), "attention");
      host.push_back((now_s() - begin) * 1e6);
      if (i % 20 == 19) check(cudaStreamSynchronize(stream), "attention");
    }
    std::sort(host.begin(), host.end());
    return host[host.size() / 2];
  }
};

int serve(Dtype dtype, cudaStream_t stream) {
  std::unique_ptr<Batch> batch;  // kept while the lengths stay
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream text(line);
    int heads = 0, replays = 0;
    text >> heads >> replays;
    std::vector<int> lengths;
    for (int n; text >> n;) lengths.push_back(n);
    if (heads < 1 || replays < 1 || lengths.empty()) return 1;
    if (!batch || batch->heads != heads || batch->lengths != lengths) {
      batch.reset();
      batch = std::make_unique<Batch>(lengths, heads, dtype, 1);
    }
    std::printf("{\"us\":%.3f,\"host_us\":%.2f}\n", batch->device_us(stream, replays),
                batch->host_us(stream));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Dtype dtype = argc > 1 && !std::strcmp(argv[1], "bf16") ? Dtype::bf16 : Dtype::f16;
  const bool all = argc > 2 && !std::strcmp(argv[2], "all");
  const int seeds = all ? 1 : 3;
  constexpr int kHeads = 12;
  if (bench::no_device()) return 77;
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "creating a stream");
  if (argc > 2 && !std::strcmp(argv[2], "serve")) return serve(dtype, stream);
  const char* names[] = {"automatic", "mma",    "one_group", "two_groups", "whole",
                         "halves",    "single", "overlap_2", "overlap_3"};
  const bool point = argc > 5 && !std::strcmp(argv[2], "point");
  std::vector<int> batches = {1, 8, 32, 64}, means = {20, 40, 60, 99, 150, 197, 288, 577, 785};
  if (point) batches = {std::atoi(argv[3])}, means = {std::atoi(argv[4])};
  for (int batch : batches) {
    for (int mean : means) {
      double us[9] = {}, host_us = 0;
      for (int seed = 1; seed <= seeds; ++seed) {
        const Batch b(bench::spread_lengths(batch, mean, 0.3, seed), kHeads, dtype, seed);
        if (point) {
          for (int i = 0; i < 5; ++i)
            check(attention(stream, b.args, static_cast<AttentionKernel>(std::atoi(argv[5]))), "attention");
          check(cudaStreamSynchronize(stream), "attention");
          return 0;
        }
        for (int kernel = 0; kernel < (all ? 9 : 1); ++kernel)
          us[kernel] += b.device_us(stream, all ? 3 : 7, static_cast<AttentionKernel>(kernel)) / seeds;
        host_us += b.host_us(stream) / seeds;
      }
      std::printf(
          "{\"op\":\"attention\",\"dtype\":\"%s\",\"batch\":%d,\"mean\":%d,\"us\":%.2f,\"host_us\":%.2f",
          name_of(dtype), batch, mean, us[0], host_us);
      for (int k = 1; all && k < 9; ++k) std::printf(",\"%s\":%.2f", names[k], us[k]);
      std::printf("}\n");
      std::fflush(stdout);
    }
  }
}
