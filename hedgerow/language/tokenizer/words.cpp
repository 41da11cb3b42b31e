// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/tokenizer/words.h"

#include <utf8proc.h>

#include <cstdlib>

#include "hedgerow/language/tokenizer/utf8.h"

namespace hedgerow {
namespace {

enum class Class : uint8_t { letter, number, space, newline, other };

Class class_of(int32_t c) {
  if (c < 0) return Class::other;
  if (c == '\n' || c == '\r') return Class::newline;
  if ((c >= 9 && c <= 13) || c == 0x85) return Class::space;
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return Class::letter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return Class::number;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return Class::space;
    default:
      return Class::other;
  }
}

struct Char {
  int32_t value;
  Class of;
  size_t at;
};

class Cutter {
 public:
  Cutter(std::string_view text, bool gpt2, int digits) : text_(text), gpt2_(gpt2), digits_(digits) {
    chars_.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const CodePoint c = code_point(text, at);
      chars_.push_back({c.value, class_of(c.value), at});
      at += static_cast<size_t>(c.bytes);
    }
  }
  void cut(std::vector<std::string_view>* to) const {
    for (size_t i = 0; i < chars_.size();) {
      const size_t end = word_end(i);
      to->push_back(text_.substr(chars_[i].at, at(end) - chars_[i].at));
      i = end;
    }
  }

 private:
  size_t at(size_t i) const { return i < chars_.size() ? chars_[i].at : text_.size(); }
  bool is(size_t i, Class c) const { return i < chars_.size() && chars_[i].of == c; }
  bool white(size_t i) const { return is(i, Class::space) || is(i, Class::newline); }
  bool blank(size_t i) const { return i < chars_.size() && chars_[i].value == ' '; }
  template <class F>
  size_t run(size_t i, F&& f) const {
    while (i < chars_.size() && f(i)) ++i;
    return i;
  }

  // 's 't 're 've 'm 'll 'd, of either case but in GPT-2's pattern; 0: none here.
  size_t contraction(size_t i) const {
    if (chars_[i].value != '\'' || i + 1 >= chars_.size()) return 0;
    const auto letter = [&](size_t k) {
      const int32_t c = k < chars_.size() ? chars_[k].value : 0;
      return !gpt2_ && c >= 'A' && c <= 'Z' ? c + 32 : c;
    };
    const int32_t a = letter(i + 1), b = letter(i + 2);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return i + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return i + 3;
    return 0;
  }

  size_t word_end(size_t i) const {
    if (const size_t end = contraction(i)) return end;
    const auto letters = [&](size_t k) { return run(k, [&](size_t j) { return is(j, Class::letter); }); };
    const auto others = [&](size_t k) { return run(k, [&](size_t j) { return is(j, Class::other); }); };
    if (gpt2_) {
      const size_t k = i + blank(i);
      if (is(k, Class::letter)) return letters(k);
      if (is(k, Class::number)) return run(k, [&](size_t j) { return is(j, Class::number); });
      if (is(k, Class::other)) return others(k);
    } else {
      if (is(i, Class::letter)) return letters(i);
      if ((is(i, Class::space) || is(i, Class::other)) && is(i + 1, Class::letter)) return letters(i + 1);
      if (is(i, Class::number)) {
        size_t k = i;
        while (k < i + static_cast<size_t>(digits_) && is(k, Class::number)) ++k;
        return k;
      }
      const size_t k = i + blank(i);
      if (is(k, Class::other)) return run(others(k), [&](size_t j) { return is(j, Class::newline); });
      // White space up to and with its last line end.
      const size_t end = run(i, [&](size_t j) { return white(j); });
      for (size_t j = end; j > i; --j)
        if (is(j - 1, Class::newline)) return j;
    }
    // White space but for the last before something else, which goes with that; alone it is a word.
    const size_t end = run(i, [&](size_t j) { return white(j); });
    return end == chars_.size() || end - i < 2 ? end : end - 1;
  }

  std::string_view text_;
  bool gpt2_;
  int digits_;
  std::vector<Char> chars_;
};

}  // namespace

std::vector<std::string_view> words_of(std::string_view text, PreTokenizer pre) {
  std::vector<std::string_view> words;
  if (pre != PreTokenizer::smollm) {
    Cutter(text, pre == PreTokenizer::gpt2, pre == PreTokenizer::llama3 ? 3 : 1).cut(&words);
    return words;
  }
  // Numbers one by one first, what lies between as GPT-2.
  size_t from = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point(text, at);
    const size_t next = at + static_cast<size_t>(c.bytes);
    if (class_of(c.value) == Class::number) {
      Cutter(text.substr(from, at - from), true, 1).cut(&words);
      words.push_back(text.substr(at, next - at));
      from = next;
    }
    at = next;
  }
  Cutter(text.substr(from), true, 1).cut(&words);
  return words;
}

std::string composed(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;  // valid UTF-8 from here on
    // U+11A7 composes with nothing, but utf8proc 2.8 loses it behind a Hangul syllable.
    bool ascii = true;
    while (end < text.size()) {
      const CodePoint c = code_point(text, end);
      if (c.value < 0 || c.value == 0x11a7) break;
      ascii = ascii && c.value < 0x80;
      end += static_cast<size_t>(c.bytes);
    }
    utf8proc_uint8_t* made = nullptr;
    const utf8proc_ssize_t n =
        ascii ? -1
              : utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at),
                             static_cast<utf8proc_ssize_t>(end - at), &made,
                             static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (n >= 0)
      out.append(reinterpret_cast<const char*>(made), static_cast<size_t>(n));
    else
      out.append(text.substr(at, end - at));
    std::free(made);
    if (end < text.size()) {
      const auto bytes = static_cast<size_t>(code_point(text, end).bytes);
      out += text.substr(end, bytes), end += bytes;
    }
    at = end;
  }
  return out;
}

}  // namespace hedgerow
