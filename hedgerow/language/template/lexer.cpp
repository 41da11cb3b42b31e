// SPDX-License-Identifier: Apache-2.0
// Source to words, with Jinja's whitespace control: trim_blocks, lstrip_blocks, one newline at the end
// dropped.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>

#include "hedgerow/core/error.h"
#include "hedgerow/language/template/syntax.h"

namespace hedgerow::jinja {
namespace {

constexpr size_t kMostSource = 1 << 20;

bool digit(char c) { return c >= '0' && c <= '9'; }
bool name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

class Lexer {
 public:
  Lexer(const std::string& source, const std::string& where) : where_(where) {
    if (source.size() > kMostSource) fail("a template of at most 1 MiB was wanted");
    for (size_t i = 0; i < source.size(); ++i) {
      if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
      s_ += source[i] == '\r' ? '\n' : source[i];
    }
    if (!s_.empty() && s_.back() == '\n') s_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < s_.size()) outside();
    put(Word::end, "");
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) {
    throw Error(fmt::format("{}: chat template, line {}: {}", where_, line_, what));
  }
  void put(Word word, std::string text) {
    out_.push_back({.word = word, .text = std::move(text), .line = line_});
  }
  bool here(std::string_view what) const { return s_.compare(at_, what.size(), what) == 0; }
  void advance(size_t n) {
    line_ += static_cast<int>(std::count(s_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         s_.begin() + static_cast<std::ptrdiff_t>(at_ + n), '\n'));
    at_ += n;
    if (n > 0) line_starting_ = s_[at_ - 1] == '\n';
  }
  size_t spaces(size_t at) const {
    size_t n = 1, begin = at;
    while (at < s_.size() && is_space(code_point(s_, at, n))) at += n;
    return at - begin;
  }

  // Text up to the next tag, stripped as the tag's sign asks, then the tag's beginning.
  void outside() {
    size_t tag = s_.find('{', at_);
    while (tag != std::string::npos &&
           (tag + 1 >= s_.size() || !std::strchr("{%#", s_[tag + 1]) || s_[tag + 1] == 0))
      tag = s_.find('{', tag + 1);
    if (tag == std::string::npos) {
      put(Word::data, s_.substr(at_));
      advance(s_.size() - at_);
      return;
    }
    const char kind = s_[tag + 1];
    const char sign = tag + 2 < s_.size() && (s_[tag + 2] == '-' || s_[tag + 2] == '+') ? s_[tag + 2] : ' ';
    size_t raw = 0;
    if (kind == '%') raw = raw_length(tag + 2 + (sign != ' '), "raw");
    data(tag, kind, sign);
    if (raw > 0) return raw_block(raw + 2 + (sign != ' '));
    advance(2 + (sign != ' '));
    if (kind == '#') return comment();
    put(kind == '{' ? Word::print_begin : Word::block_begin, "");
    inside(kind == '{');
  }

  void data(size_t tag, char kind, char sign) {
    std::string text = s_.substr(at_, tag - at_);
    if (sign == '-') {
      text = strip(Text(text), Side::right).bytes;
    } else if (sign != '+' && kind != '{') {
      const size_t line = text.rfind('\n') + 1;
      if ((line > 0 || line_starting_) && strip(Text(text.substr(line)), Side::left).empty())
        text.resize(line);
    }
    if (!text.empty()) put(Word::data, text);
    advance(tag - at_);
  }

  void comment() {
    const size_t end = s_.find("#}", at_);
    if (end == std::string::npos) fail("a comment has no end");
    const char sign = end > at_ ? s_[end - 1] : ' ';
    advance(end - at_);
    close(2, sign, true);
  }
  // After the end of a tag: -%} takes the white space, a block's or a comment's takes one newline.
  void close(size_t n, char sign, bool block) {
    size_t length = n;
    if (sign == '-')
      length += spaces(at_ + n);
    else if (sign != '+' && block && at_ + n < s_.size() && s_[at_ + n] == '\n')
      length += 1;
    advance(length);
  }

  // The bytes from `at` of a tag `word %}` with spaces; 0 if it is another.
  size_t raw_length(size_t at, std::string_view word) const {
    size_t i = at + spaces(at);
    if (s_.compare(i, word.size(), word) != 0) return 0;
    i += word.size();
    i += spaces(i);
    if (s_.compare(i, 2, "%}") == 0) return i + 2 - at;
    if (s_.compare(i, 3, "-%}") == 0) return i + 3 + spaces(i + 3) - at;
    return 0;
  }
  void raw_block(size_t opening) {
    advance(opening);
    for (size_t tag = s_.find("{%", at_); tag != std::string::npos; tag = s_.find("{%", tag + 2)) {
      const char c = tag + 2 < s_.size() ? s_[tag + 2] : ' ';
      const char sign = c == '-' || c == '+' ? c : ' ';
      size_t i = tag + 2 + (sign != ' ');
      i += spaces(i);
      if (s_.compare(i, 6, "endraw") != 0) continue;
      i += 6;
      i += spaces(i);
      const char last = i < s_.size() && (s_[i] == '-' || s_[i] == '+') ? s_[i] : ' ';
      i += last != ' ';
      if (s_.compare(i, 2, "%}") != 0) continue;
      data(tag, '%', sign);
      advance(i - at_);
      return close(2, last, true);
    }
    fail("a raw block has no end");
  }

