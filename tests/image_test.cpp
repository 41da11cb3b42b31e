// SPDX-License-Identifier: Apache-2.0
// Decoded pixels equal Pillow's (tests/data/*.expected), and damaged files end in one line.
#include "hedgerow/io/image.h"

#include "hedgerow/io/image_formats.h"
#include "loading.h"

namespace hedgerow {
namespace {

Picture expected(const std::string& name) {
  const std::string file = slurp(data_path(name + ".expected"));
  Picture p;
  std::memcpy(&p.width, file.data(), 4);
  std::memcpy(&p.height, file.data() + 4, 4);
  p.rgb.assign(file.begin() + 8, file.end());
  return p;
}

Picture decode(const std::string& file) { return decode_picture(bytes_of(file), file.size(), "p"); }

TEST(Image, equals_what_pillow_reads) {
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(data_path(""))) {
    const std::string name = entry.path().filename();
    if (!is_picture_name(name) || name == "resize.png") continue;
    SCOPED_TRACE(name);
    const Picture want = expected(name), got = read_picture(entry.path());
    EXPECT_EQ(got.width, want.width);
    EXPECT_EQ(got.height, want.height);
    EXPECT_EQ(got.rgb, want.rgb);
    ++seen;
  }
  EXPECT_EQ(seen, 22);
}

TEST(Image, orientation_turns_and_mirrors) {
  Picture p{2, 1, {1, 1, 1, 2, 2, 2}};
  const int first[9] = {0, 1, 2, 2, 1, 1, 1, 2, 2};
  for (int o = 1; o <= 8; ++o) {
    const Picture q = upright(p, o);
    EXPECT_EQ(q.width, o < 5 ? 2 : 1);
    EXPECT_EQ(q.rgb[0], first[o]) << o;
  }
}

TEST(Image, is_written_as_it_was_read) {
  const Folder folder;
  const Picture p = read_picture(data_path("rgb.png"));
  write_png(folder.path("out.png"), p);
  EXPECT_EQ(read_picture(folder.path("out.png")).rgb, p.rgb);
  EXPECT_ERROR(write_png(folder.path("no/where.png"), p), "cannot be written");
  EXPECT_ERROR(write_png(folder.path("out.png"), Picture{3, 3, {}}), "needs 27 bytes");
}

TEST(Image, a_png_says_which_program_wrote_it) {
  const Folder folder;
  const Picture p = read_picture(data_path("rgb.png"));
  const std::vector<uint8_t> bytes = encode_png(p, "p", "some program");
  EXPECT_EQ(decode_picture(bytes.data(), bytes.size(), "p").rgb, p.rgb);
  const std::string whole(bytes.begin(), bytes.end());
  folder.write("whole.png", whole);
  EXPECT_EQ(png_software(folder.path("whole.png")), "some program");
  const size_t at = whole.find("some program");
  for (size_t cut = 0; cut < at + 16; ++cut) {  // the chunk ends with its checksum
    folder.write("cut.png", whole.substr(0, cut));
    EXPECT_EQ(png_software(folder.path("cut.png")), "") << cut;
  }
  write_png(folder.path("plain.png"), p);
  EXPECT_EQ(png_software(folder.path("plain.png")), "");
  EXPECT_EQ(png_software(folder.path("missing.png")), "");
}

TEST(Image, cut_short_is_an_error_wherever_the_cut) {
  for (const char* name : {"rgb420.jpg", "progressive.jpg", "cmyk.jpg", "grey.jpg", "rgb.png",
                           "interlaced.png", "palette.png"}) {
    const std::string file = slurp(data_path(name));
    // The last bytes of a JPEG may be padding and its end marker: without them every pixel is still there.
    for (size_t n = 0; n + 8 < file.size(); ++n) {
      SCOPED_TRACE(std::string(name) + " " + std::to_string(n));
      error_of([&] { decode(file.substr(0, n)); });
    }
  }
}

TEST(Image, is_refused_from_its_header) {
  std::string png = slurp(data_path("rgb.png"));
  EXPECT_ERROR(check_picture_size(13378, 13378, "p"), "13378 x 13378 pixels, more than");
  check_picture_size(13377, 13377, "p");
  EXPECT_ERROR(check_picture_size(0, 5, "p"), "empty picture");
  std::string jpeg = slurp(data_path("rgb420.jpg"));
  const size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  for (int i = 5; i < 9; ++i) jpeg[frame + i] = '\xff';
  EXPECT_ERROR(decode(jpeg), "65500");  // libjpeg's own limit on a side
  for (int i = 5; i < 9; i += 2) jpeg[frame + i] = '\xc0', jpeg[frame + i + 1] = 0;
  EXPECT_ERROR(decode(jpeg), "49152 x 49152 pixels, more than the 178956970 allowed");
  for (int i = 5; i < 9; i += 2) jpeg[frame + i] = '\x20';
  EXPECT_ERROR(decode(jpeg), "cannot be in");
}

TEST(Image, chunk_lengths_are_not_believed) {
  std::string png = slurp(data_path("rgb.png"));
  const size_t data = png.find("IDAT");
  ASSERT_NE(data, std::string::npos);
  png[data - 4] = '\x69';
  EXPECT_ERROR(decode(png), "corrupt PNG: a chunk of 1761");
}

TEST(Image, of_another_format_is_refused) {
  EXPECT_ERROR(decode(""), "an empty file");
  EXPECT_ERROR(decode("GIF89a......"), "wanted a JPEG or PNG picture");
  EXPECT_ERROR(read_picture(data_path("")), "not a regular file");
  EXPECT_ERROR(read_picture(data_path("absent.png")), "cannot be opened");
  EXPECT_TRUE(is_picture_name("a/b.JPeG"));
  EXPECT_FALSE(is_picture_name("png"));
}

TEST(Image, orientation_of_nonsense_is_one) {
  const std::string big("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0", 22);
  EXPECT_EQ(exif_orientation(bytes_of(big), big.size()), 6);
  for (size_t n = 0; n < 20; ++n) EXPECT_EQ(exif_orientation(bytes_of(big), n), 1) << n;
  std::string far = big;
  far[4] = '\x7f';
  EXPECT_EQ(exif_orientation(bytes_of(far), far.size()), 1);
  std::string nine = big;
  nine[19] = 9;
  EXPECT_EQ(exif_orientation(bytes_of(nine), nine.size()), 1);
}

}  // namespace
}  // namespace hedgerow
