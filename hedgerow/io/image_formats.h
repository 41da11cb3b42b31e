// SPDX-License-Identifier: Apache-2.0
// The decoders behind decode_picture. They leave the orientation to the caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "hedgerow/io/image.h"

namespace hedgerow {

struct Decoded {
  Picture picture;
  int orientation = 1;  // EXIF, 1 to 8
};

Decoded decode_jpeg(const uint8_t* data, size_t bytes, const std::string& where);
Decoded decode_png(const uint8_t* data, size_t bytes, const std::string& where);

// Error unless both sides are at least 1 and the area is at most kMaxPixels.
void check_picture_size(int64_t width, int64_t height, const std::string& where);

// The orientation tag of a TIFF block (what follows "Exif\0\0"); 1 when it has none or makes no sense.
int exif_orientation(const uint8_t* tiff, size_t bytes);

// Turns and mirrors so that the picture stands as the camera saw it.
Picture upright(Picture picture, int orientation);

}  // namespace hedgerow
