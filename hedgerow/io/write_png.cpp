// SPDX-License-Identifier: Apache-2.0
// Pictures to PNG files; apart from the reader, which meets foreign bytes.
#include <fmt/format.h>
#include <png.h>

#include "hedgerow/core/error.h"
#include "hedgerow/io/image.h"

namespace hedgerow {

void write_png(const std::string& path, const Picture& picture) {
  const size_t wanted = static_cast<size_t>(picture.width) * picture.height * 3;
  if (picture.width < 1 || picture.height < 1 || picture.rgb.size() != wanted)
    throw Error(fmt::format("{}: a picture of {} x {} needs {} bytes, found {}", path, picture.width,
                            picture.height, wanted, picture.rgb.size()));
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(picture.width);
  image.height = static_cast<png_uint_32>(picture.height);
  image.format = PNG_FORMAT_RGB;
  if (!png_image_write_to_file(&image, path.c_str(), 0, picture.rgb.data(), 0, nullptr))
    throw Error(fmt::format("{}: cannot be written: {}", path, image.message));
}

}  // namespace hedgerow
