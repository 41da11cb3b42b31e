// SPDX-License-Identifier: Apache-2.0
// The header is believed only where it agrees with itself and with the file.
#include "hedgerow/io/safetensors.h"

#include <cmath>

#include "loading.h"

namespace hedgerow {
namespace {

std::string file_with(const std::string& header, size_t data_bytes) {
  const uint64_t n = header.size();
  return std::string(reinterpret_cast<const char*>(&n), 8) + header + std::string(data_bytes, '\0');
}

std::vector<TensorEntry> parse(const std::string& file) {
  return parse_safetensors(bytes_of(file), file.size(), file.size(), "f");
}

TEST(Safetensors, reads_every_dtype_it_knows) {
  const std::string file = slurp(data_path("small.safetensors"));
  const auto entries = parse(file);
  ASSERT_EQ(entries.size(), 5u);
  EXPECT_EQ(entries[1].name, "a.weight");
  EXPECT_EQ(entries[1].shape, (std::vector<int64_t>{2, 3}));
  const auto values = [&](int i) {
    std::vector<float> out(static_cast<size_t>(entries[i].count()));
    values_to_f32(entries[i], bytes_of(file) + entries[i].begin, out.size(), out.data(), "f");
    return out;
  };
  EXPECT_EQ(values(0), (std::vector<float>{0.5f, -2, 65504}));
  EXPECT_EQ(values(1), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(values(2)[1], -3);
  EXPECT_NEAR(values(2)[3] / 1e30f, 1, 1.0 / 128);
  EXPECT_ERROR(values(3), "tensor c: dtype I64 is not supported");
  EXPECT_TRUE(values(4).empty());
}

TEST(Safetensors, refuses_what_does_not_add_up) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(parse(file_with(good, 8)).size(), 1u);
  EXPECT_EQ(parse(file_with("{}", 0)).size(), 0u);
  const struct {
    const char* header;
    size_t data;
    const char* message;
  } kBad[] = {
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7, "cut short"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9, "belong to none"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "needs 12 bytes"},
      {R"({"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", 8, "unknown dtype F31"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "two rising"},
      {R"({"a":{"dtype":"F32","shape":[2]}})", 8, "two rising"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}})", 8, "two rising"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,8]}})", 8, "too large"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", 8, "too large"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "negative"},
      {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8, "fraction"},
      {R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", 8, "a list"},
      {R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", 8, "a number"},
      {R"({"a":{"dtype":null,"shape":[2],"data_offsets":[0,8]}})", 8, "null"},
      {R"({"a":{"dtype":true,"shape":[2],"data_offsets":[0,8]}})", 8, "truth value"},
      {R"({"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}})", 8, "text"},
      {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}})", 8, "too many"},
      {R"({"a":{"dtype":{"x":1},"shape":[2],"data_offsets":[0,8]}})", 8, "an object"},
      {R"({"a":{"dtipe":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "key \"dtipe\""},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       8, "listed twice"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
       12, "starts at 4"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "starts at 4"},
      {R"({"a":{"dtype":"F32")", 8, "not valid JSON"},
      {R"([1])", 0, "does not belong"},
      {R"("a")", 0, "does not belong"},
  };
  for (const auto& bad : kBad) {
    SCOPED_TRACE(bad.header);
    EXPECT_ERROR(parse(file_with(bad.header, bad.data)), bad.message);
  }
}

TEST(Safetensors, refuses_files_that_end_early) {
  const std::string file = slurp(data_path("small.safetensors"));
  for (size_t n = 0; n < file.size(); ++n) error_of([&] { parse(file.substr(0, n)); });
  EXPECT_ERROR(parse(std::string(8, '\xff')), "not a safetensors file");
  EXPECT_ERROR(parse_safetensors(bytes_of(file), 20, file.size(), "f"), "not all there");
}

}  // namespace
}  // namespace hedgerow
