// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/cli/output.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"
#include "hedgerow/io/file.h"
#include "hedgerow/io/json.h"
#include "hedgerow/vision/methods.h"

namespace hedgerow::cli {
namespace {

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// The shortest text that reads back as the same number; JSON has no word for what is not finite.
template <class T>
void append_number(std::string& out, T value) {
  if (std::isfinite(value)) {
    fmt::format_to(std::back_inserter(out), "{}", value);
  } else {
    out += "null";
  }
}

template <class Range, class F>
void append_list(std::string& out, const Range& range, F&& each) {
  out += '[';
  bool first = true;
  for (const auto& value : range) {
    if (!first) out += ',';
    first = false;
    each(value);
  }
  out += ']';
}

// Patches that still have a row of their own, ascending, and [patch, where it went] for those folded into
// another.
void append_trace(std::string& out, const VitTrace& trace, int place) {
  out += ",\"stages\":";
  append_list(out, trace.stages, [&](const std::string& stage) { out += quoted(stage); });
  std::vector<std::vector<int>> kept;
  std::vector<std::vector<std::pair<int, int>>> merged;
  bool any_merged = false;
  for (const auto& images : trace.patch_to) {
    const std::vector<int32_t>& patch_to = images.at(static_cast<size_t>(place));
    kept.emplace_back();
    merged.emplace_back();
    for (int p = 0; p < static_cast<int>(patch_to.size()); ++p) {
      if (patch_to[p] == p + 1) kept.back().push_back(p);
      if (patch_to[p] > 0 && patch_to[p] != p + 1) merged.back().emplace_back(p, patch_to[p] - 1);
    }
    any_merged |= !merged.back().empty();
  }
  const auto number = [&](int v) { out += std::to_string(v); };
  out += ",\"kept_patches\":";
  append_list(out, kept, [&](const std::vector<int>& stage) { append_list(out, stage, number); });
  if (!any_merged) return;
  out += ",\"merged\":";
  append_list(out, merged, [&](const auto& stage) {
    append_list(out, stage,
                [&](const auto& pair) { out += fmt::format("[{},{}]", pair.first, pair.second); });
  });
}

// On a terminal, a file name must not be able to move the cursor.
std::string visible(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}

bool is_report(const std::string& path) {
  constexpr uint64_t kMost = 256u << 20;
  try {
    return json_find(parse_json(read_file(path, kMost), path), "machine") != nullptr;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::string as_json(const Classification& r, const ClassifierModel& model, const ShownFields& fields) {
  std::string out = "{\"path\":" + quoted(r.path) + ",\"top\":";
  append_list(out, r.top, [&](const TopClass& t) {
    out += fmt::format("{{\"label\":{},\"index\":{},\"p\":", quoted(model.label(t.index)), t.index);
    append_number(out, t.p);
    out += '}';
  });
  out += ",\"kept\":";
  append_list(out, r.kept, [&](int32_t rows) { out += std::to_string(rows); });
  out += fmt::format(",\"special\":{},\"grid\":[{},{}],\"macs\":{:.0f}", model.config.special(), r.grid_rows,
                     r.grid_columns, r.macs);
  if (!fields.note.empty()) out += ",\"note\":" + quoted(fields.note);
  if (fields.truth >= 0) out += fmt::format(",\"truth\":{}", fields.truth);
  if (fields.logits) {
    out += ",\"logits\":";
    append_list(out, r.logits, [&](float v) { append_number(out, v); });
  }
  if (fields.trace) append_trace(out, *fields.trace, r.place);
  return out + "}\n";
}

std::string as_text(const Classification& r, const ClassifierModel& model, const ShownFields& fields) {
  std::string out = visible(r.path) + "\n";
  for (const TopClass& t : r.top) {
    const char* mark = fields.truth == t.index ? "  <- right" : "";
    out += fmt::format("  {:5.1f} %  {}{}\n", 100 * t.p, visible(model.label(t.index)), mark);
  }
  if (!fields.note.empty()) out += fmt::format("  note: {}\n", fields.note);
  const MethodTraits& method = traits_of(fields.method);
  const int patches = r.grid_rows * r.grid_columns, left = rows_left(r, model);
  const char* how = method.merges ? "{} merged rows left of {} patches" : "{} of {} patches left";
  out += "  ";
  if (method.fuses_dropped && left < patches) {
    out += fmt::format("{} rows and a fused one left of {} patches", left - 1, patches);
  } else {
    out += fmt::format(fmt::runtime(how), left, patches);
  }
  out += fmt::format("; rows {}; {:.3g} G multiply-adds\n", runs_text(r.kept), r.macs * 1e-9);
  return out;
}

int rows_left(const Classification& r, const ClassifierModel& model) {
  const size_t layers = r.kept.size();
  return layers < 2 ? r.grid_rows * r.grid_columns : r.kept[layers - 2] - model.config.special();
}

std::string runs_text(const std::vector<int32_t>& values) {
  std::string out;
  for (size_t i = 0; i < values.size();) {
    size_t end = i;
    while (end < values.size() && values[end] == values[i]) ++end;
    out += out.empty() ? "" : ", ";
    out += std::to_string(values[i]);
    if (end - i > 1) out += fmt::format(" x{}", end - i);
    i = end;
  }
  return out;
}

Progress::Progress(size_t total, bool wanted)
    : total_(total), on_(wanted && total > 1 && ::isatty(STDERR_FILENO)), begin_s_(now_s()) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (on_ && shown_s_ > 0) std::fputs("\r\033[K", stderr);
  shown_s_ = 0;
}

// Nothing in the first second: a short job has no use for it.
void Progress::show(size_t done) {
  const double now = now_s(), spent = now - begin_s_;
  if (!on_ || spent < 1 || now - shown_s_ < 0.1 || done == 0) return;
  shown_s_ = now;
  constexpr int kWidth = 30;
  const int full = static_cast<int>(kWidth * done / total_);
  const double rate = static_cast<double>(done) / spent;
  fmt::print(stderr, "\r[{:=<{}}{: <{}}] {}/{}  {:.1f} pictures/s  {:.0f} s left\033[K", "", full, "",
             kWidth - full, done, total_, rate, static_cast<double>(total_ - done) / rate);
  std::fflush(stderr);
}

std::string counted(size_t n, const char* what) { return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s"); }

bool may_write(const std::string& path, IsOurs is_ours) {
  struct stat at {};
  // A link that leads nowhere is something too.
  return ::lstat(path.c_str(), &at) != 0 || is_ours(path);
}

void write_whole(const std::string& path, std::string_view bytes, IsOurs is_ours) {
  std::string beside;
  FILE* out = nullptr;
  for (int n = 0; !out && n < 100; ++n) {
    beside = fmt::format("{}.{}.{}.tmp", path, ::getpid(), n);
    out = std::fopen(beside.c_str(), "wbx");
    require(out || errno == EEXIST, fmt::format("{}: cannot be written: {}", path, std::strerror(errno)));
  }
  require(out, path + ": cannot be written: no name for a file beside it");
  struct Remove {
    const std::string& name;
    ~Remove() { ::unlink(name.c_str()); }
  } remove{beside};
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), out) == bytes.size();
  require((std::fclose(out) == 0) & written, path + ": cannot be written");
  require(may_write(path, is_ours), path + ": is there and not of this program: not replaced");
  require(std::rename(beside.c_str(), path.c_str()) == 0,
          fmt::format("{}: cannot be written: {}", path, std::strerror(errno)));
}

void check_report_file(const std::string& path) {
  require(path.empty() || may_write(path, is_report),
          fmt::format("--json: {} is there and no report of this program: wanted another name", path));
}

void write_report(const std::string& path, const std::string& json) { write_whole(path, json, is_report); }

}  // namespace hedgerow::cli
