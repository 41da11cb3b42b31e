// SPDX-License-Identifier: Apache-2.0
// Upper and lower case, and text written as Python and JSON write it.
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstring>

#include "hedgerow/core/error.h"
#include "hedgerow/language/template/text.h"

namespace hedgerow::jinja {
namespace {

// Scripts without case, as far as blocks tell: CJK, Hangul, symbols, emoji.
bool caseless(int32_t c) {
  return c < 0 || is_space(c) || (c >= 0x2000 && c < 0x2100) || (c >= 0x2190 && c < 0x24b0) ||
         (c >= 0x2500 && c < 0x2c00) || (c >= 0x2e80 && c < 0xa640) || (c >= 0xac00 && c < 0xfb00) ||
         (c >= 0xfe00 && c < 0xff00) || (c >= 0x1f000 && c < 0x20000) || (c >= 0x20000 && c < 0x40000);
}

bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char up(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }
char down(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// What repr() escapes beyond ASCII. Code points that Unicode has not assigned are taken as printable.
bool unprintable(int32_t c) {
  return (c >= 0x80 && c <= 0xa0) || c == 0xad || (c >= 0x600 && c <= 0x605) || c == 0x61c || c == 0x6dd ||
         c == 0x70f || c == 0x1680 || c == 0x180e || (c >= 0x2000 && c <= 0x200f) ||
         (c >= 0x2028 && c <= 0x202f) || (c >= 0x205f && c <= 0x206f) || c == 0x3000 ||
         (c >= 0xe000 && c <= 0xf8ff) || c == 0xfeff || (c >= 0xfff0 && c <= 0xfffb) || c >= 0xe0000;
}

}  // namespace

Text to_case(const Text& t, Case which) {
  Text out = t;
  bool start = true, first = true;
  size_t n = 1;
  for (size_t at = 0; at < t.size(); at += n) {
    const int32_t c = code_point(t.bytes, at, n);
    char& b = out.bytes[at];
    if (c < 0 || c >= 0x80) {
      if (!caseless(c))
        throw Error("upper and lower case of letters beyond ASCII are not supported in a template");
    } else if (which == Case::upper) {
      b = up(b);
    } else if (which == Case::lower) {
      b = down(b);
    } else {
      b = (which == Case::capitalize ? first : start) ? up(b) : down(b);
    }
    first = false;
    // str.title() begins a word after anything but a letter; the filter only after these.
    start = which == Case::title ? c < 0x80 && !letter(b)
                                 : is_space(c) || (c > 0 && c < 0x80 && std::strchr("-({[<", c) != nullptr);
  }
  return out;
}

void append_repr(Text& out, const Text& t) {
  const bool doubled = t.bytes.find('\'') != std::string::npos && t.bytes.find('"') == std::string::npos;
  const char quote = doubled ? '"' : '\'';
  out.append(std::string_view(&quote, 1));
  size_t n = 1;
  for (size_t at = 0; at < t.size(); at += n) {
    const int32_t c = code_point(t.bytes, at, n);
    const char mark = t.marks[at];
    if (c == '\\' || c == quote)
      out.append(std::string{'\\', static_cast<char>(c)}, mark);
    else if (c == '\n')
      out.append("\\n", mark);
    else if (c == '\r')
      out.append("\\r", mark);
    else if (c == '\t')
      out.append("\\t", mark);
    else if ((c >= 0 && c < 0x20) || c == 0x7f || (c >= 0x80 && c < 0x100 && unprintable(c)))
      out.append(fmt::format("\\x{:02x}", c), mark);
    else if (c >= 0x100 && unprintable(c))
      out.append(c < 0x10000 ? fmt::format("\\u{:04x}", c) : fmt::format("\\U{:08x}", c), mark);
    else
      out.append(t.sub(at, n));
  }
  out.append(std::string_view(&quote, 1));
}

void append_json(Text& out, const Text& t) {
  out.append("\"");
  for (size_t at = 0; at < t.size(); ++at) {
    const char c = t.bytes[at], mark = t.marks[at];
    const char* const plain = "\"\\\n\r\t\f\b";
    const char* const found = c == 0 ? nullptr : std::strchr(plain, c);
    if (found != nullptr)
      out.append(std::string{'\\', "\"\\nrtfb"[found - plain]}, mark);
    else if (static_cast<uint8_t>(c) < 0x20)
      out.append(fmt::format("\\u{:04x}", static_cast<int>(c)), mark);
    else
      out.append(std::string_view(&c, 1), mark);
  }
  out.append("\"");
}

std::string float_repr(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::scientific).ptr;
  const std::string s(buffer, end);
  const size_t e = s.find('e');
  const int exponent = std::stoi(s.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return s;
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::fixed).ptr;
  std::string out(buffer, fixed);
  return out.find('.') == std::string::npos ? out + ".0" : out;
}

double read_float(std::string_view s) {
  double out = 0;
  const auto end = std::from_chars(s.data(), s.data() + s.size(), out);
  if (end.ec == std::errc::result_out_of_range) throw Error("a number is beyond what a float holds");
  return end.ec == std::errc{} && end.ptr == s.data() + s.size() ? out : std::nan("");
}

}  // namespace hedgerow::jinja
