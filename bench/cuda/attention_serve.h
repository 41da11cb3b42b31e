// SPDX-License-Identifier: Apache-2.0
// The attention op at lengths that someone else names, so that bench/peers/gpu.py can take turns between this
// op and its peers: device time of one call as a graph of 100 calls / 100, and host time of one eager call.
#pragma once

#include <iostream>
#include <memory>
#include <numeric>
#include <sstream>
#include <string>

#include "bench/cuda/timing.h"

namespace hedgerow::cuda::bench {

// One batch on the device, the arguments of its call, and what is measured of it.
struct Batch {
  std::vector<int> lengths;
  int heads, rows;
  Buffer offsets, out, qkv;
  AttentionArgs args;

  Batch(std::vector<int> l, int h, Dtype dtype, uint64_t seed)
      : lengths(std::move(l)), heads(h), rows(std::accumulate(lengths.begin(), lengths.end(), 0)) {
    const int dim = heads * 64, batch = static_cast<int>(lengths.size());
    offsets = device_offsets(lengths), out = device_buffer(static_cast<size_t>(rows) * dim * 2);
    qkv = random_halves(static_cast<size_t>(rows) * 3 * dim, dtype, 1, seed);
    auto part = [&](int i) {
      return heads_view(qkv.as<char>() + static_cast<size_t>(i) * dim * 2, dtype, rows, heads, 64, 3 * dim);
    };
    args.q = part(0), args.kv = {part(1), part(2)}, args.scale = 0.125f;
    args.q_rows = args.kv_rows = {offsets.as<const int32_t>(), batch, rows,
                                  *std::max_element(lengths.begin(), lengths.end())};
    args.out = heads_view(out.as(), dtype, rows, heads, 64);
  }

  double device_us(cudaStream_t stream, int replays) const {
    constexpr int kCalls = 100;
    auto queue = [&](cudaStream_t s) {
      for (int i = 0; i < kCalls; ++i) {
        if (const cudaError_t e = attention(s, args); e != cudaSuccess) return e;
      }
      return cudaSuccess;
    };
    return time_graph(stream, queue, replays).device_us / kCalls;
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

// Answers until its input ends. A line "HEADS REPLAYS LENGTH..." asks, a JSON object answers.
inline int serve(Dtype dtype) {
  if (no_device()) return 77;
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "creating a stream");
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

}  // namespace hedgerow::cuda::bench
