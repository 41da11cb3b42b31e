// SPDX-License-Identifier: Apache-2.0
// PNG through libpng: any depth, palette, grey, alpha (dropped, as Pillow's convert("RGB") does), interlaced
// or not.
#include <fmt/format.h>
#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <memory>

#include "hedgerow/core/error.h"
#include "hedgerow/io/image_formats.h"

namespace hedgerow {
namespace {

struct Source {
  const uint8_t* data;
  size_t bytes, at = 0;
  char text[256] = "";
};

void read_bytes(png_structp png, png_bytep to, png_size_t n) {
  Source* s = static_cast<Source*>(png_get_io_ptr(png));
  if (n > s->bytes - s->at) png_error(png, "cut short");
  std::memcpy(to, s->data + s->at, n);
  s->at += n;
}

[[noreturn]] void fail(png_structp png, png_const_charp message) {
  std::snprintf(static_cast<Source*>(png_get_error_ptr(png))->text, sizeof(Source::text), "%s", message);
  png_longjmp(png, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

struct Reader {
  Source source;
  png_structp png = nullptr;
  png_infop info = nullptr;
  explicit Reader(const uint8_t* data, size_t bytes) : source{data, bytes} {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, fail, ignore_warning);
    if (png) info = png_create_info_struct(png);
    if (!info) throw Error("libpng: out of memory");
  }
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

// Walks the chunks before libpng does: it would take a chunk's announced length at its word and allocate it.
// Returns the EXIF orientation found on the way.
int check_chunks(const uint8_t* data, size_t bytes, const std::string& where) {
  int orientation = 1;
  for (size_t at = 8;;) {
    if (bytes - at < 12) throw Error(where + ": corrupt PNG: cut short");
    const size_t length = png_get_uint_32(data + at);
    const uint8_t* kind = data + at + 4;
    if (length > bytes - at - 12)
      throw Error(fmt::format("{}: corrupt PNG: a chunk of {} bytes where {} are left", where, length,
                              bytes - at - 12));
    if (std::memcmp(kind, "eXIf", 4) == 0) orientation = exif_orientation(kind + 4, length);
    if (std::memcmp(kind, "IEND", 4) == 0) return orientation;
    at += length + 12;
  }
}

// Everything libpng does runs in these functions under setjmp; they own nothing. False: source.text says why.
bool read_header(Reader& r) {
  if (setjmp(png_jmpbuf(r.png))) return false;
  // Text and colour profiles are compressed, unused and a favourite way to fill memory.
  static const png_byte kUnused[] = "iCCP\0iTXt\0zTXt\0tEXt\0sPLT\0hIST\0eXIf";
  png_set_keep_unknown_chunks(r.png, PNG_HANDLE_CHUNK_NEVER, kUnused, sizeof(kUnused) / 5);
  png_set_chunk_cache_max(r.png, 64);
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
  // Else hardly a mutated input would get past its first checksum.
  png_set_crc_action(r.png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
#endif
  png_set_chunk_malloc_max(r.png, 1 << 20);
  png_set_user_limits(r.png, 0x7fffffff, 0x7fffffff);
  png_set_read_fn(r.png, &r.source, read_bytes);
  png_read_info(r.png, r.info);
  return true;
}

bool read_rows(Reader& r, uint8_t* out, size_t row_bytes, int passes) {
  if (setjmp(png_jmpbuf(r.png))) return false;
  const png_uint_32 height = png_get_image_height(r.png, r.info);
  for (int pass = 0; pass < passes; ++pass)
    for (png_uint_32 y = 0; y < height; ++y) png_read_row(r.png, out + y * row_bytes, nullptr);
  png_read_end(r.png, nullptr);
  return true;
}

// Converts to 8-bit RGB; returns the number of passes, 0 on failure.
int set_up(Reader& r) {
  if (setjmp(png_jmpbuf(r.png))) return 0;
  const int colour = png_get_color_type(r.png, r.info);
  png_set_strip_16(r.png);
  png_set_packing(r.png);
  if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(r.png);
  if (colour == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(r.png);
  if (!(colour & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(r.png);
  png_set_strip_alpha(r.png);
  const int passes = png_set_interlace_handling(r.png);
  png_read_update_info(r.png, r.info);
  return passes;
}

}  // namespace

Decoded decode_png(const uint8_t* data, size_t bytes, const std::string& where) {
  const int orientation = check_chunks(data, bytes, where);
  Reader r(data, bytes);
  const auto corrupt = [&] { return Error(fmt::format("{}: corrupt PNG: {}", where, r.source.text)); };
  if (!read_header(r)) throw corrupt();
  const int64_t width = png_get_image_width(r.png, r.info), height = png_get_image_height(r.png, r.info);
  check_picture_size(width, height, where);
  // Deflate cannot shrink more than 1032 times: a header that promises more than the bytes can hold is a lie.
  const int64_t packed = static_cast<int64_t>(png_get_rowbytes(r.png, r.info)) * height;
  if (packed / 1032 > static_cast<int64_t>(bytes))
    throw Error(
        fmt::format("{}: corrupt PNG: {} x {} pixels cannot be in {} bytes", where, width, height, bytes));

  Decoded out;
  out.orientation = orientation;
  const int passes = set_up(r);
  if (passes == 0) throw corrupt();
  const size_t row_bytes = static_cast<size_t>(width) * 3;
  if (png_get_rowbytes(r.png, r.info) != row_bytes)
    throw Error(where + ": corrupt PNG: unexpected pixel format");
  out.picture.width = static_cast<int>(width);
  out.picture.height = static_cast<int>(height);
  out.picture.rgb.resize(row_bytes * static_cast<size_t>(height));
  if (!read_rows(r, out.picture.rgb.data(), row_bytes, passes)) throw corrupt();
  return out;
}

}  // namespace hedgerow
