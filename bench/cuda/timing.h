// SPDX-License-Identifier: Apache-2.0
// Device time of work inside a CUDA graph, and host time of queueing it.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "hedgerow/core/clock.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/kernels/cuda/memory.h"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda::bench {

// Says so where there is nothing to measure on; programs then return 77.
inline bool no_device() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess && count > 0) return false;
  std::fprintf(stderr, "no CUDA device here\n");
  return true;
}

struct GraphTime {
  double device_us = 0, host_us = 0;  // of one replay: on the device; spent by the host to submit it
  size_t nodes = 0;
};

// Captures what `queue(stream)` queues and times its replays (medians).
template <class F>
GraphTime time_graph(cudaStream_t stream, F&& queue, int replays = 9) {
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  const cudaError_t queued = queue(stream);
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  check(queued, "queueing into a graph");
  check(ended, "ending the capture");
  GraphTime result;
  check(cudaGraphGetNodes(graph, nullptr, &result.nodes), "counting nodes");
  check(cudaGraphInstantiate(&exec, graph, 0), "instantiating");
  cudaEvent_t from, to;
  check(cudaEventCreate(&from), "event"), check(cudaEventCreate(&to), "event");
  check(cudaGraphLaunch(exec, stream), "replay");
  check(cudaStreamSynchronize(stream), "replay");
  std::vector<double> device, host;
  for (int i = 0; i < replays; ++i) {
    check(cudaEventRecord(from, stream), "event");
    const double begin = now_s();
    check(cudaGraphLaunch(exec, stream), "replay");
    host.push_back((now_s() - begin) * 1e6);
    check(cudaEventRecord(to, stream), "event"), check(cudaEventSynchronize(to), "replay");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, from, to), "event");
    device.push_back(ms * 1e3);
  }
  cudaEventDestroy(from), cudaEventDestroy(to), cudaGraphExecDestroy(exec), cudaGraphDestroy(graph);
  std::sort(device.begin(), device.end()), std::sort(host.begin(), host.end());
  result.device_us = device[device.size() / 2], result.host_us = host[host.size() / 2];
  return result;
}

// Random values of standard deviation `scale`, of 16 bits or, in the scale that holds eight deviations, e4m3.
inline Buffer random_halves(size_t count, Dtype dtype, float scale, uint64_t seed) {
  if (dtype == Dtype::e4m3) {
    std::vector<uint8_t> host(count);
    const Rng rng{seed, 1};
    const size_t fresh = std::min<size_t>(count, 1 << 20);
    for (size_t i = 0; i < fresh; ++i)
      host[i] = f32_to_e4m3(static_cast<float>(rng.normal(i)) * scale / e4m3_scale(8 * scale));
    for (size_t i = fresh; i < count; ++i) host[i] = host[i - fresh + (i / fresh) % 7];
    Buffer device = device_buffer(count);
    copy_to_device(device.as(), host.data(), count);
    return device;
  }
  std::vector<uint16_t> host(count);
  const Rng rng{seed, 1};
  const size_t fresh = std::min<size_t>(count, 1 << 20);
  for (size_t i = 0; i < fresh; ++i) {
    const float v = scale * static_cast<float>(rng.normal(i));
    host[i] = dtype == Dtype::f16 ? f32_to_f16(v) : f32_to_bf16(v);
  }
  for (size_t i = fresh; i < count; ++i) host[i] = host[i - fresh + (i / fresh) % 7];
  Buffer device = device_buffer(count * 2);
  copy_to_device(device.as(), host.data(), count * 2);
  return device;
}

// Lengths spread by `spread` around `mean`, their mean exact.
inline std::vector<int> spread_lengths(int batch, int mean, double spread, uint64_t seed) {
  const Rng rng{seed, 2};
  std::vector<double> r(batch);
  double sum = 0;
  for (int i = 0; i < batch; ++i) sum += r[i] = 2 * rng.uniform(i) - 1;
  std::vector<int> lengths(batch);
  int total = 0;
  for (int i = 0; i < batch; ++i) {
    lengths[i] = std::max(1, static_cast<int>(std::lround(mean * (1 + spread * (r[i] - sum / batch)))));
    total += lengths[i];
  }
  for (int i = 0; total != batch * mean; i = (i + 1) % batch) {
    const int step = total < batch * mean ? 1 : -1;
    if (lengths[i] + step < 1) continue;
    lengths[i] += step, total += step;
  }
  return lengths;
}

inline Buffer device_offsets(const std::vector<int>& lengths) {
  std::vector<int32_t> offsets(lengths.size() + 1, 0);
  for (size_t i = 0; i < lengths.size(); ++i) offsets[i + 1] = offsets[i] + lengths[i];
  Buffer device = device_buffer(offsets.size() * 4);
  copy_to_device(device.as(), offsets.data(), offsets.size() * 4);
  return device;
}

}  // namespace hedgerow::cuda::bench
