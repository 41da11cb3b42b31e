// SPDX-License-Identifier: Apache-2.0
// The choice of rows in every mode, half of them kept where the mode lets one say so: device time of one
// call, as a graph of 50 / 50. Log-normal scores. JSON lines on standard output.
//   select_sweep
#include "bench/cuda/timing.h"

using namespace hedgerow;
using namespace hedgerow::cuda;

namespace {

template <class T>
Buffer on_device(const std::vector<T>& v) {
  Buffer b = device_buffer(v.size() * sizeof(T));
  copy_to_device(b.as(), v.data(), v.size() * sizeof(T));
  return b;
}

void time(cudaStream_t stream, int batch, int length) {
  constexpr int kCalls = 50;
  constexpr const char* kModes[] = {"top_k", "threshold", "quantile", "mass", "ats"};
  const int rows = batch * length;
  const size_t n = static_cast<size_t>(batch);
  std::vector<float> scores;
  const Rng rng{5, 0};
  for (int i = 0; i < rows; ++i) scores.push_back(static_cast<float>(std::exp(rng.normal(i))));
  const Buffer offsets = bench::device_offsets(std::vector<int>(n, length)), score = on_device(scores),
               count = on_device(std::vector<int32_t>(n, length / 2)),
               threshold = on_device(std::vector<float>(n, 1.0f)),
               mass = on_device(std::vector<double>(n, 0.5)),
               samples = on_device(std::vector<int32_t>(n, length - 1)),
               kept = device_buffer(static_cast<size_t>(rows) * 4), kept_offsets = device_buffer((n + 1) * 4);
  SelectArgs a;
  a.score = vector_view(score.as(), Dtype::f32, rows);
  a.rows = {offsets.as<const int32_t>(), batch, rows, length};
  a.count = count.as<int32_t>(), a.threshold = threshold.as<float>(), a.mass = mass.as<double>();
  a.samples = samples.as<int32_t>();
  a.kept = vector_view(kept.as(), Dtype::i32, rows), a.kept_offsets = kept_offsets.as<int32_t>();
  std::printf("{\"op\":\"select\",\"batch\":%d,\"length\":%d", batch, length);
  for (int mode = 0; mode < 5; ++mode) {
    a.mode = static_cast<SelectMode>(mode);
    const auto many = [&](cudaStream_t s) {
      for (int i = 0; i < kCalls; ++i) {
        if (const cudaError_t e = select(s, a); e != cudaSuccess) return e;
      }
      return cudaSuccess;
    };
    std::printf(",\"%s\":%.2f", kModes[mode], bench::time_graph(stream, many).device_us / kCalls);
  }
  std::printf("}\n");
  std::fflush(stdout);
}

}  // namespace

int main() {
  if (bench::no_device()) return 77;
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "creating a stream");
  for (int batch : {1, 2, 4, 8, 16, 32, 64, 128, 256, 512}) time(stream, batch, 197);
  for (int batch : {1, 32, 64}) time(stream, batch, 577);
}
