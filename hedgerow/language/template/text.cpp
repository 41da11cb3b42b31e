// SPDX-License-Identifier: Apache-2.0
// Code points, budgets, stripping, splitting, replacing.
#include "hedgerow/language/template/text.h"

#include <algorithm>

#include "hedgerow/core/error.h"

namespace hedgerow::jinja {

void Budget::step(int64_t n) {
  if ((steps_ -= n) < 0) throw Error("the template takes more steps than a chat template may");
}

void Budget::bytes(size_t n) {
  if (n > size_t{1} << 40 || (bytes_ -= static_cast<int64_t>(n)) < 0)
    throw Error("the template makes more text than a chat template may");
}

Text Text::sub(size_t at, size_t n) const {
  Text out;
  out.bytes = bytes.substr(at, n);
  out.marks = marks.substr(at, n);
  return out;
}

void Text::append(const Text& other) {
  bytes += other.bytes;
  marks += other.marks;
}

void Text::append(std::string_view s, char mark) {
  bytes += s;
  marks.append(s.size(), mark);
}

int32_t code_point(std::string_view s, size_t at, size_t& n) {
  const auto byte = [&](size_t i) { return i < s.size() ? static_cast<uint8_t>(s[i]) : 0u; };
  const uint32_t a = byte(at);
  n = 1;
  if (a < 0x80) return static_cast<int32_t>(a);
  const size_t length = a >= 0xf0 && a < 0xf5 ? 4 : a >= 0xe0 ? 3 : a >= 0xc2 ? 2 : 0;
  if (length == 0 || a >= 0xf5) return -1;
  uint32_t c = a & (0x7fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return -1;
    c = c << 6 | (byte(at + i) & 0x3f);
  }
  if ((length == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) ||
      (length == 4 && (c < 0x10000 || c > 0x10ffff)))
    return -1;
  n = length;
  return static_cast<int32_t>(c);
}

std::vector<size_t> point_starts(std::string_view s) {
  std::vector<size_t> out;
  out.reserve(s.size() + 1);
  size_t n = 1;
  for (size_t at = 0; at < s.size(); at += n) {
    out.push_back(at);
    code_point(s, at, n);
  }
  out.push_back(s.size());
  return out;
}

size_t count_points(std::string_view s) {
  size_t count = 0, n = 1;
  for (size_t at = 0; at < s.size(); at += n, ++count) code_point(s, at, n);
  return count;
}

std::string encode_point(uint32_t c) {
  std::string out;
  const auto tail = [&](int shift) { out += static_cast<char>(0x80 | (c >> shift & 0x3f)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | c >> 6);
    tail(0);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | c >> 12);
    tail(6), tail(0);
  } else {
    out += static_cast<char>(0xf0 | c >> 18);
    tail(12), tail(6), tail(0);
  }
  return out;
}

bool is_space(int32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

namespace {

template <class F>
Text strip_where(const Text& t, Side side, F&& drops) {
  size_t begin = 0, end = t.size(), n = 1;
  if (static_cast<int>(side) & 1) {
    while (begin < end) {
      const int32_t c = code_point(t.bytes, begin, n);
      if (!drops(c, std::string_view(t.bytes).substr(begin, n))) break;
      begin += n;
    }
  }
  if (static_cast<int>(side) & 2) {
    while (end > begin) {
      size_t at = end - 1;
      while (at > begin && end - at < 4 && (static_cast<uint8_t>(t.bytes[at]) & 0xc0) == 0x80) --at;
      int32_t c = code_point(std::string_view(t.bytes).substr(0, end), at, n);
      if (at + n != end) at = end - 1, n = 1, c = -1;
      if (!drops(c, std::string_view(t.bytes).substr(at, n))) break;
      end = at;
    }
  }
  return t.sub(begin, end - begin);
}

}  // namespace

Text strip(const Text& t, Side side) {
  return strip_where(t, side, [](int32_t c, std::string_view) { return is_space(c); });
}

Text strip(const Text& t, Side side, std::string_view chars) {
  std::vector<std::string_view> set;
  const std::vector<size_t> starts = point_starts(chars);
  for (size_t i = 0; i + 1 < starts.size(); ++i)
    set.push_back(chars.substr(starts[i], starts[i + 1] - starts[i]));
  std::sort(set.begin(), set.end());
  return strip_where(
      t, side, [&](int32_t, std::string_view s) { return std::binary_search(set.begin(), set.end(), s); });
}

std::vector<Text> split_spaces(const Text& t, int64_t at_most, Budget& budget) {
  std::vector<Text> out;
  size_t at = 0, n = 1;
  while (true) {
    while (at < t.size() && is_space(code_point(t.bytes, at, n))) at += n;
    if (at >= t.size()) return out;
    budget.bytes(128);
    if (at_most >= 0 && static_cast<int64_t>(out.size()) == at_most) {
      out.push_back(strip(t.sub(at), Side::right));
      return out;
    }
    const size_t begin = at;
    while (at < t.size() && !is_space(code_point(t.bytes, at, n))) at += n;
    out.push_back(t.sub(begin, at - begin));
  }
}

std::vector<Text> split_at(const Text& t, std::string_view separator, int64_t at_most, Budget& budget) {
  require(!separator.empty(), "split needs a separator that is not empty");
  std::vector<Text> out;
  size_t at = 0;
  while (true) {
    budget.bytes(128);
    const size_t found = at_most >= 0 && static_cast<int64_t>(out.size()) >= at_most
                             ? std::string::npos
                             : t.bytes.find(separator, at);
    if (found == std::string::npos) break;
    out.push_back(t.sub(at, found - at));
    at = found + separator.size();
  }
  out.push_back(t.sub(at));
  return out;
}

std::vector<Text> split_lines(const Text& t, Budget& budget) {
  std::vector<Text> out;
  size_t begin = 0, n = 1;
  for (size_t at = 0; at < t.size(); at += n) {
    const int32_t c = code_point(t.bytes, at, n);
    if (!((c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029))
      continue;
    budget.bytes(128);
    out.push_back(t.sub(begin, at - begin));
    if (c == '\r' && at + 1 < t.size() && t.bytes[at + 1] == '\n') n = 2;
    begin = at + n;
  }
  if (begin < t.size()) out.push_back(t.sub(begin));
  return out;
}

Text replace(const Text& t, std::string_view from, const Text& to, int64_t at_most, Budget& budget) {
  Text out;
  int64_t done = 0;
  const auto put = [&](const Text& piece) {
    budget.bytes(2 * piece.size());
    out.append(piece);
  };
  size_t at = 0;
  if (from.empty()) {
    size_t n = 1;
    while (true) {
      if (at_most < 0 || done++ < at_most) put(to);
      if (at >= t.size()) return out;
      code_point(t.bytes, at, n);
      put(t.sub(at, n));
      at += n;
    }
  }
  while (at_most < 0 || done++ < at_most) {
    const size_t found = t.bytes.find(from, at);
    if (found == std::string::npos) break;
    put(t.sub(at, found - at));
    put(to);
    at = found + from.size();
  }
  put(t.sub(at));
  return out;
}

Text reversed(const Text& t) {
  Text out;
  const std::vector<size_t> starts = point_starts(t.bytes);
  for (size_t i = starts.size() - 1; i > 0; --i) out.append(t.sub(starts[i - 1], starts[i] - starts[i - 1]));
  return out;
}

}  // namespace hedgerow::jinja
