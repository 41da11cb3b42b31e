// SPDX-License-Identifier: Apache-2.0
// Tests of the CUDA table: arrays that exist on both sides, ragged batches, and a tally of what was checked.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "hedgerow/core/rng.h"
#include "hedgerow/kernels/cuda/memory.h"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda::test {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Tally {
  void check(bool ok, const std::string& what) { EXPECT_TRUE(ok) << what; }
};
inline Tally tally;

inline void queued(cudaError_t e, const std::string& what) {
  EXPECT_EQ(e, cudaSuccess) << what << ": queue: " << cudaGetErrorString(e);
  const cudaError_t done = cudaDeviceSynchronize();
  EXPECT_EQ(done, cudaSuccess) << what << ": run: " << cudaGetErrorString(done);
}

inline uint16_t narrow(float v, Dtype d) { return d == Dtype::f16 ? f32_to_f16(v) : f32_to_bf16(v); }
inline float widen(uint16_t v, Dtype d) { return d == Dtype::f16 ? f16_to_f32(v) : bf16_to_f32(v); }

// Bytes of some dtype, host and device; e4m3 of scale 1. Changes on the host reach the device with push().
struct Twin {
  Dtype dtype;
  size_t count;
  std::vector<unsigned char> host;
  Buffer device;

  Twin(Dtype d, size_t n)
      : dtype(d), count(n), host(n * bytes_of(d) + 16), device(device_buffer(n * bytes_of(d) + 16)) {}
  void set(size_t i, float v) {
    if (dtype == Dtype::f32) {
      std::memcpy(&host[i * 4], &v, 4);
    } else if (dtype == Dtype::u8) {
      host[i] = static_cast<unsigned char>(v);
    } else if (dtype == Dtype::i8) {
      host[i] = static_cast<unsigned char>(static_cast<int8_t>(v));
    } else if (dtype == Dtype::e4m3) {
      host[i] = f32_to_e4m3(v);
    } else if (dtype == Dtype::i32) {
      const int32_t x = static_cast<int32_t>(v);
      std::memcpy(&host[i * 4], &x, 4);
    } else {
      const uint16_t h = narrow(v, dtype);
      std::memcpy(&host[i * 2], &h, 2);
    }
  }
  double get(size_t i) const {
    if (dtype == Dtype::u8) return host[i];
    if (dtype == Dtype::e4m3) return e4m3_to_f32(host[i]);
    if (dtype == Dtype::i8) return static_cast<int8_t>(host[i]);
    if (dtype == Dtype::i32) return reinterpret_cast<const int32_t*>(host.data())[i];
    if (dtype == Dtype::f32) return reinterpret_cast<const float*>(host.data())[i];
    return widen(reinterpret_cast<const uint16_t*>(host.data())[i], dtype);
  }
  void push() { copy_to_device(device.as(), host.data(), host.size()); }
  void pull() { copy_from_device(host.data(), device.as(), host.size()); }
  void fill(float v) {
    for (size_t i = 0; i < count; ++i) set(i, v);
    push();
  }
  void random(uint64_t seed, float scale = 1) {
    const Rng rng{seed, 7};
    for (size_t i = 0; i < count; ++i) set(i, scale * static_cast<float>(rng.normal(i)));
    push();
  }
  void* at(bool on_device) { return on_device ? device.as() : static_cast<void*>(host.data()); }
};

// A packed batch, offsets on both sides; more capacity than rows, as after a prune.
struct Batch {
  std::vector<int> lengths;
  Twin offsets;
  int rows = 0, longest = 0, spare;
  explicit Batch(std::vector<int> l, int spare_rows = 37)
      : lengths(std::move(l)), offsets(Dtype::i32, lengths.size() + 1), spare(spare_rows) {
    for (size_t i = 0; i < lengths.size(); ++i) {
      rows += lengths[i], longest = lengths[i] > longest ? lengths[i] : longest;
      offsets.set(i + 1, static_cast<float>(rows));
    }
    offsets.push();
  }
  int capacity() const { return rows + spare; }
  Ragged view(bool on_device) {
    return {static_cast<const int32_t*>(offsets.at(on_device)), static_cast<int>(lengths.size()), capacity(),
            longest};
  }
};

// Largest difference of the live values; infinity where one side is NaN and the other is not.
inline double distance(const Twin& got, const std::vector<double>& want) {
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double g = got.get(i);
    if (std::isnan(g) && std::isnan(want[i])) continue;
    const double d = std::fabs(g - want[i]);
    if (std::isnan(d)) return kInfinity;
    worst = d > worst ? d : worst;
  }
  return worst;
}
inline void close(const Twin& got, const std::vector<double>& want, double bound, const std::string& what) {
  const double d = distance(got, want);
  char text[96];
  std::snprintf(text, sizeof text, ": off by %.3g, allowed %.3g", d, bound);
  tally.check(d <= bound && !want.empty(), what + text);
}
// Nothing past the first `live` values was written.
inline void untouched(const Twin& t, size_t live, const std::string& what) {
  size_t written = 0;
  for (size_t i = live; i < t.count; ++i) written += !std::isnan(t.get(i));
  tally.check(written == 0,
              what + ": " + std::to_string(written) + " values past the live rows were written");
}

void test_linear();
void test_linear_small();
void test_linear_e4m3();
void test_linear_i8();
void test_alike();
void test_mlp();
void test_graph();
void test_vit();
void test_vit_graphs();

}  // namespace hedgerow::cuda::test
