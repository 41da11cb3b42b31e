// SPDX-License-Identifier: Apache-2.0
// JPEG through libjpeg-turbo with its default transform and upsampling, so that pixels equal Pillow's. Memory
// is asked for only after the header's promise has been held against the bytes that are there.
#include <csetjmp>
#include <cstdio>
// jpeglib.h needs <cstdio> before it.
#include <fmt/format.h>
#include <jerror.h>
#include <jpeglib.h>

#include <cstring>
#include <vector>

#include "hedgerow/core/error.h"
#include "hedgerow/io/image_formats.h"

namespace hedgerow {
namespace {

constexpr int kMaxScans =
    256;  // a real progressive file has about ten; each further one costs a pass over the picture

struct Failure {
  jpeg_error_mgr base;  // first: libjpeg hands us a pointer to it
  std::jmp_buf jump;
  char text[JMSG_LENGTH_MAX];
};

[[noreturn]] void fail(j_common_ptr info) {
  Failure* failure = reinterpret_cast<Failure*>(info->err);
  failure->base.format_message(info, failure->text);
  std::longjmp(failure->jump, 1);
}

// Warnings about lost data are errors here: half a picture must not be classified as if it were whole.
void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC:
    case JWRN_NOT_SEQUENTIAL:
    case JWRN_BOGUS_PROGRESSION:
      fail(info);
  }
}

void on_progress(j_common_ptr info) {
  const auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
  if (decompress->input_scan_number <= kMaxScans) return;
  Failure* failure = reinterpret_cast<Failure*>(info->err);
  std::snprintf(failure->text, sizeof(failure->text), "more than %d scans", kMaxScans);
  std::longjmp(failure->jump, 1);
}

// Ends the decompressor however the decoding ends.
struct Decompressor {
  jpeg_decompress_struct info{};
  jpeg_progress_mgr progress{};
  Failure failure{};
  bool created = false;
  ~Decompressor() {
    if (created) jpeg_destroy_decompress(&info);
  }
};

// The two steps that run under setjmp own nothing themselves: a jump skips destructors. False: failure.text
// says why.
bool read_header(Decompressor& d, const uint8_t* data, size_t bytes) {
  if (setjmp(d.failure.jump)) return false;
  jpeg_create_decompress(&d.info);
  d.created = true;
  d.info.progress = &d.progress;
  jpeg_mem_src(&d.info, data, bytes);
  jpeg_save_markers(&d.info, JPEG_APP0 + 1, 0xffff);
  jpeg_read_header(&d.info, TRUE);
  d.info.out_color_space = d.info.num_components == 1   ? JCS_GRAYSCALE
                           : d.info.num_components == 3 ? JCS_RGB
                                                        : JCS_CMYK;
  return true;
}

bool read_rows(Decompressor& d, uint8_t* out, size_t row_bytes) {
  if (setjmp(d.failure.jump)) return false;
  jpeg_start_decompress(&d.info);
  while (d.info.output_scanline < d.info.output_height) {
    JSAMPROW row = out + d.info.output_scanline * row_bytes;
    jpeg_read_scanlines(&d.info, &row, 1);
  }
  return true;
}

// Huffman coding spends at least one bit on each 8 x 8 block of each component.
int64_t least_bits(const jpeg_decompress_struct& info) {
  int64_t blocks = 0;
  for (int c = 0; c < info.num_components; ++c)
    blocks += static_cast<int64_t>(info.comp_info[c].width_in_blocks) * info.comp_info[c].height_in_blocks;
  return blocks;
}

int find_orientation(const jpeg_decompress_struct& info) {
  for (jpeg_saved_marker_ptr m = info.marker_list; m; m = m->next)
    if (m->marker == JPEG_APP0 + 1 && m->data_length > 6 && std::memcmp(m->data, "Exif\0\0", 6) == 0)
      return exif_orientation(m->data + 6, m->data_length - 6);
  return 1;
}

// a * b / 255, rounded, the usual way without a division.
int scaled(int a, int b) {
  const int t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

// Files with four components hold inverted ink, as Adobe writes it: what libjpeg returns is 255 - ink.
void inverted_cmyk_to_rgb(const std::vector<uint8_t>& cmyk, std::vector<uint8_t>& rgb) {
  for (size_t i = 0, n = cmyk.size() / 4; i < n; ++i) {
    const int white = cmyk[4 * i + 3];
    for (int c = 0; c < 3; ++c) {
      const int ink = 255 - cmyk[4 * i + c];
      rgb[3 * i + c] = static_cast<uint8_t>(white - scaled(ink, white));
    }
  }
}

}  // namespace

Decoded decode_jpeg(const uint8_t* data, size_t bytes, const std::string& where) {
  Decompressor d;
  d.info.err = jpeg_std_error(&d.failure.base);
  d.failure.base.error_exit = fail;
  d.failure.base.emit_message = on_message;
  d.progress.progress_monitor = on_progress;
  if (!read_header(d, data, bytes)) throw Error(fmt::format("{}: corrupt JPEG: {}", where, d.failure.text));

  const int components = d.info.num_components;
  const int64_t width = d.info.image_width, height = d.info.image_height;
  check_picture_size(width, height, where);
  if (components != 1 && components != 3 && components != 4)
    throw Error(fmt::format("{}: a JPEG with {} components (1, 3 and 4 are supported)", where, components));
  if (d.info.arith_code) throw Error(where + ": arithmetic-coded JPEG is not supported");
  if (least_bits(d.info) / 8 > static_cast<int64_t>(bytes))
    throw Error(
        fmt::format("{}: corrupt JPEG: {} x {} pixels cannot be in {} bytes", where, width, height, bytes));

  Decoded out;
  out.orientation = find_orientation(d.info);
  out.picture.width = static_cast<int>(width);
  out.picture.height = static_cast<int>(height);
  std::vector<uint8_t>& rgb = out.picture.rgb;
  std::vector<uint8_t> other;
  const size_t pixels = static_cast<size_t>(width * height);
  rgb.resize(pixels * 3);
  if (components == 4) other.resize(pixels * 4);
  // Grey lands in the last third and is spread from the front: a pixel is read before it is written over.
  uint8_t* to = components == 4 ? other.data() : components == 3 ? rgb.data() : rgb.data() + 2 * pixels;
  if (!read_rows(d, to, static_cast<size_t>(width) * components))
    throw Error(fmt::format("{}: corrupt JPEG: {}", where, d.failure.text));
  if (components == 4) inverted_cmyk_to_rgb(other, rgb);
  if (components == 1)
    for (size_t i = 0; i < pixels; ++i) {
      const uint8_t grey = to[i];
      rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = grey;
    }
  return out;
}

}  // namespace hedgerow
