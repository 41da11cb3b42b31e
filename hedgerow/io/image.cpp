// SPDX-License-Identifier: Apache-2.0
// Tells formats apart by their first bytes, and sets pictures upright.
#include "hedgerow/io/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>

#include "hedgerow/core/error.h"
#include "hedgerow/io/file.h"
#include "hedgerow/io/image_formats.h"

namespace hedgerow {
namespace {

constexpr uint64_t kMaxPictureFile = uint64_t{1} << 30;

uint32_t tiff_value(const uint8_t* p, int bytes, bool big_endian) {
  uint32_t v = 0;
  for (int i = 0; i < bytes; ++i) v = v << 8 | p[big_endian ? i : bytes - 1 - i];
  return v;
}

}  // namespace

int exif_orientation(const uint8_t* tiff, size_t bytes) {
  constexpr int kOrientationTag = 0x0112;
  if (bytes < 8) return 1;
  const bool big = std::memcmp(tiff, "MM\0*", 4) == 0;
  if (!big && std::memcmp(tiff, "II*\0", 4) != 0) return 1;
  const size_t directory = tiff_value(tiff + 4, 4, big);
  if (directory > bytes - 2) return 1;
  const size_t entries = tiff_value(tiff + directory, 2, big);
  for (size_t i = 0; i < entries; ++i) {
    const size_t at = directory + 2 + 12 * i;
    if (at + 12 > bytes) return 1;
    if (tiff_value(tiff + at, 2, big) != kOrientationTag) continue;
    const uint32_t type = tiff_value(tiff + at + 2, 2, big);
    const uint32_t value = tiff_value(tiff + at + 8, type == 4 ? 4 : 2, big);
    return (type == 3 || type == 4) && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Picture upright(Picture in, int orientation) {
  if (orientation <= 1 || orientation > 8) return in;
  const bool swap = orientation >= 5;
  Picture out{swap ? in.height : in.width, swap ? in.width : in.height, {}};
  out.rgb.resize(in.rgb.size());
  // For 5 to 8 rows become columns; then the source coordinate runs backwards along x, along y, or both.
  const bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  uint8_t* to = out.rgb.data();
  for (int y = 0; y < out.height; ++y)
    for (int x = 0; x < out.width; ++x, to += 3) {
      const int sx = swap ? y : x, sy = swap ? x : y;
      const size_t from = static_cast<size_t>(flip_y ? in.height - 1 - sy : sy) * in.width +
                          (flip_x ? in.width - 1 - sx : sx);
      std::memcpy(to, in.rgb.data() + 3 * from, 3);
    }
  return out;
}

void check_picture_size(int64_t width, int64_t height, const std::string& where) {
  if (width < 1 || height < 1)
    throw Error(fmt::format("{}: an empty picture, {} x {}", where, width, height));
  if (width > kMaxPixels / height)
    throw Error(
        fmt::format("{}: {} x {} pixels, more than the {} allowed", where, width, height, kMaxPixels));
}

Picture decode_picture(const uint8_t* data, size_t bytes, const std::string& where) {
  Decoded decoded;
  if (bytes >= 3 && std::memcmp(data, "\xff\xd8\xff", 3) == 0) {
    decoded = decode_jpeg(data, bytes, where);
  } else if (bytes >= 8 && std::memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0) {
    decoded = decode_png(data, bytes, where);
  } else {
    throw Error(fmt::format("{}: wanted a JPEG or PNG picture, found {}", where,
                            bytes == 0 ? "an empty file" : "neither"));
  }
  return upright(std::move(decoded.picture), decoded.orientation);
}

Picture read_picture(const std::string& path) {
  const std::string file = read_file(path, kMaxPictureFile);
  return decode_picture(reinterpret_cast<const uint8_t*>(file.data()), file.size(), path);
}

bool is_picture_name(const std::string& path) {
  const size_t dot = path.find_last_of('.');
  if (dot == std::string::npos) return false;
  std::string ending = path.substr(dot);
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

}  // namespace hedgerow
