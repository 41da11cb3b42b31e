// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/cli/inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "hedgerow/core/error.h"
#include "hedgerow/io/file.h"
#include "hedgerow/io/json.h"
#include "hedgerow/vision/overlay.h"

namespace hedgerow::cli {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxListBytes = 256u << 20;
constexpr size_t kMaxPictures = 10'000'000;

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && (s.back() == '\r' || s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  return s;
}

// Calls f(line, number) for each line that holds something; a byte-order mark in front is skipped.
template <class F>
void for_each_line(const std::string& text, F&& f) {
  std::string_view rest = text;
  if (rest.substr(0, 3) == "\xef\xbb\xbf") rest.remove_prefix(3);
  for (int number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    const std::string_view line = trimmed(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (!line.empty()) f(line, number);
  }
}

std::string beside(const std::string& list, std::string_view name) {
  const fs::path p(name);
  return p.is_absolute() ? p.string() : (fs::path(list).parent_path() / p).string();
}

PictureRequest request_for(std::string path) {
  PictureRequest r;
  r.path = std::move(path);
  return r;
}

void add(std::vector<PictureRequest>& out, PictureRequest request) {
  require(out.size() < kMaxPictures, fmt::format("pictures: wanted at most {}, found more", kMaxPictures));
  out.push_back(std::move(request));
}

void add_folder(const std::string& folder, std::vector<PictureRequest>& out, int* overlays) {
  std::error_code fault;
  std::vector<std::string> found;
  fs::recursive_directory_iterator it(folder, fs::directory_options::skip_permission_denied, fault), end;
  for (; !fault && it != end; it.increment(fault)) {
    std::error_code gone;
    const std::string path = it->path().string();
    if (!is_picture_name(path) || !it->is_regular_file(gone)) continue;
    if (is_overlay_file(path)) {
      ++*overlays;
    } else {
      found.push_back(path);
    }
  }
  require(!fault, fmt::format("{}: cannot be listed: {}", folder, fault.message()));
  std::sort(found.begin(), found.end());
  for (std::string& path : found) add(out, request_for(std::move(path)));
}

void add_list(const std::string& list, std::vector<PictureRequest>& out) {
  for_each_line(read_file(list, kMaxListBytes),
                [&](std::string_view line, int) { add(out, request_for(beside(list, line))); });
}

bool parse_index(std::string_view text, int* value) {
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return fault == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::vector<PictureRequest> find_pictures(const std::vector<std::string>& paths, int* overlays) {
  std::vector<PictureRequest> out;
  for (const std::string& path : paths) {
    if (path.size() > 1 && path[0] == '@') {
      add_list(path.substr(1), out);
    } else if (is_folder(path)) {
      add_folder(path, out, overlays);
    } else if (fs::path(path).extension() == ".txt" && is_file(path)) {
      add_list(path, out);
    } else {
      add(out, request_for(path));
    }
  }
  return out;
}

std::vector<PictureRequest> read_requests(const std::string& file) {
  std::vector<PictureRequest> out;
  for_each_line(read_file(file, kMaxListBytes), [&](std::string_view line, int number) {
    const std::string where = fmt::format("{} line {}", file, number);
    const nlohmann::json object = parse_json(line, where);
    require(object.is_object(), where + ": wanted a JSON object");
    for (const auto& [key, value] : object.items())
      require(key == "path" || key == "keep" || key == "threshold" || key == "size",
              fmt::format("{}: wanted path, keep, threshold and size, found '{}'", where, printable(key)));
    PictureRequest r;
    r.path = json_text(object, "path", "", where);
    require(!r.path.empty(), where + ": wanted a path, found none");
    require(r.path.find('\0') == std::string::npos, where + ": path holds a zero byte");
    r.path = beside(file, r.path);
    if (json_find(object, "keep")) {
      r.keep = json_number(object, "keep", 0, 1, 0, where);
      require(*r.keep > 0, where + ": keep: wanted a rate above 0 and at most 1");
    }
    if (json_find(object, "threshold")) r.threshold = json_number(object, "threshold", -1e30, 1e30, 0, where);
    r.size = static_cast<int>(json_int(object, "size", 8, 4096, 0, where));
    add(out, std::move(r));
  });
  return out;
}

Labels::Labels(const std::string& file, int classes) {
  bool header_possible = true;
  for_each_line(read_file(file, kMaxListBytes), [&](std::string_view line, int number) {
    if (line[0] == '#') return;
    const size_t comma = line.find(',');
    std::string_view name = trimmed(line.substr(0, comma));
    std::string_view rest = comma == std::string_view::npos ? std::string_view() : line.substr(comma + 1);
    std::string_view index_text = trimmed(rest.substr(0, rest.find(',')));
    int index = -1;
    if (!parse_index(index_text, &index)) {
      require(header_possible && comma != std::string_view::npos,
              fmt::format("{} line {}: wanted 'file name,class index', found '{}'", file, number,
                          printable(line)));
      header_possible = false;
      return;
    }
    header_possible = false;
    require(index >= 0 && index < classes,
            fmt::format("{} line {}: wanted a class of 0 to {}, found {}", file, number, classes - 1, index));
    if (name.size() >= 2 && name.front() == '"' && name.back() == '"') name = name.substr(1, name.size() - 2);
    index_[std::string(name)] = index;
    const auto [at, fresh] = by_name_.emplace(fs::path(name).filename().string(), index);
    if (!fresh && at->second != index) at->second = -1;
  });
  require(!empty(), file + ": wanted lines of 'file name,class index', found none");
}

int Labels::find(const std::string& path) const {
  for (size_t from = 0; from != std::string::npos;) {
    const auto at = index_.find(path.substr(from));
    if (at != index_.end()) return at->second;
    const size_t slash = path.find('/', from);
    from = slash == std::string::npos ? slash : slash + 1;
  }
  const auto at = by_name_.find(fs::path(path).filename().string());
  return at == by_name_.end() ? -1 : at->second;
}

}  // namespace hedgerow::cli
