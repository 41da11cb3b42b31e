// SPDX-License-Identifier: Apache-2.0
// The GGUF format, version 3 (ggml): typed metadata, then tensors of which many are stored in blocks of codes
// and scales. What is read here is the container; what blocks mean is the reader's affair.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "hedgerow/io/file.h"

namespace hedgerow {

// How ggml stores values: name, values a block, bytes a block.
struct GgmlType {
  const char* name;
  int block, bytes;
};
// Null: unknown here. 0 F32, 1 F16, 2 Q4_0, 3 Q4_1, 6 Q5_0, 7 Q5_1, 8 Q8_0, 12 Q4_K, 13 Q5_K, 14 Q6_K, 30
// BF16.
const GgmlType* ggml_type(uint32_t type);

struct GgufTensor {
  std::string name;
  uint32_t type = 0;
  std::vector<int64_t> shape;   // slowest first: [outputs, columns], as elsewhere
  uint64_t begin = 0, end = 0;  // file offsets
};

// Numbers of any width become int64 or double, arrays of them vectors; arrays of anything else but text are
// refused.
using GgufValue = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
                               std::vector<std::string>>;

struct GgufHeader {
  std::map<std::string, GgufValue> values;
  std::map<std::string, GgufTensor> tensors;
  std::string where;

  bool has(const std::string& key) const { return values.count(key) != 0; }
  // Error naming key, what was wanted and what was found, unless there is one of this type (in range); the
  // fallback where the key is absent.
  int64_t whole(const std::string& key, int64_t low, int64_t high) const;
  int64_t whole(const std::string& key, int64_t low, int64_t high, int64_t fallback) const;
  double number(const std::string& key, double fallback) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  bool flag(const std::string& key, bool fallback) const;
  const std::vector<std::string>& texts(const std::string& key) const;  // empty where absent
  std::vector<double> numbers(const std::string& key) const;            // whole numbers too
};

// The header of `bytes` bytes of a file that has `file_bytes`. Everything is checked: counts against what is
// there, tensors against the file, no two with one name.
GgufHeader parse_gguf(const uint8_t* data, size_t bytes, uint64_t file_bytes, const std::string& where);
// Reads as much of the file as its header takes.
GgufHeader read_gguf(const File& file);
// Does it begin with the magic?
bool is_gguf(const std::string& path);

}  // namespace hedgerow
