// SPDX-License-Identifier: Apache-2.0
// The safetensors format: 8 bytes of header length (little endian), a JSON header, then tensor bytes back to
// back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hedgerow {

// Where one tensor lies. Checked: bytes == product of shape x bytes per value, inside the file, no gaps, no
// overlap.
struct TensorEntry {
  std::string name, dtype;  // dtype as the file spells it: "F32", "BF16", "I64", ...
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // file offsets
  int64_t count() const;        // values
};

inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

// `data` holds the file's first `bytes` bytes (at least the header), the file has `file_bytes` in all. Sorted
// by name.
std::vector<TensorEntry> parse_safetensors(const uint8_t* data, size_t bytes, uint64_t file_bytes,
                                           const std::string& where);
// Header length announced by the first 8 bytes, checked against the file's size.
uint64_t safetensors_header_bytes(const uint8_t first[8], uint64_t file_bytes, const std::string& where);

// Little-endian values of dtype F32, F16 or BF16 to f32. Error naming the dtype otherwise.
void values_to_f32(const TensorEntry& entry, const uint8_t* from, size_t count, float* to,
                   const std::string& where);
int bytes_of_dtype(const std::string& dtype);  // 0: unknown or not whole bytes

// "[3, 224, 224]"
std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace hedgerow
