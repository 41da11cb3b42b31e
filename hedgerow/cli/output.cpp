// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"

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

template <class Write>
void write_whole(const std::string& path, Write&& write) {
  const std::string beside = fmt::format("{}.{}.tmp", path, ::getpid());
  struct Remove {
    const std::string& name;
    ~Remove() {
      std::error_code gone;
      std::filesystem::remove(name, gone);
    }
  } remove{beside};
  write(beside);
  std::error_code fault;
  std::filesystem::rename(beside, path, fault);
  require(!fault, path + ": cannot be written: " + fault.message());
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
  out += fmt::format(",\"macs\":{:.0f}", r.macs);
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
  out += fmt::format("  rows {}  ({:.3g} G multiply-adds)\n", runs_text(r.kept), r.macs * 1e-9);
  return out;
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

void write_png_whole(const std::string& path, const Picture& picture) {
  write_whole(path, [&](const std::string& name) { write_png(name, picture); });
}

void write_text_whole(const std::string& path, const std::string& text) {
  write_whole(path, [&](const std::string& name) {
    std::ofstream out(name, std::ios::binary);
    out << text << std::flush;
    require(out.good(), path + ": cannot be written");
  });
}

}  // namespace hedgerow::cli
