// SPDX-License-Identifier: Apache-2.0
// Expressions: names, attributes and items, slices, comparisons.
#include <fmt/format.h>

#include <algorithm>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/template/interpreter.h"

namespace hedgerow::jinja {
namespace {

// Attributes that Python's types have and that Jinja would find before a dict's key.
bool python_attribute(const Value& of, const std::string& name) {
  static const char* const dicts[] = {"clear", "copy",    "fromkeys",   "get",    "items", "keys",
                                      "pop",   "popitem", "setdefault", "update", "values"};
  if (of.dict() != nullptr)
    return std::any_of(std::begin(dicts), std::end(dicts), [&](const char* s) { return name == s; });
  static const char* const others[] = {"append", "clear", "count", "copy", "extend",    "format", "index",
                                       "insert", "join",  "real",  "imag", "numerator", "pop",    "remove",
                                       "sort",   "start", "stop",  "step", "reverse",   "find"};
  return (of.text() || of.list()) &&
         (known_method(name) ||
          std::any_of(std::begin(others), std::end(others), [&](const char* s) { return name == s; }));
}

}  // namespace

Value Interpreter::evaluate(const Node& n) {
  const Deeper deeper(*this);
  budget_.step();
  line_ = n.line;
  switch (n.op) {
    case Op::constant:
      return n.value;
    case Op::name:
      if (const Value* v = look_up(n.text)) return *v;
      return {Undefined{n.text}};
    case Op::list:
    case Op::tuple: {
      std::vector<Value> items;
      for (const NodePtr& part : n.a) items.push_back(evaluate(*part));
      return make_list(std::move(items), budget_, n.op == Op::list ? Seq::list : Seq::tuple);
    }
    case Op::dict:
      return evaluate_dict(n);
    case Op::attribute:
      return attribute(evaluate(*n.a[0]), n.text);
    case Op::loop:
      return evaluate_loop(n);
    case Op::item: {
      const Value of = evaluate(*n.a[0]);
      return item(of, evaluate(*n.a[1]));
    }
    case Op::slice:
      return evaluate_slice(n);
    case Op::call: {
      const Value callee = evaluate(*n.a[0]);
      const Arguments a = arguments(n, 1);
      line_ = n.line;
      return call(callee, a);
    }
    case Op::method:
    case Op::filter:
    case Op::test: {
      const Value of = evaluate(*n.a[0]);
      const Arguments a = arguments(n, 1);
      line_ = n.line;
      if (n.op == Op::method) return method(of, n.text, a);
      if (n.op == Op::filter) return filter(n.text, of, a);
      return {test(n.text, of, a)};
    }
    case Op::logical_not:
      return {!truth(evaluate(*n.a[0]))};
    case Op::logical_and:
    case Op::logical_or: {
      Value left = evaluate(*n.a[0]);
      return truth(left) == (n.op == Op::logical_or) ? left : evaluate(*n.a[1]);
    }
    case Op::choose:
      if (truth(evaluate(*n.a[1]))) return evaluate(*n.a[0]);
      return n.a[2] ? evaluate(*n.a[2]) : Value{Undefined{"the else of an if expression"}};
    case Op::compare:
      return evaluate_compare(n);
    case Op::concat:
      return concat(n);
    case Op::negate:
    case Op::positive: {
      const Value of = evaluate(*n.a[0]);
      if (const double* d = of.as<double>()) return {n.op == Op::negate ? -*d : *d};
      return binary(n.op == Op::negate ? Op::subtract : Op::add, {int64_t{0}}, of);
    }
    default: {
      const Value left = evaluate(*n.a[0]);
      const Value right = evaluate(*n.a[1]);
      line_ = n.line;
      return binary(n.op, left, right);
    }
  }
}

Value Interpreter::evaluate_dict(const Node& n) {
  std::vector<std::pair<Value, Value>> items;
  for (size_t i = 0; i + 1 < n.a.size(); i += 2) {
    Value key = evaluate(*n.a[i]);
    items.emplace_back(std::move(key), evaluate(*n.a[i + 1]));
  }
  return make_dict(std::move(items), budget_);
}

Value Interpreter::evaluate_compare(const Node& n) {
  Value left = evaluate(*n.a[0]);
  for (size_t i = 0; i < n.words.size(); ++i) {
    const Value right = evaluate(*n.a[i + 1]);
    const std::string& w = n.words[i];
    bool ok = false;
    if (w == "==" || w == "!=")
      ok = equal(left, right, budget_) == (w == "==");
    else if (w == "in" || w == "not in")
      ok = contains(right, left, budget_) == (w == "in");
    else if (w == "<" || w == ">")
      ok = w == "<" ? less(left, right) : less(right, left);
    else
      ok = (w == "<=" ? less(left, right) : less(right, left)) || equal(left, right, budget_);
    if (!ok) return {false};
    left = right;
  }
  return {true};
}

Value Interpreter::evaluate_loop(const Node& n) {
  if (loop_ == nullptr) throw Error("'loop' is undefined here");
  const auto at = static_cast<int64_t>(loop_->at), size = static_cast<int64_t>(loop_->items.size());
  const std::string& s = n.text;
  if (s == "index") return {at + 1};
  if (s == "index0") return {at};
  if (s == "revindex") return {size - at};
  if (s == "revindex0") return {size - at - 1};
  if (s == "first") return {at == 0};
  if (s == "last") return {at == size - 1};
  if (s == "length") return {size};
  if (s == "depth") return {int64_t{loop_->depth}};
  if (s == "depth0") return {int64_t{loop_->depth - 1}};
  if (s == "previtem") return at == 0 ? Value{Undefined{"loop.previtem"}} : loop_->items[loop_->at - 1];
  if (s == "nextitem")
    return at + 1 == size ? Value{Undefined{"loop.nextitem"}} : loop_->items[loop_->at + 1];
  const Arguments a = arguments(n, 0);
  return a.given[loop_->at % a.given.size()];
}

Value Interpreter::attribute(const Value& of, const std::string& name) {
  if (const auto* u = of.as<Undefined>())
    throw Error(fmt::format("'{}' is undefined, and its attribute '{}' was wanted", printable(u->name),
                            printable(name)));
  if (python_attribute(of, name))
    throw Error(fmt::format("the method '{}' without a call is not supported", printable(name)));
  if (const auto* space = of.as<Namespace*>()) {
    for (const auto& i : (*space)->items)
      if (i.first == name) return i.second;
  } else if (const Dict* d = of.dict()) {
    if (const Value* v = find(*d, {std::make_shared<const Text>(name)}, budget_)) return *v;
  } else if (of.as<const Macro*>() || of.as<Function>()) {
    throw Error("attributes of macros and functions are not supported");
  }
  return {Undefined{name}};
}

Value Interpreter::item(const Value& of, const Value& key) {
  if (const auto* u = of.as<Undefined>())
    throw Error(fmt::format("'{}' is undefined, and an item of it was wanted", printable(u->name)));
  if (const Dict* d = of.dict())
    if (const Value* v = find(*d, key, budget_)) return *v;
  int64_t at = 0;
  if (key.whole(at)) {
    if (const List* l = of.list(); l != nullptr && l->kind != Seq::lazy && l->kind != Seq::view) {
      const auto size = static_cast<int64_t>(l->items.size());
      if (at < 0) at += size;
      if (at >= 0 && at < size) return l->items[static_cast<size_t>(at)];
    } else if (const Text* t = of.text()) {
      budget_.step(static_cast<int64_t>(t->size() / 64));
      const std::vector<size_t> starts = point_starts(t->bytes);
      const auto size = static_cast<int64_t>(starts.size()) - 1;
      if (at < 0) at += size;
      if (at >= 0 && at < size) {
        const auto i = static_cast<size_t>(at);
        return text(t->sub(starts[i], starts[i + 1] - starts[i]));
      }
    }
    return {Undefined{"an item"}};
  }
  return key.text() != nullptr ? attribute(of, key.text()->bytes) : Value{Undefined{"an item"}};
}

Value Interpreter::path(const Value& of, const std::string& dotted) {
  Value out = of;
  for (const Text& part : split_at(Text(dotted), ".", -1, budget_)) {
    const bool digits = !part.empty() && part.bytes.find_first_not_of("0123456789") == std::string::npos;
    if (digits && part.size() > 9) throw Error("an index is longer than we read");
    out = digits ? item(out, {int64_t{std::stoi(part.bytes)}}) : item(out, text(part));
  }
  return out;
}

Value Interpreter::evaluate_slice(const Node& n) {
  const Value of = evaluate(*n.a[0]);
  Value parts[3] = {{None{}}, {None{}}, {None{}}};
  for (size_t i = 0; i < 3; ++i)
    if (n.a[i + 1]) parts[i] = evaluate(*n.a[i + 1]);
  const Text* t = of.text();
  const List* l = of.list();
  if (t == nullptr && (l == nullptr || l->kind == Seq::lazy || l->kind == Seq::view)) {
    throw Error(std::string("a slice of a ") + type_name(of) + " is not supported");
  }
  budget_.step(t != nullptr ? static_cast<int64_t>(t->size() / 64) : 1);
  const std::vector<size_t> starts = t != nullptr ? point_starts(t->bytes) : std::vector<size_t>{};
  const auto size = static_cast<int64_t>(t != nullptr ? starts.size() - 1 : l->items.size());
  const int64_t by = parts[2].none() ? 1 : want_whole(parts[2], "a slice");
  require(by != 0, "a slice's step is zero");
  const auto bound = [&](const Value& v, int64_t fallback) {
    if (v.none()) return fallback;
    const int64_t at = want_whole(v, "a slice");
    const int64_t low = by < 0 ? -1 : 0, high = by < 0 ? size - 1 : size;
    return at < 0 ? std::max(at < -size ? low : at + size, low) : std::min(at, high);
  };
  const int64_t begin = bound(parts[0], by < 0 ? size - 1 : 0), end = bound(parts[1], by < 0 ? -1 : size);
  Text cut;
  std::vector<Value> items;
  for (int64_t at = begin; by > 0 ? at < end : at > end;) {
    const auto i = static_cast<size_t>(at);
    if (t != nullptr && by == 1) {
      cut = t->sub(starts[i], starts[static_cast<size_t>(end)] - starts[i]);
      break;
    }
    if (t != nullptr)
      cut.append(t->sub(starts[i], starts[i + 1] - starts[i]));
    else
      items.push_back(l->items[i]);
    if (__builtin_add_overflow(at, by, &at)) break;
  }
  return t != nullptr ? text(std::move(cut)) : make_list(std::move(items), budget_, l->kind);
}

Arguments Interpreter::arguments(const Node& n, size_t first) {
  Arguments out;
  for (size_t i = first; i < n.a.size(); ++i) out.given.push_back(evaluate(*n.a[i]));
  for (const auto& [name, part] : n.named) out.named.push_back({.name = name, .value = evaluate(*part)});
  return out;
}

}  // namespace hedgerow::jinja
