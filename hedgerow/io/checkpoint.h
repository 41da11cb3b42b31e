// SPDX-License-Identifier: Apache-2.0
// A model folder as named tensors plus its config text, whether the weights are in one file or in shards.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hedgerow/io/file.h"
#include "hedgerow/io/safetensors.h"

namespace hedgerow {

class Checkpoint {
 public:
  // `path`: a folder with model.safetensors or model.safetensors.index.json, or one .safetensors file. The
  // header of every file is read and checked; values are read when asked for.
  static Checkpoint open(const std::string& path);

  const std::string& path() const { return path_; }
  bool has(const std::string& name) const { return tensors_.count(name) != 0; }
  std::vector<std::string> names() const;  // sorted
  const std::vector<int64_t>& shape(const std::string& name) const;
  const std::string& dtype(const std::string& name) const;  // as the file spells it
  uint64_t value_bytes() const { return value_bytes_; }     // of all tensors in the files

  // The values as f32. Error naming file, tensor, wanted and found shape unless shape(name) == expected;
  // where they hold the same numbers in the same order, extents of 1 may differ.
  std::vector<float> load_f32(const std::string& name, const std::vector<int64_t>& expected) const;

  // Bytes of a tensor as they lie in its file; from several threads at once, too.
  void read(const std::string& name, uint64_t offset, void* to, size_t bytes) const;

  // A JSON file beside the weights ("config.json", "preprocessor_config.json"); empty when there is none.
  std::string text_beside(const std::string& file_name) const;

 private:
  struct Place {
    const File* file = nullptr;
    TensorEntry entry;
  };
  const Place& find(const std::string& name) const;
  std::vector<std::string> add_file(const std::string& path);

  std::string path_, folder_;
  std::vector<std::unique_ptr<File>> files_;
  std::map<std::string, Place> tensors_;
  uint64_t value_bytes_ = 0;
};

// model.safetensors.index.json -> the shard file of each tensor. Shards are plain names: no folder, no way
// out of it.
std::map<std::string, std::string> parse_shard_index(const std::string& text, const std::string& where);

}  // namespace hedgerow
