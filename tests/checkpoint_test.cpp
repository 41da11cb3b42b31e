// SPDX-License-Identifier: Apache-2.0
// One file or shards, found and read the same way; nothing outside the model's folder is ever opened.
#include "hedgerow/io/checkpoint.h"

#include <sys/stat.h>

#include "loading.h"

namespace hedgerow {
namespace {

TEST(Checkpoint, opens_a_file_or_a_folder) {
  const Folder folder;
  const Values a = drawn("a", {2, 3});
  folder.write("model.safetensors", safetensors_of({{"a", a}, {"b", drawn("b", {1, 4})}}));
  folder.write("config.json", "{\"x\": 1}");
  for (const std::string& path : {folder.path(), folder.path("model.safetensors")}) {
    const Checkpoint c = Checkpoint::open(path);
    EXPECT_EQ(c.names(), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(c.load_f32("a", {2, 3}), a.values);
    EXPECT_EQ(c.load_f32("b", {4}).size(), 4u);  // extents of 1 are free
    EXPECT_EQ(c.text_beside("config.json"), "{\"x\": 1}");
    EXPECT_EQ(c.text_beside("nothing.json"), "");
    EXPECT_EQ(c.value_bytes(), 40u);
    EXPECT_ERROR(c.load_f32("a", {3, 2}), "tensor a: wanted shape [3, 2], found [2, 3]");
    EXPECT_ERROR(c.load_f32("z", {3, 2}), "tensor z is missing");
  }
}

TEST(Checkpoint, joins_shards) {
  const Folder folder;
  const Values a = drawn("a", {2}), b = drawn("b", {3});
  folder.write("one.safetensors", safetensors_of({{"a", a}}));
  folder.write("two.safetensors", safetensors_of({{"b", b}}));
  const auto index = [&](const std::string& map) {
    folder.write("model.safetensors.index.json", "{\"weight_map\": " + map + "}");
    return Checkpoint::open(folder.path());
  };
  const Checkpoint c = index(R"({"a": "one.safetensors", "b": "two.safetensors"})");
  EXPECT_EQ(c.load_f32("a", {2}), a.values);
  EXPECT_EQ(c.load_f32("b", {3}), b.values);
  EXPECT_ERROR(index(R"({"a": "two.safetensors", "b": "two.safetensors"})"),
               "tensor a should be in two.safetensors");
  EXPECT_ERROR(index(R"({"a": "three.safetensors"})"), "three.safetensors: cannot be opened");
  for (const char* name : {"../one.safetensors", "/etc/passwd", "..", ".", "", "a\\\\b"})
    EXPECT_ERROR(index("{\"a\": \"" + std::string(name) + "\"}"), "is not a file name");
  EXPECT_ERROR(index(R"({"a": 3})"), "is not a file name");
  EXPECT_ERROR(index("[]"), "wanted an object");
  folder.write("two.safetensors", safetensors_of({{"a", a}}));
  EXPECT_ERROR(index(R"({"a": "one.safetensors", "b": "two.safetensors"})"), "also in another shard");
}

TEST(Checkpoint, refuses_what_is_not_a_file) {
  const Folder folder;
  EXPECT_ERROR(Checkpoint::open(folder.path()), "holds neither");
  EXPECT_ERROR(Checkpoint::open(folder.path("absent")), "found neither");
  ASSERT_EQ(mkfifo(folder.path("pipe").c_str(), 0600), 0);
  EXPECT_ERROR(Checkpoint::open(folder.path("pipe")), "found neither");
  EXPECT_ERROR(File(folder.path("pipe")), "not a regular file");
  folder.write("model.safetensors", "short");
  EXPECT_ERROR(Checkpoint::open(folder.path()), "5 bytes");
  EXPECT_ERROR(read_file(folder.path("model.safetensors"), 4), "more than the 4 allowed");
}

TEST(Checkpoint, that_shrinks_under_us_is_an_error) {
  const Folder folder;
  folder.write("model.safetensors", safetensors_of({{"a", drawn("a", {1000})}}));
  const Checkpoint c = Checkpoint::open(folder.path());
  std::filesystem::resize_file(folder.path("model.safetensors"), 100);
  EXPECT_ERROR(c.load_f32("a", {1000}), "became shorter");
}

}  // namespace
}  // namespace hedgerow
