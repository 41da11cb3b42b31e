// SPDX-License-Identifier: Apache-2.0
// What the kernel tests share: seeded inputs, arrays with guard zones, ragged batches, and the level under
// test.
//
// Bounds are derived, not tuned: kRounding is the rounding of one f32 operation, kRoundingBf16 of one bf16
// store, and sum_steps(n) is how many additions in a row the longest chain over n values may have at any
// level.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/kernels/kernels.h"

namespace hedgerow::test {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kRounding = 0x1p-24, kRoundingBf16 = 0x1p-8;
inline double sum_steps(int64_t n) { return static_cast<double>(n) / 16 + 24; }

// Lengths at which vectors, tiles and blocks end badly, and batches that mix them.
inline std::vector<std::vector<int>> awkward_batches() {
  std::vector<std::vector<int>> batches = {{}, {0, 0}, {5, 0, 1, 64, 17}, {257, 3, 33, 0, 8, 100, 1}};
  for (int n : {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 257}) batches.push_back({n});
  return batches;
}
inline const int kAwkwardDims[] = {1, 2, 7, 8, 15, 16, 17, 33, 64, 65, 129, 192};

// An array between two guard zones; starts filled with a pattern, so that what was not written shows.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t n, size_t misalign = 0) : n_(n), at_(kGuard + misalign * sizeof(T)) {
    bytes_.assign(at_ + n * sizeof(T) + kGuard, kPattern);
  }
  Guarded(const std::vector<T>& values) : Guarded(values.size()) {
    if (n_) std::memcpy(data(), values.data(), n_ * sizeof(T));
  }
  T* data() { return reinterpret_cast<T*>(bytes_.data() + at_); }
  const T* data() const { return reinterpret_cast<const T*>(bytes_.data() + at_); }
  T& operator[](size_t i) { return data()[i]; }
  size_t size() const { return n_; }
  std::vector<T> values() const { return std::vector<T>(data(), data() + n_); }
  bool intact() const {
    const auto same = [](uint8_t b) { return b == kPattern; };
    return std::all_of(bytes_.begin(), bytes_.begin() + static_cast<int64_t>(at_), same) &&
           std::all_of(bytes_.end() - kGuard, bytes_.end(), same);
  }

 private:
  static constexpr size_t kGuard = 256;
  static constexpr uint8_t kPattern = 0xa5;
  size_t n_, at_;
  std::vector<uint8_t> bytes_;
};

// A packed batch. The capacity is larger than the live rows: ops must read offsets, not extents.
struct Batch {
  std::vector<int32_t> offsets{0};
  explicit Batch(const std::vector<int>& lengths) {
    for (int n : lengths) offsets.push_back(offsets.back() + n);
  }
  int size() const { return static_cast<int>(offsets.size()) - 1; }
  int rows() const { return offsets.back(); }
  int begin(int i) const { return offsets[static_cast<size_t>(i)]; }
  int length(int i) const { return offsets[static_cast<size_t>(i) + 1] - begin(i); }
  Ragged ragged(int spare = 0) const {
    int longest = 0;
    for (int i = 0; i < size(); ++i) longest = std::max(longest, length(i));
    return {offsets.data(), size(), rows() + spare, longest + spare};
  }
};

inline std::vector<float> normals(size_t n, uint64_t key, double scale = 1) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) x[i] = static_cast<float>(scale * Rng{1, key}.normal(i));
  return x;
}
inline std::vector<uint16_t> to_bf16(const std::vector<float>& x) {
  std::vector<uint16_t> y;
  for (float v : x) y.push_back(f32_to_bf16(v));
  return y;
}
inline double as_double(float x) { return x; }
inline double as_double(uint16_t x) { return bf16_to_f32(x); }

template <class T>
constexpr Dtype dtype_of() {
  return std::is_same_v<T, float>     ? Dtype::f32
         : std::is_same_v<T, int32_t> ? Dtype::i32
         : std::is_same_v<T, uint8_t> ? Dtype::u8
                                      : Dtype::bf16;
}
template <class T>
Tensor vector_of(const T* p, int64_t n) {
  return vector_view(p, dtype_of<T>(), n);
}
template <class T>
Tensor matrix_of(const T* p, int64_t rows, int64_t cols, int64_t stride = 0) {
  return matrix_view(p, dtype_of<T>(), rows, cols, stride);
}

template <class T>
bool same_bits(const T* a, const T* b, size_t n) {
  return n == 0 || std::memcmp(a, b, n * sizeof(T)) == 0;
}

// |got - want| within bound, for every value; NaN and infinities only where wanted.
template <class T>
testing::AssertionResult near(const std::vector<T>& got, const std::vector<double>& want,
                              const std::vector<double>& bound) {
  if (got.size() != want.size())
    return testing::AssertionFailure() << got.size() << " values, not " << want.size();
  for (size_t i = 0; i < got.size(); ++i) {
    const double g = as_double(got[i]), w = want[i];
    if (std::isnan(w) ? std::isnan(g) : g == w || std::fabs(g - w) <= bound[i]) continue;
    return testing::AssertionFailure()
           << "value " << i << ": got " << g << ", wanted " << w << " within " << bound[i];
  }
  return testing::AssertionSuccess();
}

// Runs on the level that HEDGEROW_KERNELS names, else on the best; a level that can't run here is skipped,
// visibly.
class KernelTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* forced = std::getenv("HEDGEROW_KERNELS");
    for (const Backend* b : all_backends())
      if (forced && forced == std::string(b->name) && !b->runs_here())
        GTEST_SKIP() << forced << " needs " << b->description << ", which this machine does not have";
    backend_ = &find_backend();
  }
  const Backend& backend() const { return *backend_; }
  Context context(int threads = 1, int max_len = 0, int dim = 64) const {
    Context on(backend(), threads);
    on.reserve_scratch(backend().scratch_bytes(max_len, (dim + 31) / 32, 32));
    return on;
  }

 private:
  const Backend* backend_ = nullptr;
};

}  // namespace hedgerow::test
