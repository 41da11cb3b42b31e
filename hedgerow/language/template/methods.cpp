// SPDX-License-Identifier: Apache-2.0
// Methods of text and dicts, and strftime.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/template/interpreter.h"

namespace hedgerow::jinja {

const Text& want_text(const Value& v, const std::string& what) {
  if (v.text() == nullptr) throw Error(fmt::format("{} wants text, found {}", what, type_name(v)));
  return *v.text();
}

int64_t want_whole(const Value& v, const std::string& what) {
  int64_t out = 0;
  if (!v.whole(out)) throw Error(fmt::format("{} wants a whole number, found {}", what, type_name(v)));
  return out;
}

bool known_method(const std::string& name) {
  static const char* const names[] = {
      "strip",   "lstrip", "rstrip", "split", "rsplit",       "splitlines",  "startswith", "endswith",
      "replace", "upper",  "lower",  "title", "capitalize",   "join",        "find",       "count",
      "items",   "keys",   "values", "get",   "removeprefix", "removesuffix"};
  return std::any_of(std::begin(names), std::end(names), [&](const char* s) { return name == s; });
}

Value Interpreter::method(const Value& of, const std::string& name, const Arguments& a) {
  if (const auto* u = of.as<Undefined>())
    throw Error(fmt::format("'{}' is undefined, and its method '{}' was called", printable(u->name), name));
  if (const Text* t = of.text()) {
    if (name != "items" && name != "keys" && name != "values" && name != "get")
      return text_method(*t, name, a);
  } else if (const Dict* d = of.dict()) {
    if (name == "get") {
      a.only("get", {"key", "default"});
      require(!a.given.empty() && a.named.empty(), "get wants a key");
      if (const Value* v = find(*d, a.given[0], budget_)) return *v;
      return a.given.size() > 1 ? a.given[1] : Value{None{}};
    }
    if (name == "items" || name == "keys" || name == "values") {
      a.only(name, {});
      std::vector<Value> out;
      for (const auto& [key, value] : d->items) {
        if (name == "items")
          out.push_back(make_list({key, value}, budget_, Seq::tuple));
        else
          out.push_back(name == "keys" ? key : value);
      }
      return make_list(std::move(out), budget_, Seq::view);
    }
    if (const Value* v = find(*d, text(Text(name)), budget_)) return call(*v, a);
  } else if (of.as<Namespace*>() != nullptr) {
    return call(attribute(of, name), a);
  }
  throw Error(fmt::format("a {} has no method '{}' that is supported", type_name(of), name));
}

Value Interpreter::text_method(const Text& t, const std::string& name, const Arguments& a) {
  require(a.named.empty(), "named arguments of '" + name + "' are not supported");
  budget_.step(static_cast<int64_t>(t.size() / 64));
  budget_.bytes(2 * t.size());
  const size_t most =
      name == "replace"                     ? 3
      : name == "split" || name == "rsplit" ? 2
      : name == "upper" || name == "lower" || name == "title" || name == "capitalize" || name == "splitlines"
          ? 0
          : 1;
  if (a.given.size() > most)
    throw Error(fmt::format("'{}' with {} arguments is not supported", name, a.given.size()));
  const auto argument = [&](size_t at) -> const Text& {
    if (at >= a.given.size()) throw Error(fmt::format("'{}' wants more arguments", name));
    return want_text(a.given[at], fmt::format("'{}'", name));
  };
  const bool plain = a.given.empty() || a.given[0].none();
  const auto list = [&](std::vector<Text> parts) {
    std::vector<Value> out;
    for (Text& part : parts) out.push_back(text(std::move(part)));
    return make_list(std::move(out), budget_);
  };
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const Side side = name == "strip" ? Side::both : name == "lstrip" ? Side::left : Side::right;
    return text(plain ? strip(t, side) : strip(t, side, argument(0).bytes));
  }
  if (name == "split") {
    const int64_t most_parts = a.given.size() > 1 ? want_whole(a.given[1], "split") : -1;
    return list(plain ? split_spaces(t, most_parts, budget_)
                      : split_at(t, argument(0).bytes, most_parts, budget_));
  }
  if (name == "rsplit") {
    const int64_t most_parts = a.given.size() > 1 ? want_whole(a.given[1], "rsplit") : -1;
    require(most_parts < 0 || !plain, "'rsplit' at white space with a limit is not supported");
    if (plain) return list(split_spaces(t, -1, budget_));
    const std::string separator(argument(0).bytes.rbegin(), argument(0).bytes.rend());
    const auto turned = [](Text x) {
      std::reverse(x.bytes.begin(), x.bytes.end());
      std::reverse(x.marks.begin(), x.marks.end());
      return x;
    };
    std::vector<Text> parts = split_at(turned(t), separator, most_parts, budget_);
    std::reverse(parts.begin(), parts.end());
    for (Text& part : parts) part = turned(std::move(part));
    return list(std::move(parts));
  }
  if (name == "splitlines") return list(split_lines(t, budget_));
  if (name == "startswith" || name == "endswith") {
    require(!a.given.empty(), fmt::format("'{}' wants a text", name));
    const auto fits = [&](const Text& s) {
      return s.size() <= t.size() &&
             t.bytes.compare(name == "endswith" ? t.size() - s.size() : 0, s.size(), s.bytes) == 0;
    };
    const List* l = a.given[0].list();
    if (l == nullptr || l->kind != Seq::tuple) return {fits(argument(0))};
    for (const Value& v : l->items) {
      budget_.step();
      if (fits(want_text(v, fmt::format("'{}'", name)))) return {true};
    }
    return {false};
  }
  if (name == "removeprefix" || name == "removesuffix") {
    const Text& s = argument(0);
    const bool front = name == "removeprefix";
    if (s.size() > t.size() || t.bytes.compare(front ? 0 : t.size() - s.size(), s.size(), s.bytes) != 0)
      return text(t);
    return text(front ? t.sub(s.size()) : t.sub(0, t.size() - s.size()));
  }
  if (name == "replace") {
    const int64_t times = a.given.size() > 2 ? want_whole(a.given[2], "replace") : -1;
    return text(replace(t, argument(0).bytes, argument(1), times, budget_));
  }
  if (name == "find") {
    const size_t at = t.bytes.find(argument(0).bytes);
    return {at == std::string::npos ? int64_t{-1}
                                    : static_cast<int64_t>(count_points(t.bytes.substr(0, at)))};
  }
  if (name == "count") {
    if (argument(0).empty()) return {static_cast<int64_t>(count_points(t.bytes)) + 1};
    return {static_cast<int64_t>(split_at(t, argument(0).bytes, -1, budget_).size()) - 1};
  }
  if (name == "join") {
    require(!a.given.empty(), "'join' wants values");
    require(!a.given[0].undefined(), "'join' of something undefined");
    return join(t, walk(a.given[0], budget_), true);
  }
  return text(to_case(t, name == "upper"   ? Case::upper
                         : name == "lower" ? Case::lower
                         : name == "title" ? Case::title
                                           : Case::capitalize));
}

