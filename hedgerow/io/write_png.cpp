// SPDX-License-Identifier: Apache-2.0
// Pictures to PNG, and the name that a PNG gives of the program that wrote it. Apart from the reader, which
// meets foreign bytes and throws such names away.
#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "hedgerow/core/error.h"
#include "hedgerow/io/image.h"

namespace hedgerow {
namespace {

constexpr char kKey[] = "Software";

struct Writer {
  std::vector<uint8_t> bytes;
  char text[256] = "";
  png_structp png = nullptr;
  png_infop info = nullptr;
  ~Writer() { png_destroy_write_struct(&png, &info); }
};

void append(png_structp png, png_bytep data, png_size_t n) {
  std::vector<uint8_t>& bytes = static_cast<Writer*>(png_get_io_ptr(png))->bytes;
  bytes.insert(bytes.end(), data, data + n);
}

void flush(png_structp) {}

[[noreturn]] void fail(png_structp png, png_const_charp message) {
  std::snprintf(static_cast<Writer*>(png_get_error_ptr(png))->text, sizeof(Writer::text), "%s", message);
  png_longjmp(png, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

// Owns nothing: libpng leaves it by a jump. False: w.text says why.
bool write_all(Writer& w, const Picture& picture, const char* software) {
  if (setjmp(png_jmpbuf(w.png))) return false;
  png_set_write_fn(w.png, &w, append, flush);
  png_set_IHDR(w.png, w.info, static_cast<png_uint_32>(picture.width),
               static_cast<png_uint_32>(picture.height), 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (*software) {
    png_text text{};
    text.compression = PNG_TEXT_COMPRESSION_NONE;
    text.key = const_cast<char*>(kKey);
    text.text = const_cast<char*>(software);
    png_set_text(w.png, w.info, &text, 1);
  }
  png_write_info(w.png, w.info);
  for (int y = 0; y < picture.height; ++y)
    png_write_row(w.png, picture.rgb.data() + 3 * static_cast<size_t>(y) * picture.width);
  png_write_end(w.png, w.info);
  return true;
}

}  // namespace

std::vector<uint8_t> encode_png(const Picture& picture, const std::string& where,
                                const std::string& software) {
  const size_t wanted = static_cast<size_t>(picture.width) * picture.height * 3;
  if (picture.width < 1 || picture.height < 1 || picture.rgb.size() != wanted)
    throw Error(fmt::format("{}: a picture of {} x {} needs {} bytes, found {}", where, picture.width,
                            picture.height, wanted, picture.rgb.size()));
  Writer w;
  w.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &w, fail, ignore_warning);
  if (w.png) w.info = png_create_info_struct(w.png);
  if (!w.info) throw Error("libpng: out of memory");
  if (!write_all(w, picture, software.c_str()))
    throw Error(fmt::format("{}: cannot be written: {}", where, w.text));
  return std::move(w.bytes);
}

void write_png(const std::string& path, const Picture& picture) {
  const std::vector<uint8_t> bytes = encode_png(picture, path);
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  out.flush();
  require(out.good(), path + ": cannot be written");
}

std::string png_software(const std::string& path) {
  constexpr size_t kFar = 4096, kSignature = 8, kAround = 12;  // a chunk's length, kind and checksum
  uint8_t head[kFar];
  std::ifstream in(path, std::ios::binary);
  in.read(reinterpret_cast<char*>(head), kFar);
  const size_t bytes = static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0));
  if (bytes < kSignature || png_sig_cmp(head, 0, kSignature) != 0) return {};
  for (size_t at = kSignature; bytes - at >= kAround;) {
    const size_t length = png_get_uint_32(head + at);
    if (length > bytes - at - kAround) return {};
    const char* body = reinterpret_cast<const char*>(head + at + 8);
    if (std::memcmp(head + at + 4, "tEXt", 4) == 0 && length >= sizeof(kKey) &&
        std::memcmp(body, kKey, sizeof(kKey)) == 0)
      return {body + sizeof(kKey), length - sizeof(kKey)};
    at += kAround + length;
  }
  return {};
}

}  // namespace hedgerow
