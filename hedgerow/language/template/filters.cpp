// SPDX-License-Identifier: Apache-2.0
// Filters that give text or numbers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/template/interpreter.h"

namespace hedgerow::jinja {

bool known_filter(const std::string& name) {
  static const char* const names[] = {"abs",     "capitalize", "count",  "d",     "default", "first",
                                      "float",   "indent",     "int",    "items", "join",    "last",
                                      "length",  "list",       "lower",  "map",   "reject",  "rejectattr",
                                      "replace", "reverse",    "round",  "safe",  "select",  "selectattr",
                                      "string",  "title",      "tojson", "trim",  "unique",  "upper"};
  return std::any_of(std::begin(names), std::end(names), [&](const char* s) { return name == s; });
}

Value Interpreter::filter(const std::string& name, const Value& v, const Arguments& a) {
  if (name == "default" || name == "d") {
    a.only("default", {"default_value", "boolean"});
    const Value* boolean = a.get(1, "boolean");
    if (!v.undefined() && !(boolean != nullptr && truth(*boolean) && !truth(v))) return v;
    const Value* other = a.get(0, "default_value");
    return other != nullptr ? *other : text(Text());
  }
  if (name == "tojson") return to_json(v, a);
  if (name == "length" || name == "count") {
    a.only(name, {});
    return {length(v)};
  }
  if (name == "int" || name == "float" || name == "round" || name == "abs") return number_filter(name, v, a);
  if (name == "trim" || name == "upper" || name == "lower" || name == "capitalize" || name == "title" ||
      name == "string" || name == "replace" || name == "indent")
    return text_filter(name, v, a);
  if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr")
    return select(name, v, a);
  return list_filter(name, v, a);
}

Value Interpreter::to_json(const Value& v, const Arguments& a) {
  a.only("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  const Value *ascii = a.get(0, "ensure_ascii"), *indent = a.get(1, "indent"),
              *separators = a.get(2, "separators"), *sort = a.get(3, "sort_keys");
  require(ascii == nullptr || !truth(*ascii), "tojson with ensure_ascii is not supported");
  int spaces = -1;
  if (indent != nullptr && !indent->none()) {
    const int64_t n = want_whole(*indent, "tojson's indent");
    require(n >= 0 && n <= 64, "tojson's indent is not in 0 to 64");
    spaces = static_cast<int>(n);
  }
  std::string comma = spaces < 0 ? ", " : ",", colon = ": ";
  if (separators != nullptr && !separators->none()) {
    const List* l = separators->list();
    require(l != nullptr && l->items.size() == 2, "tojson's separators are not a pair");
    comma = want_text(l->items[0], "tojson's separators").bytes;
    colon = want_text(l->items[1], "tojson's separators").bytes;
  }
  return text(json(v, spaces, comma, colon, sort != nullptr && truth(*sort), budget_));
}

Value Interpreter::text_filter(const std::string& name, const Value& v, const Arguments& a) {
  const Text t = str(v, budget_);
  budget_.step(static_cast<int64_t>(t.size() / 64));
  budget_.bytes(4 * t.size());
  if (name == "trim") {
    a.only(name, {"chars"});
    const Value* chars = a.get(0, "chars");
    return text(chars == nullptr || chars->none() ? strip(t, Side::both)
                                                  : strip(t, Side::both, want_text(*chars, "trim").bytes));
  }
  if (name == "replace") {
    a.only(name, {"old", "new", "count"});
    const Value *from = a.get(0, "old"), *to = a.get(1, "new"), *count = a.get(2, "count");
    require(from != nullptr && to != nullptr, "replace wants two texts");
    return text(jinja::replace(t, want_text(*from, name).bytes, want_text(*to, name),
                               count == nullptr || count->none() ? -1 : want_whole(*count, name), budget_));
  }
  if (name == "indent") {
    a.only(name, {"width", "first", "blank"});
    const Value *width = a.get(0, "width"), *first = a.get(1, "first"), *blank = a.get(2, "blank");
    Text by("    ");
    if (width != nullptr && width->text() != nullptr) {
      by = *width->text();
    } else if (width != nullptr) {
      const int64_t n = want_whole(*width, name);
      require(n <= 1024, "indent by more than 1024");
      by = Text(std::string(static_cast<size_t>(std::max<int64_t>(0, n)), ' '));
    }
    Text whole = want_text(v, name);
    whole.append("\n");
    const std::vector<Text> lines = split_lines(whole, budget_);
    Text out;
    for (size_t i = 0; i < lines.size(); ++i) {
      if (i > 0) put(out, Text("\n"));
      const bool filled = !lines[i].empty() || (blank != nullptr && truth(*blank));
      if (i == 0 ? first != nullptr && truth(*first) : filled) put(out, by);
      put(out, lines[i]);
    }
    return text(std::move(out));
  }
  a.only(name, {});
  if (name == "string") return text(t);
  return text(to_case(t, name == "upper"   ? Case::upper
                         : name == "lower" ? Case::lower
                         : name == "title" ? Case::title_filter
                                           : Case::capitalize));
}

Value Interpreter::number_filter(const std::string& name, const Value& v, const Arguments& a) {
  double d = 0;
  int64_t i = 0;
  if (name == "abs") {
    a.only(name, {});
    if (v.whole(i)) return i < 0 ? binary(Op::subtract, {int64_t{0}}, {i}) : Value{i};
    require(v.number(d), std::string("abs of a ") + type_name(v));
    return {std::abs(d)};
  }
  if (name == "round") {
    a.only(name, {"precision", "method"});
    const Value *precision = a.get(0, "precision"), *how = a.get(1, "method");
    const std::string method = how == nullptr ? "common" : want_text(*how, name).bytes;
    const int64_t digits = precision == nullptr ? 0 : want_whole(*precision, name);
    require(v.number(d) && std::isfinite(d), std::string("round of a ") + type_name(v));
    require(digits >= 0 && digits <= 15 && (digits == 0 || method == "common"),
            "round with this precision is not supported");
    if (method == "ceil") return {std::ceil(d)};
    if (method == "floor") return {std::floor(d)};
    require(method == "common",
            fmt::format("round with the method '{}' is not supported", printable(method)));
    if (v.whole(i)) return {i};
    return {std::copysign(read_float(fmt::format("{:.{}f}", std::abs(d), digits)), d)};
  }
  a.only(name, {"default"});
  const Value* other = a.get(0, "default");
  const bool to_int = name == "int";
  if (v.whole(i)) return to_int ? Value{i} : Value{static_cast<double>(i)};
  bool good = v.number(d);
  if (const Text* t = v.text()) {
    std::string s = strip(*t, Side::both).bytes;
    const bool minus = !s.empty() && s[0] == '-';
    if (!s.empty() && (s[0] == '-' || s[0] == '+')) s.erase(0, 1);
    // Python reads more than this (underscores, other scripts' digits, inf): none of it is a number here.
    require(s.size() < 400 && s.find('_') == std::string::npos, "a number is longer or odder than we read");
    if (to_int && !s.empty() && s.size() <= 18 && s.find_first_not_of("0123456789") == std::string::npos)
      return {(minus ? -1 : 1) * static_cast<int64_t>(std::stoll(s))};
    if (s.size() > 1 && s.back() == '.') s.pop_back();
    if (!s.empty() && (s[0] == '.' || (s[0] >= '0' && s[0] <= '9'))) d = read_float(s), good = !std::isnan(d);
    if (minus) d = -d;
  } else if (!good && !v.none() && !v.list() && !v.dict()) {
    throw Error(fmt::format("{} of a {} is not supported", name, type_name(v)));
  }
  if (!good) return other != nullptr ? *other : to_int ? Value{int64_t{0}} : Value{0.0};
  if (!to_int) return {d};
  require(std::abs(d) < 9e15, "whole numbers beyond 2^53 from a float are not supported");
  return {static_cast<int64_t>(d)};
}

}  // namespace hedgerow::jinja
