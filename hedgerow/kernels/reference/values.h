// SPDX-License-Identifier: Apache-2.0
// What definitions share: values of any dtype as double, rows, norms.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "hedgerow/kernels/reference/reference.h"

namespace hedgerow::reference {

inline double value(const Tensor& t, int64_t at) {
  switch (t.dtype) {
    case Dtype::f32:
      return t.as<float>()[at];
    case Dtype::bf16:
      return bf16_to_f32(t.as<uint16_t>()[at]);
    case Dtype::f16:
      return f16_to_f32(t.as<uint16_t>()[at]);
    case Dtype::i32:
      return t.as<int32_t>()[at];
    case Dtype::u8:
      return t.as<uint8_t>()[at];
    case Dtype::e4m3:
      return static_cast<double>(e4m3_to_f32(t.as<uint8_t>()[at])) * t.scale;
    case Dtype::i8:
      return t.as<int8_t>()[at];
  }
  return 0;
}
inline double value(const Tensor& t, int64_t i, int64_t j) {
  return value(t, i * t.strides[0] + j * t.strides[1]);
}
inline double value(const Tensor& t, int64_t i, int64_t h, int64_t d) {
  return value(t, i * t.strides[0] + h * t.strides[1] + d * t.strides[2]);
}

// Row i of any rank, flattened.
inline std::vector<double> row(const Tensor& t, int64_t i) {
  std::vector<double> out;
  const int64_t second = t.rank > 1 ? t.extents[1] : 1, third = t.rank > 2 ? t.extents[2] : 1;
  for (int64_t j = 0; j < second; ++j)
    for (int64_t d = 0; d < third; ++d)
      out.push_back(value(
          t, i * t.strides[0] + (t.rank > 1 ? j * t.strides[1] : 0) + (t.rank > 2 ? d * t.strides[2] : 0)));
  return out;
}

inline void append(std::vector<double>& to, const std::vector<double>& values) {
  to.insert(to.end(), values.begin(), values.end());
}

inline std::vector<double> rows_of(const Tensor& t, int64_t rows) {
  std::vector<double> out;
  for (int64_t i = 0; i < rows; ++i) append(out, row(t, i));
  return out;
}

inline double silu(double x) { return x / (1 + std::exp(-x)); }
// Of one output; a gated pair is put together where both are at hand.
inline double activate(double x, Activation act) {
  switch (act) {
    case Activation::silu_gated:
    case Activation::none:
      return x;
    case Activation::gelu_erf:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
  return x;
}

struct Moments {
  double mean = 0, variance = 0;
};
inline Moments moments(const std::vector<double>& x) {
  const double dim = static_cast<double>(x.size());
  Moments m;
  for (double v : x) m.mean += v / dim;
  for (double v : x) m.variance += (v - m.mean) * (v - m.mean) / dim;
  return m;
}

// Layer norm of one row, in place.
inline void normalise(std::vector<double>& x, const Tensor& gamma, const Tensor& beta, float eps) {
  const Moments m = moments(x);
  for (size_t c = 0; c < x.size(); ++c)
    x[c] = (x[c] - m.mean) / std::sqrt(m.variance + eps) * (gamma ? value(gamma, c) : 1) +
           (beta ? value(beta, c) : 0);
}

// To the nearest value that `to` holds (f16 without its overflow).
inline double rounded(double v, Dtype to) {
  if (to == Dtype::bf16) return bf16_to_f32(f32_to_bf16(static_cast<float>(v)));
  if (to != Dtype::f16 || v == 0) return v;
  const double ulp = std::ldexp(1.0, std::max(std::ilogb(v), -14) - 10);
  return std::nearbyint(v / ulp) * ulp;
}

inline double length_of(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return std::sqrt(sum);
}

// Rows that take part in a sequence's choice.
inline bool candidate(const Ragged& rows, const Tensor& alive, int special, int sequence, int j) {
  return j - rows.begin(sequence) >= special && (!alive || value(alive, j) != 0);
}

}  // namespace hedgerow::reference
