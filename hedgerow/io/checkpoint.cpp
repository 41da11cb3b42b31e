// SPDX-License-Identifier: Apache-2.0
// Opens one safetensors file or a set of shards and hands out f32 values by name.
#include "hedgerow/io/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"

namespace hedgerow {
namespace {

constexpr uint64_t kMaxJsonFile = 16 << 20;
constexpr size_t kMaxShards = 256;

std::string folder_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::vector<int64_t> without_ones(const std::vector<int64_t>& shape) {
  std::vector<int64_t> out;
  std::copy_if(shape.begin(), shape.end(), std::back_inserter(out), [](int64_t n) { return n != 1; });
  return out;
}

}  // namespace

std::map<std::string, std::string> parse_shard_index(const std::string& text, const std::string& where) {
  const nlohmann::json index = parse_json(text, where);
  const nlohmann::json* map = json_find(index, "weight_map");
  if (!map || !map->is_object()) throw Error(where + ": wanted an object \"weight_map\"");
  std::map<std::string, std::string> shards;
  for (const auto& [name, file] : map->items()) {
    const std::string shard = file.is_string() ? file.get<std::string>() : "";
    if (shard.empty() || shard.size() > 255 ||
        shard.find_first_of(std::string("/\\\0", 3)) != std::string::npos || shard == "." || shard == "..")
      throw Error(
          fmt::format("{}: tensor {}: \"{}\" is not a file name", where, printable(name), printable(shard)));
    shards[name] = shard;
  }
  return shards;
}

std::vector<std::string> Checkpoint::add_file(const std::string& path) {
  files_.push_back(std::make_unique<File>(path));
  const File& file = *files_.back();
  if (file.bytes() < 8) throw Error(fmt::format("{}: not a safetensors file: {} bytes", path, file.bytes()));
  std::vector<uint8_t> head(8);
  file.read(0, head.data(), 8);
  head.resize(8 + safetensors_header_bytes(head.data(), file.bytes(), path));
  file.read(8, head.data() + 8, head.size() - 8);
  std::vector<std::string> names;
  for (TensorEntry& entry : parse_safetensors(head.data(), head.size(), file.bytes(), path)) {
    value_bytes_ += entry.end - entry.begin;
    names.push_back(entry.name);
    std::string name = entry.name;
    if (!tensors_.emplace(name, Place{&file, std::move(entry)}).second)
      throw Error(fmt::format("{}: tensor {} is also in another shard", path, printable(name)));
  }
  return names;
}

Checkpoint Checkpoint::open(const std::string& path) {
  Checkpoint c;
  c.path_ = path;
  if (!is_folder(path)) {
    if (!is_file(path)) throw Error(path + ": wanted a model folder or a .safetensors file, found neither");
    c.folder_ = folder_of(path);
    c.add_file(path);
    return c;
  }
  c.folder_ = path;
  const std::string single = path + "/model.safetensors", index = path + "/model.safetensors.index.json";
  if (is_file(single)) {
    c.add_file(single);
    return c;
  }
  if (!is_file(index))
    throw Error(path + ": holds neither model.safetensors nor model.safetensors.index.json");
  const auto shards = parse_shard_index(read_file(index, kMaxJsonFile), index);
  std::set<std::string> shard_files;
  for (const auto& [name, file] : shards) shard_files.insert(file);
  if (shard_files.size() > kMaxShards)
    throw Error(fmt::format("{}: {} shards, more than {}", index, shard_files.size(), kMaxShards));
  std::map<std::string, std::string> found;
  for (const std::string& file : shard_files)
    for (const std::string& name : c.add_file(path + "/" + file)) found[name] = file;
  for (const auto& [name, file] : shards)
    if (const auto it = found.find(name); it == found.end() || it->second != file)
      throw Error(fmt::format("{}: tensor {} should be in {}, but is not", index, printable(name), file));
  return c;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> out;
  for (const auto& [name, place] : tensors_) out.push_back(name);
  return out;
}

const Checkpoint::Place& Checkpoint::find(const std::string& name) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) throw Error(fmt::format("{}: tensor {} is missing", path_, name));
  return it->second;
}

const std::vector<int64_t>& Checkpoint::shape(const std::string& name) const {
  return find(name).entry.shape;
}
const std::string& Checkpoint::dtype(const std::string& name) const { return find(name).entry.dtype; }

std::vector<float> Checkpoint::load_f32(const std::string& name, const std::vector<int64_t>& expected) const {
  const Place& place = find(name);
  const TensorEntry& entry = place.entry;
  const std::string& where = place.file->path();
  if (without_ones(entry.shape) != without_ones(expected))
    throw Error(fmt::format("{}: tensor {}: wanted shape {}, found {}", where, name, shape_text(expected),
                            shape_text(entry.shape)));
  const size_t count = static_cast<size_t>(entry.count());
  std::vector<float> values(count);
  if (entry.dtype == "F32") {
    place.file->read(entry.begin, values.data(), count * 4);
    return values;
  }
  std::vector<uint8_t> raw(entry.end - entry.begin);
  place.file->read(entry.begin, raw.data(), raw.size());
  values_to_f32(entry, raw.data(), count, values.data(), where);
  return values;
}

void Checkpoint::read(const std::string& name, uint64_t offset, void* to, size_t bytes) const {
  const Place& place = find(name);
  const uint64_t size = place.entry.end - place.entry.begin;
  if (offset > size || bytes > size - offset)
    throw Error(fmt::format("{}: tensor {}: wanted {} bytes at {}, found {}", place.file->path(), name, bytes,
                            offset, size));
  place.file->read(place.entry.begin + offset, to, bytes);
}

std::string Checkpoint::text_beside(const std::string& file_name) const {
  const std::string path = folder_ + "/" + file_name;
  return is_file(path) ? read_file(path, kMaxJsonFile) : std::string();
}

}  // namespace hedgerow
