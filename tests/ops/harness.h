// SPDX-License-Identifier: Apache-2.0
// What tests of ops run on: every backend of the build in turn, and arrays that exist both in host memory,
// for definitions, and where the backend computes. The one place that knows how contexts are made and how
// bytes get to a device and back.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/kernels/kernels.h"

namespace hedgerow::test {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A backend, and whether its sums are held to one order; a CPU's always are.
struct Setting {
  const Backend* backend = nullptr;
  bool fixed = true;
};
inline Setting under_test;

inline std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (const Backend* b : all_backends()) {
    all.push_back({b, true});
    if (!b->host) all.push_back({b, false});
  }
  return all;
}
inline std::string name_of(const Setting& s) {
  return std::string(s.backend->name) + (s.fixed ? s.backend->host ? "" : "_fixed" : "_fast");
}
inline void PrintTo(const Setting& s, std::ostream* to) { *to << name_of(s); }

// The parameter is what the test runs on; what this machine lacks is skipped, and says so.
class OpTest : public testing::TestWithParam<Setting> {
 protected:
  void SetUp() override {
    under_test = GetParam();
    const Backend& b = *under_test.backend;
    if (!b.runs_here())
      GTEST_SKIP() << b.name << " needs " << b.description << ", which this machine does not have"
                   << (b.why_not ? " (" + b.why_not() + ")" : "");
  }
};
// First in a test of an op that a backend may lack (kernels/ops.def).
#define HEDGEROW_NEEDS(op)               \
  if (!has(*under_test.backend, Op::op)) \
  GTEST_SKIP() << under_test.backend->name << " lacks the op " << name_of(Op::op)
#define HEDGEROW_FOR_EVERY_BACKEND(suite)                          \
  INSTANTIATE_TEST_SUITE_P(, suite, testing::ValuesIn(settings()), \
                           [](const auto& info) { return name_of(info.param); })

// What the backend under test takes: matrices and activations, rows of the residual stream, 8-bit products;
// norms without gamma and beta.
inline bool on_device() { return !under_test.backend->host; }
inline std::vector<Dtype> matrices() {
  std::vector<Dtype> all;
  for (Dtype d : {Dtype::f32, Dtype::bf16, Dtype::f16})
    if (under_test.backend->traits().rows.has(d)) all.push_back(d);
  return all;
}
inline std::vector<Dtype> streams() {
  std::vector<Dtype> all;
  for (Dtype d : {Dtype::f32, Dtype::bf16, Dtype::f16})
    if (under_test.backend->traits().residual.has(d)) all.push_back(d);
  return all;
}
inline bool takes_eight_bits() { return under_test.backend->traits().weights.has(Dtype::e4m3); }

// Runs what `op` queues on a Context with so many threads and just the scratch for sequences and heads of
// this size, to its end.
struct Size {
  int max_len = 0, heads = 2, head_dim = 32;
};
template <class Op>
void run(Op&& op, int threads = 1, Size size = {}) {
  const Backend& b = *under_test.backend;
  Context on(b, threads, under_test.fixed ? Sums::fixed : Sums::fast);
  on.reserve_scratch(b.scratch_bytes(size.max_len, size.heads, size.head_dim));
  op(on);
  b.memory.wait(on);
}
inline void to_backend(void* to, const void* from, size_t bytes) {
  under_test.backend->memory.store(to, from, bytes);
}
inline void from_backend(void* to, const void* from, size_t bytes) {
  if (!on_device()) {
    std::memcpy(to, from, bytes);
    return;
  }
  run([&](Context& on) { on.backend().memory.download(on, to, from, bytes); });
}

// Where an op's args point: at the mirror in host memory (definitions), or to where the backend computes.
enum class Side : uint8_t { host, backend };
// Rows of a batch that a call works on: all of them, or one sequence's; the row at which they begin.
struct Part {
  Side side = Side::host;
  Ragged rows;
  int64_t first = 0;
  int sequence = -1;  // -1: all
};
inline Part whole(Side side) { return {.side = side, .rows = {}}; }

// Rows of values between two guard zones, with `gap` values behind every row, on both sides. All bytes start
// as a pattern: NaN, so that reading what is not there shows, or a number that nothing computes. Changes on
// the host side reach the backend with the next view.
class Array {
 public:
  Array(Dtype dtype, int64_t rows, int64_t cols = 1, int64_t gap = 0)
      : dtype_(dtype), rows_(rows), cols_(cols), stride_(cols + gap) {
    const bool whole = dtype == Dtype::i32 || dtype == Dtype::u8 || dtype == Dtype::i8;
    host_.assign(2 * kGuard + static_cast<size_t>(rows * stride_) * bytes_of(dtype), whole ? 0xa5 : 0xff);
  }
  // From values in order, whatever their type.
  template <class T>
  Array(Dtype dtype, const std::vector<T>& values, int64_t cols = 1)
      : Array(dtype, static_cast<int64_t>(values.size()) / cols, cols) {
    for (size_t i = 0; i < values.size(); ++i) set(static_cast<int64_t>(i), static_cast<double>(values[i]));
  }
  // Normal values in the first `live` rows.
  Array& normals(uint64_t key, int64_t live, double scale = 1) {
    for (int64_t i = 0; i < live * cols_; ++i) set(i, scale * Rng{1, key}.normal(static_cast<uint64_t>(i)));
    return *this;
  }

