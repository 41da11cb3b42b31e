// SPDX-License-Identifier: Apache-2.0
// How the values of a matrix are stored when they are read from memory once a pass: codes of a few bits with
// scales, or short floats. One description for every file format; the codes and scales are the file's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "hedgerow/core/tensor.h"

namespace hedgerow {

// A value is scale x (code - zero) + minimum; what the scale of a group is made of:
enum class Scales : uint8_t {
  none,      // no codes: values of Quant::values
  f16,       // one f16 a group
  f16_min,   // and an f16 minimum
  f16_zero,  // and a whole number that takes the place of `zero`: minimum = -scale x that
  k4,        // K-quants of 4 and 5 bits: 6-bit scale and minimum a group of 32, each under an f16 of 256
  k6,        // K-quants of 6 bits: an int8 scale a group of 16, under an f16 of 256
};

struct Quant {
  int bits = 0;   // 4, 5, 6 or 8; 0: values
  int group = 0;  // columns of w that share a scale: 16, 32, 64, 128, 256 or a multiple of that
  Scales scales = Scales::none;
  int zero = 0;               // taken off every code
  Dtype values = Dtype::f32;  // where bits is 0: f32, bf16 or f16
  bool operator==(const Quant&) const = default;
};

// One row of a matrix as a file has it, unpacked: filled by a QuantSource, read by the packing.
struct QuantRow {
  std::vector<uint8_t> codes;      // [k]
  std::vector<uint16_t> scales;    // f16: [groups]; k4, k6: [k / 256]
  std::vector<uint16_t> minimums;  // f16_min: [groups]; k4: [k / 256]
  std::vector<uint8_t>
      small;  // k4: 6-bit scales [k / 32]; k6: int8 scales [k / 16]; f16_zero: zeros [groups]
  std::vector<uint8_t> small_min;  // k4: [k / 32]
  std::vector<float> values;       // Scales::none: [k], of which bf16 and f16 keep what the file holds
};

// A matrix [n, k] of which rows are read when they are packed, in any order and by several threads, so that
// nothing is held twice.
struct QuantSource {
  Quant quant;
  int n = 0, k = 0;
  // Rows [first, first + count), at most 32, into to[0 .. count), whose vectors have their sizes.
  std::function<void(int first, int count, QuantRow* to)> read;
  // Activation order: column c of the codes multiplies x[order[c]]; empty: as they are. Groups of 32 and
  // more.
  std::vector<int32_t> order;
};

// What multiplies codes: x rounded to int8 in groups of 32 columns, each with an f32 scale (sums of a group
// are exact), or x as it is.
enum class RowsOf : uint8_t { int8, f32 };

// A run of panels of a packed matrix that are stored in one way.
struct QuantBand {
  Quant quant;
  int n = 0;                // outputs
  int64_t offset = 0;       // of its first panel in the packed data
  int64_t panel_bytes = 0;  // of each; panels of 32 outputs
  int panels = 0;
  const int32_t* order = nullptr;  // [k] or null
};

inline constexpr int kQuantPanel = 32, kQuantChunk = 32, kQuantBlock = 256;
inline constexpr int kMostBands = 3;

}  // namespace hedgerow
