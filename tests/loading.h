// SPDX-License-Identifier: Apache-2.0
// Small files for the tests of loading: bytes of tests/data, and checkpoints written on the spot.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"

namespace hedgerow {

inline std::string data_path(const std::string& name) {
  return std::string(HEDGEROW_SOURCE_DIR "/tests/data/") + name;
}

inline std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline const uint8_t* bytes_of(const std::string& text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// The message of the Error that `f` throws; fails the test when it throws none or one of several lines.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no Error";
  return "";
}

#define EXPECT_ERROR(statement, part)                                               \
  EXPECT_NE(::hedgerow::error_of([&] { statement; }).find(part), std::string::npos) \
      << ::hedgerow::error_of([&] { statement; })

// A folder that goes with the test.
class Folder {
 public:
  Folder()
      : path_(std::filesystem::temp_directory_path() /
              ("hedgerow-" + std::to_string(getpid()) + "-" + std::to_string(next_++))) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string path(const std::string& name = "") const {
    return name.empty() ? path_.string() : (path_ / name).string();
  }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
  }

 private:
  static inline int next_ = 0;
  std::filesystem::path path_;
};

struct Values {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

// Random values, another stream for every name.
inline Values drawn(const std::string& name, std::vector<int64_t> shape) {
  Values v{shape, {}};
  size_t n = 1;
  for (int64_t extent : shape) n *= static_cast<size_t>(extent);
  const Rng rng{1, std::hash<std::string>{}(name)};
  for (size_t i = 0; i < n; ++i) v.values.push_back(static_cast<float>(rng.normal(i)));
  return v;
}

// A safetensors file of f32 tensors.
inline std::string safetensors_of(const std::map<std::string, Values>& tensors) {
  std::string header = "{", data;
  for (const auto& [name, v] : tensors) {
    header += (header.size() > 1 ? "," : "") + ("\"" + name + "\":{\"dtype\":\"F32\",\"shape\":[");
    for (size_t i = 0; i < v.shape.size(); ++i) header += (i ? "," : "") + std::to_string(v.shape[i]);
    header += "],\"data_offsets\":[" + std::to_string(data.size()) + ",";
    data.append(reinterpret_cast<const char*>(v.values.data()), v.values.size() * 4);
    header += std::to_string(data.size()) + "]}";
  }
  header += "}";
  const uint64_t n = header.size();
  return std::string(reinterpret_cast<const char*>(&n), 8) + header + data;
}

}  // namespace hedgerow
