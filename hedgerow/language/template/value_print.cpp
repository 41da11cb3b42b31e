// SPDX-License-Identifier: Apache-2.0
// Values as text: Python's str() and repr(), and json.dumps.
#include <fmt/format.h>

#include <algorithm>

#include "hedgerow/core/error.h"
#include "hedgerow/language/template/value.h"

namespace hedgerow::jinja {
namespace {

std::string scalar(const Value& v, bool as_json) {
  if (v.none()) return as_json ? "null" : "None";
  if (const bool* b = v.as<bool>()) return as_json ? (*b ? "true" : "false") : (*b ? "True" : "False");
  if (const int64_t* i = v.as<int64_t>()) return std::to_string(*i);
  if (const double* d = v.as<double>()) {
    const std::string s = float_repr(*d);
    if (!as_json) return s;
    return s == "nan" ? "NaN" : s == "inf" ? "Infinity" : s == "-inf" ? "-Infinity" : s;
  }
  throw Error(std::string(as_json ? "tojson of a " : "printing a ") + type_name(v) + " is not supported");
}

void repr(Text& out, const Value& v, Budget& budget) {
  budget.step();
  if (const Text* t = v.text()) {
    budget.bytes(8 * t->size());
    append_repr(out, *t);
  } else if (const List* l = v.list(); l != nullptr && (l->kind == Seq::list || l->kind == Seq::tuple)) {
    const bool tuple = l->kind == Seq::tuple;
    out.append(tuple ? "(" : "[");
    for (size_t i = 0; i < l->items.size(); ++i) {
      if (i > 0) out.append(", ");
      repr(out, l->items[i], budget);
    }
    out.append(tuple ? (l->items.size() == 1 ? ",)" : ")") : "]");
  } else if (const Dict* d = v.dict()) {
    out.append("{");
    for (size_t i = 0; i < d->items.size(); ++i) {
      if (i > 0) out.append(", ");
      repr(out, d->items[i].first, budget);
      out.append(": ");
      repr(out, d->items[i].second, budget);
    }
    out.append("}");
  } else {
    budget.bytes(64);
    out.append(v.undefined() ? "Undefined" : scalar(v, false));
  }
}

struct JsonStyle {
  int indent;
  const std::string& comma;
  const std::string& colon;
  bool sort_keys;
};

void put_json(Text& out, const Value& v, const JsonStyle& style, int depth, Budget& budget) {
  budget.step();
  const auto line = [&](int d) {
    if (style.indent < 0) return;
    budget.bytes(2 * static_cast<size_t>(style.indent * d) + 2);
    out.append("\n");
    out.append(std::string(static_cast<size_t>(style.indent * d), ' '));
  };
  if (const Text* t = v.text()) {
    budget.bytes(12 * t->size());
    append_json(out, *t);
  } else if (const List* l = v.list(); l != nullptr && (l->kind == Seq::list || l->kind == Seq::tuple)) {
    if (l->items.empty()) return out.append("[]");
    out.append("[");
    for (size_t i = 0; i < l->items.size(); ++i) {
      budget.bytes(2 * style.comma.size());
      if (i > 0) out.append(style.comma);
      line(depth + 1);
      put_json(out, l->items[i], style, depth + 1, budget);
    }
    line(depth);
    out.append("]");
  } else if (const Dict* d = v.dict()) {
    if (d->items.empty()) return out.append("{}");
    auto items = d->items;
    budget.bytes(128 * items.size());
    if (style.sort_keys)
      std::stable_sort(items.begin(), items.end(),
                       [](const auto& a, const auto& b) { return less(a.first, b.first); });
    out.append("{");
    for (size_t i = 0; i < items.size(); ++i) {
      budget.bytes(2 * (style.comma.size() + style.colon.size()));
      if (i > 0) out.append(style.comma);
      line(depth + 1);
      if (items[i].first.text() != nullptr)
        put_json(out, items[i].first, style, depth, budget);
      else
        out.append(fmt::format("\"{}\"", scalar(items[i].first, true)));
      out.append(style.colon);
      put_json(out, items[i].second, style, depth + 1, budget);
    }
    line(depth);
    out.append("}");
  } else {
    budget.bytes(64);
    out.append(scalar(v, true));
  }
}

}  // namespace

Text str(const Value& v, Budget& budget) {
  if (const Text* t = v.text()) return *t;
  if (v.undefined()) return {};
  Text out;
  repr(out, v, budget);
  return out;
}

Text json(const Value& v, int indent, const std::string& comma, const std::string& colon, bool sort_keys,
          Budget& budget) {
  Text out;
  put_json(out, v, {.indent = indent, .comma = comma, .colon = colon, .sort_keys = sort_keys}, 0, budget);
  return out;
}

}  // namespace hedgerow::jinja
