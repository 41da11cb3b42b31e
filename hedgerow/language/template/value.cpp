// SPDX-License-Identifier: Apache-2.0
// Truth, equality, order, membership and length, as Python has them.
#include "hedgerow/language/template/value.h"

#include <algorithm>
#include <cmath>

#include "hedgerow/core/error.h"

namespace hedgerow::jinja {
namespace {

// Lists in lists: a template that nests deeper is refused, so that nothing here recurses far.
constexpr int kMostDepth = 40;

int depth_of(const Value& v) {
  if (const List* l = v.list()) return l->depth;
  if (const Dict* d = v.dict()) return d->depth;
  return 0;
}

int deeper(int depth) {
  require(depth < kMostDepth, "lists and dicts nest deeper than a chat template may");
  return depth + 1;
}

}  // namespace

bool Value::whole(int64_t& out) const {
  if (const bool* b = as<bool>()) return out = *b, true;
  if (const int64_t* i = as<int64_t>()) return out = *i, true;
  return false;
}

bool Value::number(double& out) const {
  int64_t i = 0;
  if (whole(i)) return out = static_cast<double>(i), true;
  if (const double* d = as<double>()) return out = *d, true;
  return false;
}

Value make_text(Text t, Budget& budget) {
  budget.bytes(2 * t.size() + 64);
  return {std::make_shared<const Text>(std::move(t))};
}

Value make_list(std::vector<Value> items, Budget& budget, Seq kind) {
  budget.bytes(64 * items.size() + 64);
  List out;
  out.kind = kind;
  int depth = 0;
  for (const Value& v : items) depth = std::max(depth, depth_of(v));
  out.depth = deeper(depth);
  out.items = std::move(items);
  return {std::make_shared<const List>(std::move(out))};
}

Value make_dict(std::vector<std::pair<Value, Value>> items, Budget& budget) {
  budget.bytes(128 * items.size() + 64);
  Dict out;
  int depth = 0;
  for (auto& [key, value] : items) {
    require(
        key.text() || key.none() || key.as<bool>() || key.as<int64_t>(),
        std::string("a dict's key is a ") + type_name(key) + ": only text and whole numbers are supported");
    depth = std::max(depth, depth_of(value));
    bool had = false;
    for (auto& old : out.items) {
      budget.step();
      if (equal(old.first, key, budget)) old.second = value, had = true;
    }
    if (!had) out.items.emplace_back(key, value);
  }
  out.depth = deeper(depth);
  return {std::make_shared<const Dict>(std::move(out))};
}

const char* type_name(const Value& v) {
  static const char* const names[] = {"undefined", "None", "bool",      "int",   "float",   "str",
                                      "list",      "dict", "namespace", "macro", "function"};
  if (const List* l = v.list()) {
    static const char* const kinds[] = {"list", "tuple", "iterator", "view", "range"};
    return kinds[static_cast<int>(l->kind)];
  }
  return names[v.v.index()];
}

bool truth(const Value& v) {
  double d = 0;
  if (v.number(d)) return d != 0;
  if (const Text* t = v.text()) return !t->empty();
  if (const List* l = v.list()) return l->kind == Seq::lazy || !l->items.empty();
  if (const Dict* x = v.dict()) return !x->items.empty();
  return !v.undefined() && !v.none();
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.step();
  int64_t i = 0, j = 0;
  if (a.whole(i) && b.whole(j)) return i == j;
  double x = 0, y = 0;
  if (a.number(x) && b.number(y)) return x == y;
  if (a.v.index() != b.v.index()) return false;
  if (a.undefined() || a.none()) return true;
  if (const Text* t = a.text()) {
    budget.step(static_cast<int64_t>(t->size() / 256));
    return t->bytes == b.text()->bytes;
  }
  if (const List* l = a.list()) {
    const List* r = b.list();
    if (l == r) return true;
    if (l->kind != r->kind || l->items.size() != r->items.size() || l->kind == Seq::lazy) return false;
    require(l->kind != Seq::view, "comparing a dict's views is not supported");
    for (size_t at = 0; at < l->items.size(); ++at)
      if (!equal(l->items[at], r->items[at], budget)) return false;
    return true;
  }
  if (const Dict* d = a.dict()) {
    const Dict* r = b.dict();
    if (d->items.size() != r->items.size()) return false;
    for (const auto& [key, value] : d->items) {
      const Value* other = find(*r, key, budget);
      if (other == nullptr || !equal(value, *other, budget)) return false;
    }
    return true;
  }
  if (const auto* n = a.as<Namespace*>()) return *n == *b.as<Namespace*>();
  if (const auto* m = a.as<const Macro*>()) return *m == *b.as<const Macro*>();
  return *a.as<Function>() == *b.as<Function>();
}

bool less(const Value& a, const Value& b) {
  int64_t i = 0, j = 0;
  if (a.whole(i) && b.whole(j)) return i < j;
  double x = 0, y = 0;
  if (a.number(x) && b.number(y)) return x < y;
  if (a.text() && b.text()) return a.text()->bytes < b.text()->bytes;
  throw Error(std::string("cannot compare ") + type_name(a) + " with " + type_name(b));
}

const Value* find(const Dict& d, const Value& key, Budget& budget) {
  for (const auto& item : d.items)
    if (equal(item.first, key, budget)) return &item.second;
  return nullptr;
}

bool contains(const Value& in, const Value& item, Budget& budget) {
  if (const Text* t = in.text()) {
    if (item.text() == nullptr) throw Error(std::string("'in' of text needs text, found ") + type_name(item));
    budget.step(static_cast<int64_t>(t->size() / 64));
    return t->bytes.find(item.text()->bytes) != std::string::npos;
  }
  if (const Dict* d = in.dict()) {
    require(item.list() == nullptr && item.dict() == nullptr, "a list or dict is never a dict's key");
    return find(*d, item, budget) != nullptr;
  }
  for (const Value& v : walk(in, budget))
    if (equal(v, item, budget)) return true;
  return false;
}

int64_t length(const Value& v) {
  if (v.undefined()) return 0;
  if (const Text* t = v.text()) return static_cast<int64_t>(count_points(t->bytes));
  if (const Dict* d = v.dict()) return static_cast<int64_t>(d->items.size());
  if (const List* l = v.list(); l != nullptr && l->kind != Seq::lazy)
    return static_cast<int64_t>(l->items.size());
  throw Error(std::string("a ") + type_name(v) + " has no length");
}

std::vector<Value> walk(const Value& v, Budget& budget) {
  std::vector<Value> out;
  if (v.undefined()) return out;
  if (const List* l = v.list()) {
    budget.bytes(64 * l->items.size());
    if (l->kind == Seq::lazy && std::exchange(l->spent, true)) return out;
    return l->items;
  }
  if (const Dict* d = v.dict()) {
    budget.bytes(64 * d->items.size());
    for (const auto& item : d->items) out.push_back(item.first);
    return out;
  }
  if (const Text* t = v.text()) {
    const std::vector<size_t> starts = point_starts(t->bytes);
    for (size_t i = 0; i + 1 < starts.size(); ++i)
      out.push_back(make_text(t->sub(starts[i], starts[i + 1] - starts[i]), budget));
    return out;
  }
  throw Error(std::string("cannot walk over a ") + type_name(v));
}

}  // namespace hedgerow::jinja