Value Interpreter::join(const Text& separator, const std::vector<Value>& items, bool only_text) {
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    budget_.step();
    if (i > 0) put(out, separator);
    if (only_text) want_text(items[i], "'join'");
    put(out, str(items[i], budget_));
  }
  return text(std::move(out));
}

std::string clock_text(int64_t now, const std::string& format) {
  static const char* const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                     "Thursday", "Friday", "Saturday"};
  static const char* const months[] = {"January", "February", "March",     "April",   "May",      "June",
                                       "July",    "August",   "September", "October", "November", "December"};
  std::tm t{};
  const std::time_t seconds = now;
  require(now >= 0 && now < 253402300800 && gmtime_r(&seconds, &t) != nullptr,
          "the clock is outside the years 1970 to 9999");
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    const char c = format[++i];
    const int hour = t.tm_hour % 12 == 0 ? 12 : t.tm_hour % 12;
    switch (c) {
      case 'Y':
        out += fmt::format("{}", t.tm_year + 1900);
        break;
      case 'y':
        out += fmt::format("{:02}", t.tm_year % 100);
        break;
      case 'm':
        out += fmt::format("{:02}", t.tm_mon + 1);
        break;
      case 'd':
        out += fmt::format("{:02}", t.tm_mday);
        break;
      case 'e':
        out += fmt::format("{:2}", t.tm_mday);
        break;
      case 'H':
        out += fmt::format("{:02}", t.tm_hour);
        break;
      case 'I':
        out += fmt::format("{:02}", hour);
        break;
      case 'M':
        out += fmt::format("{:02}", t.tm_min);
        break;
      case 'S':
        out += fmt::format("{:02}", t.tm_sec);
        break;
      case 'j':
        out += fmt::format("{:03}", t.tm_yday + 1);
        break;
      case 'p':
        out += t.tm_hour < 12 ? "AM" : "PM";
        break;
      case 'A':
        out += days[t.tm_wday];
        break;
      case 'a':
        out += std::string(days[t.tm_wday], 3);
        break;
      case 'B':
        out += months[t.tm_mon];
        break;
      case 'b':
        out += std::string(months[t.tm_mon], 3);
        break;
      case 'F':
        out += clock_text(now, "%Y-%m-%d");
        break;
      case 'T':
        out += clock_text(now, "%H:%M:%S");
        break;
      case 'D':
        out += clock_text(now, "%m/%d/%y");
        break;
      case '%':
        out += '%';
        break;
      default:
        throw Error(fmt::format("strftime_now's '%{}' is not supported", printable(std::string(1, c))));
    }
  }
  return out;
}

}  // namespace hedgerow::jinja