  Dtype dtype() const { return dtype_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  double get(int64_t i) const { return value(i / cols_, i % cols_); }
  double value(int64_t row, int64_t col) const {
    const void* p = &host_[at(row, col)];
    switch (dtype_) {
      case Dtype::f32:
        return load<float>(p);
      case Dtype::bf16:
        return bf16_to_f32(load<uint16_t>(p));
      case Dtype::f16:
        return f16_to_f32(load<uint16_t>(p));
      case Dtype::i32:
        return load<int32_t>(p);
      case Dtype::u8:
        return load<uint8_t>(p);
      case Dtype::i8:
        return load<int8_t>(p);
      case Dtype::e4m3:
        return static_cast<double>(e4m3_to_f32(load<uint8_t>(p))) * scale;
    }
    return kNan;
  }
  void set(int64_t i, double v) { set(i / cols_, i % cols_, v); }
  void set(int64_t row, int64_t col, double v) {
    void* p = &host_[at(row, col)];
    const float f = static_cast<float>(v);
    switch (dtype_) {
      case Dtype::f32:
        store(p, f);
        break;
      case Dtype::bf16:
        store(p, f32_to_bf16(f));
        break;
      case Dtype::f16:
        store(p, f32_to_f16(f));
        break;
      case Dtype::i32:
        store(p, static_cast<int32_t>(v));
        break;
      case Dtype::u8:
        store(p, static_cast<uint8_t>(v));
        break;
      case Dtype::i8:
        store(p, static_cast<int8_t>(v));
        break;
      case Dtype::e4m3:
        store(p, f32_to_e4m3(f / scale));
        break;
    }
    changed_ = true;
  }
  // The first `live` rows, without gaps.
  std::vector<double> values(int64_t live) const {
    std::vector<double> v;
    for (int64_t i = 0; i < live * cols_; ++i) v.push_back(get(i));
    return v;
  }
  // The same values in another dtype.
  Array as(Dtype dtype) const {
    Array other(dtype, rows_, cols_, stride_ - cols_);
    for (int64_t i = 0; i < rows_ * cols_; ++i) other.set(i, get(i));
    return other;
  }

  Tensor vector(const Part& p) { return vector_view(row(p), dtype_, rows_ - p.first); }
  Tensor matrix(const Part& p) {
    Tensor t = matrix_view(row(p), dtype_, rows_ - p.first, cols_, stride_);
    t.scale = scale;
    return t;
  }
  // Heads from this column on.
  Tensor heads(const Part& p, int heads, int head_dim, int64_t column = 0) {
    return heads_view(row(p) + column * bytes_of(dtype_), dtype_, rows_ - p.first, heads, head_dim, stride_);
  }
  template <class T>
  T* data(Side side) {
    return reinterpret_cast<T*>(row({.side = side, .rows = {}, .first = 0}));
  }

  // The backend's bytes become the host's; restore() takes back on both sides what has been computed since,
  // or on the host side rows [begin, end) of it.
  void pull() { from_backend(host_.data(), backend_.as(), host_.size()); }
  void restore() {
    if (!given_.empty()) host_ = given_, changed_ = true;
  }
  void restore(int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      std::copy_n(&given_[at(r, 0)], cols_ * bytes_of(dtype_), &host_[at(r, 0)]);
  }
  const std::vector<uint8_t>& bytes() const { return host_; }
  // After pull(): nothing but the first `live` rows was written.
  testing::AssertionResult untouched_behind(int64_t live) const {
    std::vector<uint8_t> now = host_;
    for (int64_t r = 0; r < live; ++r)
      std::copy_n(&given_[at(r, 0)], cols_ * bytes_of(dtype_), &now[at(r, 0)]);
    const auto bad = std::mismatch(now.begin(), now.end(), given_.begin()).first;
    if (bad == now.end()) return testing::AssertionSuccess();
    return testing::AssertionFailure()
           << "byte " << bad - now.begin() - static_cast<int64_t>(kGuard) << " of " << rows_ << " rows of "
           << stride_ << " " << hedgerow::name_of(dtype_) << " was written; live are " << live;
  }

  float scale = 1;  // e4m3: what a stored 1 stands for

 private:
  static constexpr size_t kGuard = 256;
  size_t at(int64_t row, int64_t col) const {
    return kGuard + static_cast<size_t>(row * stride_ + col) * bytes_of(dtype_);
  }
  uint8_t* row(const Part& p) {
    if (p.side == Side::host) return &host_[at(p.first, 0)];
    if (!backend_) backend_ = allocate_on(*under_test.backend, host_.size());
    if (changed_) to_backend(backend_.as(), host_.data(), host_.size()), given_ = host_;
    changed_ = false;
    return backend_.as<uint8_t>() + at(p.first, 0);
  }
  template <class T>
  static T load(const void* p) {
    T v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  template <class T>
  static void store(void* p, T v) {
    std::memcpy(p, &v, sizeof v);
  }

  Dtype dtype_;
  int64_t rows_, cols_, stride_;
  std::vector<uint8_t> host_, given_;  // given: as they were last sent
  Buffer backend_;
  bool changed_ = true;
};

}  // namespace hedgerow::test
