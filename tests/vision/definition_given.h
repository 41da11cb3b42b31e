// SPDX-License-Identifier: Apache-2.0
// Between the rows of the definition of a whole model and the definitions of its ops.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "tests/vision/definition_ops.h"

namespace hedgerow::test {

constexpr double kUnit = 0x1p-24;  // of one f32 operation
// Of a sum of n products, relative to the sum of their absolute values: one chain in any order, each product
// rounded too; or many short chains, as sums over the channels of a row are.
inline double chain(int64_t n) { return static_cast<double>(n + 2) * kUnit; }
inline double short_chains(int64_t n) { return (static_cast<double>(n) / 16 + 24) * kUnit; }

// The f32 rows that the definitions of ops take.
struct Given {
  std::vector<float> data;
  std::vector<int32_t> offsets;
  int rows, width;

  Given(const std::vector<double>& values, int rows, int width)
      : data(values.begin(), values.end()), offsets{0, rows}, rows(rows), width(width) {}
  explicit Given(const Rows& x) : Given(x.value, x.count, x.width) {}
  Tensor matrix() const { return matrix_view(data.data(), Dtype::f32, rows, width); }
  Tensor column() const { return vector_view(data.data(), Dtype::f32, rows); }
  Tensor heads(int n) const { return heads_view(data.data(), Dtype::f32, rows, n, width / n); }
  Ragged ragged() const { return {offsets.data(), 1, rows, rows}; }
};

inline Rows result(int count, int width, std::vector<double> value) {
  Rows r;
  r.count = count, r.width = width, r.value = std::move(value);
  r.bound.resize(r.value.size());
  return r;
}

// What an input may be off: its bound, and its rounding to f32 on the way into a definition.
inline double off(const Rows& x, size_t i) { return x.bound[i] + kUnit * std::fabs(x.value[i]); }
inline double off(const Rows& x, int i, int c) { return x.off(i)[c] + kUnit * std::fabs(x.row(i)[c]); }

}  // namespace hedgerow::test
