// SPDX-License-Identifier: Apache-2.0
// Filters that walk over values, and the tests.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/template/interpreter.h"

namespace hedgerow::jinja {

Value Interpreter::list_filter(const std::string& name, const Value& v, const Arguments& a) {
  if (name == "first" || name == "last") {
    a.only(name, {});
    if (name == "last" && v.list() != nullptr) require(v.list()->kind != Seq::lazy, "'last' of an iterator");
    const std::vector<Value> items = walk(v, budget_);
    if (items.empty()) return {Undefined{fmt::format("the {} of nothing", name)}};
    return name == "first" ? items.front() : items.back();
  }
  if (name == "list") {
    a.only(name, {});
    return make_list(walk(v, budget_), budget_);
  }
  if (name == "reverse") {
    a.only(name, {});
    if (const Text* t = v.text()) return text(reversed(*t));
    std::vector<Value> items = walk(v, budget_);
    std::reverse(items.begin(), items.end());
    return make_list(std::move(items), budget_, Seq::lazy);
  }
  if (name == "items") {
    a.only(name, {});
    if (v.undefined()) return make_list({}, budget_, Seq::lazy);
    require(v.dict() != nullptr, std::string("items of a ") + type_name(v));
    return make_list(method(v, "items", a).list()->items, budget_, Seq::lazy);
  }
  if (name == "join") {
    a.only(name, {"d", "attribute"});
    const Value *d = a.get(0, "d"), *by = a.get(1, "attribute");
    std::vector<Value> items = walk(v, budget_);
    if (by != nullptr && !by->none())
      for (Value& i : items) i = path(i, want_text(*by, name).bytes);
    return join(d != nullptr ? str(*d, budget_) : Text(), items, false);
  }
  if (name == "unique") {
    a.only(name, {"case_sensitive", "attribute"});
    const Value *exact = a.get(0, "case_sensitive"), *by = a.get(1, "attribute");
    std::vector<Value> out, keys;
    for (const Value& i : walk(v, budget_)) {
      Value key = by != nullptr && !by->none() ? path(i, want_text(*by, name).bytes) : i;
      require(!key.list() && !key.dict(), "unique of lists or dicts is not supported");
      if (key.text() != nullptr && !(exact != nullptr && truth(*exact)))
        key = text(to_case(*key.text(), Case::lower));
      if (std::any_of(keys.begin(), keys.end(), [&](const Value& k) { return equal(k, key, budget_); }))
        continue;
      keys.push_back(std::move(key));
      out.push_back(i);
    }
    return make_list(std::move(out), budget_, Seq::lazy);
  }
  if (name != "map") throw Error(fmt::format("the filter '{}' is not supported here", printable(name)));
  std::vector<Value> out;
  if (a.given.empty()) {
    a.only("map", {"attribute", "default"});
    const Value *by = a.get(0, "attribute"), *other = a.get(1, "default");
    require(by != nullptr, "map wants a filter's name or an attribute");
    int64_t index = 0;
    for (const Value& i : walk(v, budget_)) {
      Value found = by->whole(index) ? item(i, *by) : path(i, want_text(*by, "map").bytes);
      out.push_back(found.undefined() && other != nullptr ? *other : std::move(found));
    }
    return make_list(std::move(out), budget_, Seq::lazy);
  }
  Arguments rest = a;
  rest.given.erase(rest.given.begin());
  const std::string inner = want_text(a.given[0], "map").bytes;
  for (const Value& i : walk(v, budget_)) {
    budget_.step();
    out.push_back(filter(inner, i, rest));
  }
  return make_list(std::move(out), budget_, Seq::lazy);
}

Value Interpreter::select(const std::string& name, const Value& v, const Arguments& a) {
  const bool by_attribute = name.size() > 6, keep = name[0] == 's';
  if (by_attribute && a.given.empty()) throw Error(fmt::format("{} wants an attribute", name));
  Arguments rest = a;
  const auto taken =
      static_cast<std::ptrdiff_t>(by_attribute) + (a.given.size() > static_cast<size_t>(by_attribute));
  rest.given.erase(rest.given.begin(), rest.given.begin() + taken);
  const bool tested = a.given.size() > static_cast<size_t>(by_attribute);
  const std::string wanted = tested ? want_text(a.given[by_attribute], name).bytes : "";
  std::vector<Value> out;
  for (const Value& i : walk(v, budget_)) {
    budget_.step();
    const Value of = by_attribute ? path(i, want_text(a.given[0], name).bytes) : i;
    if ((tested ? test(wanted, of, rest) : truth(of)) == keep) out.push_back(i);
  }
  return make_list(std::move(out), budget_, Seq::lazy);
}

bool known_test(const std::string& name) {
  static const char* const names[] = {
      "boolean", "defined",  "divisibleby", "eq",      "equalto", "even",     "false",
      "float",   "ge",       "greaterthan", "gt",      "in",      "integer",  "iterable",
      "le",      "lessthan", "lt",          "mapping", "ne",      "none",     "number",
      "odd",     "sameas",   "sequence",    "string",  "true",    "undefined"};
  return std::any_of(std::begin(names), std::end(names), [&](const char* s) { return name == s; });
}

bool Interpreter::test(const std::string& name, const Value& v, const Arguments& a) {
  static const char* const with_value[] = {"divisibleby", "eq", "equalto",  "ge", "greaterthan", "gt",
                                           "in",          "le", "lessthan", "lt", "ne",          "sameas"};
  const size_t wanted =
      std::any_of(std::begin(with_value), std::end(with_value), [&](const char* s) { return name == s; });
  if (a.given.size() != wanted || !a.named.empty())
    throw Error(fmt::format("the test '{}' takes {} values, found {}", name, wanted,
                            a.given.size() + a.named.size()));
  const bool* flag = v.as<bool>();
  double d = 0;
  if (name == "defined") return !v.undefined();
  if (name == "undefined") return v.undefined();
  if (name == "none") return v.none();
  if (name == "string") return v.text() != nullptr;
  if (name == "mapping") return v.dict() != nullptr;
  if (name == "boolean") return flag != nullptr;
  if (name == "true") return flag != nullptr && *flag;
  if (name == "false") return flag != nullptr && !*flag;
  if (name == "integer") return v.as<int64_t>() != nullptr;
  if (name == "float") return v.as<double>() != nullptr;
  if (name == "number") return v.number(d);
  if (name == "iterable") return v.text() || v.list() || v.dict() || v.undefined();
  if (name == "sequence")
    return v.text() || v.dict() || v.undefined() ||
           (v.list() && v.list()->kind != Seq::lazy && v.list()->kind != Seq::view);
  if (name == "odd" || name == "even")
    return (want_whole(v, fmt::format("the test '{}'", name)) % 2 == 0) == (name == "even");
  const Value& other = a.given[0];
  if (name == "divisibleby") {
    const int64_t by = want_whole(other, "divisibleby");
    require(by != 0, "division by zero");
    return by == -1 || want_whole(v, "divisibleby") % by == 0;
  }
  if (name == "in") return contains(other, v, budget_);
  if (name == "eq" || name == "equalto") return equal(v, other, budget_);
  if (name == "ne") return !equal(v, other, budget_);
  if (name == "sameas") {
    require(v.none() || other.none() || flag || other.as<bool>(),
            "sameas of anything but none, true and false is not supported");
    return v.v.index() == other.v.index() && equal(v, other, budget_);
  }
  if (name == "lt" || name == "lessthan") return less(v, other);
  if (name == "gt" || name == "greaterthan") return less(other, v);
  return (name == "le" ? less(v, other) : less(other, v)) || equal(v, other, budget_);
}

}  // namespace hedgerow::jinja