  void inside(bool print) {
    const std::string_view end = print ? "}}" : "%}";
    std::string open;
    while (true) {
      if (at_ >= s_.size()) fail(fmt::format("'{}' was wanted, found the end", end));
      if (open.empty()) {
        const bool minus = s_[at_] == '-', plus = s_[at_] == '+' && !print;
        if (here(end) || ((minus || plus) && s_.compare(at_ + 1, 2, end) == 0)) {
          put(print ? Word::print_end : Word::block_end, "");
          const char sign = minus ? '-' : plus ? '+' : ' ';
          if (sign != ' ') advance(1);
          return close(2, sign, !print);
        }
      }
      if (const size_t n = spaces(at_); n > 0) {
        advance(n);
        continue;
      }
      const char c = s_[at_];
      if (digit(c))
        number();
      else if (name_start(c))
        word();
      else if (c == '\'' || c == '"')
        quoted(c);
      else
        sign(open);
    }
  }

  void word() {
    size_t end = at_;
    while (end < s_.size() && (name_start(s_[end]) || digit(s_[end]))) ++end;
    put(Word::name, s_.substr(at_, end - at_));
    advance(end - at_);
  }

  void number() {
    size_t end = at_;
    const auto digits = [&] {
      while (end < s_.size() && digit(s_[end])) ++end;
    };
    digits();
    bool real = false;
    const bool after_dot = at_ > 0 && s_[at_ - 1] == '.';
    if (!after_dot && end + 1 < s_.size() && s_[end] == '.' && digit(s_[end + 1]))
      real = true, ++end, digits();
    if (!after_dot && end < s_.size() && (s_[end] == 'e' || s_[end] == 'E')) {
      const size_t sign = end + 1 < s_.size() && (s_[end + 1] == '+' || s_[end + 1] == '-');
      if (end + 1 + sign < s_.size() && digit(s_[end + 1 + sign])) real = true, end += 1 + sign, digits();
    }
    const std::string text = s_.substr(at_, end - at_);
    if ((end < s_.size() && name_start(s_[end])) || (!real && text.size() > 1 && text[0] == '0'))
      fail("numbers other than plain decimal ones are not supported");
    if (text.size() > (real ? 40u : 18u)) fail("a number is longer than we read");
    put(real ? Word::real : Word::whole, text);
    advance(end - at_);
  }

  void quoted(char quote) {
    std::string text;
    size_t i = at_ + 1;
    const auto hex = [&](size_t n) {
      uint32_t c = 0;
      for (size_t k = 0; k < n; ++k, ++i) {
        if (i >= s_.size() || !std::isxdigit(static_cast<uint8_t>(s_[i]))) fail("a broken escape in a text");
        c = c * 16 + static_cast<uint32_t>(digit(s_[i]) ? s_[i] - '0' : (s_[i] | 32) - 'a' + 10);
      }
      if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) fail("an escape in a text is no character");
      text += encode_point(c);
    };
    while (true) {
      if (i >= s_.size()) fail("a text in quotes has no end");
      const char c = s_[i++];
      if (c == quote) break;
      if (c != '\\') {
        text += c;
        continue;
      }
      if (i >= s_.size()) fail("a text in quotes has no end");
      const char e = s_[i++];
      const char* const from = "\\'\"abfnrtv";
      if (const char* found = e == 0 ? nullptr : std::strchr(from, e))
        text += "\\'\"\a\b\f\n\r\t\v"[found - from];
      else if (e == 'x' || e == 'u' || e == 'U')
        hex(e == 'x' ? 2 : e == 'u' ? 4 : 8);
      else if (e == 'N' || digit(e))
        fail(fmt::format("the escape '\\{}' is not supported", e));
      else if (e != '\n')
        text += '\\', text += e;
    }
    put(Word::text, text);
    advance(i - at_);
  }

  void sign(std::string& open) {
    static const char* const two[] = {"**", "//", "==", "!=", ">=", "<="};
    for (const char* t : two) {
      if (!here(t)) continue;
      put(Word::op, t);
      return advance(2);
    }
    const char c = s_[at_];
    if (c == 0 || std::strchr("+-/*%~[](){}><=.:|,;", c) == nullptr)
      fail(fmt::format(
          "the character {} is not understood",
          c > 32 && c < 127 ? fmt::format("'{}'", c) : fmt::format("{:#04x}", static_cast<uint8_t>(c))));
    if (std::strchr("([{", c)) open += c;
    if (std::strchr(")]}", c)) {
      const char match = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (open.empty() || open.back() != match) fail(fmt::format("'{}' closes nothing", c));
      open.pop_back();
    }
    put(Word::op, std::string(1, c));
    advance(1);
  }

  const std::string& where_;
  std::string s_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> out_;
};

}  // namespace

std::vector<Token> lex(const std::string& source, const std::string& where) {
  return Lexer(source, where).run();
}

}  // namespace hedgerow::jinja
