// SPDX-License-Identifier: Apache-2.0
// Pictures: JPEG and PNG from files or memory, as 8-bit RGB, upright. What is decoded equals Pillow's
// convert("RGB") after its EXIF orientation is applied; alpha is dropped. 16-bit grey keeps its high byte
// (Pillow clips).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hedgerow {

struct Picture {
  int width = 0, height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

// Larger pictures are refused from the header (Pillow's own limit).
inline constexpr int64_t kMaxPixels = 178'956'970;

// Error (one line, opening with the path) when the file is not a JPEG or PNG, is cut short, corrupt or too
// large.
Picture read_picture(const std::string& path);
// The same from memory; `where` opens every message.
Picture decode_picture(const uint8_t* data, size_t bytes, const std::string& where);

// Does the name end in .jpg, .jpeg or .png, in any case?
bool is_picture_name(const std::string& path);

// A PNG's bytes; `where` opens an Error's message. `software`, if not empty, is what a tEXt chunk of that
// name says in front of the pixels.
std::vector<uint8_t> encode_png(const Picture& picture, const std::string& where,
                                const std::string& software = "");
void write_png(const std::string& path, const Picture& picture);
// What such a chunk says within the file's first bytes; empty where there is none, or no PNG to read.
std::string png_software(const std::string& path);

}  // namespace hedgerow
