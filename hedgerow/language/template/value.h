// SPDX-License-Identifier: Apache-2.0
// What an expression of a template can be. Lists and dicts never change once made (the sandbox sees to it),
// so values share them; only a namespace changes, and the rendering owns those.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "hedgerow/language/template/text.h"

namespace hedgerow::jinja {

struct Value;
struct Macro;
struct Undefined {
  std::string name;  // what was looked for, for messages
};
struct None {};
// Python tells them apart when printed, measured or walked twice: `lazy` is an iterator, `view` a dict's.
enum class Seq { list, tuple, lazy, view, range };
struct List {
  Seq kind = Seq::list;
  std::vector<Value> items;
  int depth = 1;
  mutable bool spent = false;  // an iterator that has been walked
};
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  int depth = 1;
};
struct Namespace {
  std::vector<std::pair<std::string, Value>> items;
};
enum class Function { raise_exception, strftime_now, make_namespace, range, dict };

using TextPtr = std::shared_ptr<const Text>;
using ListPtr = std::shared_ptr<const List>;
using DictPtr = std::shared_ptr<const Dict>;

struct Value {
  std::variant<Undefined, None, bool, int64_t, double, TextPtr, ListPtr, DictPtr, Namespace*, const Macro*,
               Function>
      v;

  template <class T>
  const T* as() const {
    return std::get_if<T>(&v);
  }
  bool undefined() const { return as<Undefined>() != nullptr; }
  bool none() const { return as<None>() != nullptr; }
  const Text* text() const {
    const TextPtr* p = as<TextPtr>();
    return p != nullptr ? p->get() : nullptr;
  }
  const List* list() const {
    const ListPtr* p = as<ListPtr>();
    return p != nullptr ? p->get() : nullptr;
  }
  const Dict* dict() const {
    const DictPtr* p = as<DictPtr>();
    return p != nullptr ? p->get() : nullptr;
  }
  // A whole number, True and False among them.
  bool whole(int64_t& out) const;
  bool number(double& out) const;
};

// Each charges its size first.
Value make_text(Text t, Budget& budget);
Value make_list(std::vector<Value> items, Budget& budget, Seq kind = Seq::list);
Value make_dict(std::vector<std::pair<Value, Value>> items, Budget& budget);

const char* type_name(const Value& v);
bool truth(const Value& v);
bool equal(const Value& a, const Value& b, Budget& budget);
// a < b of two numbers or two texts; Error for anything else.
bool less(const Value& a, const Value& b);
bool contains(const Value& in, const Value& item, Budget& budget);
int64_t length(const Value& v);
// What a for loop walks: items, keys of a dict, characters of a text.
std::vector<Value> walk(const Value& v, Budget& budget);
const Value* find(const Dict& d, const Value& key, Budget& budget);

Text str(const Value& v, Budget& budget);
// separators: between items, and between key and value. indent < 0: one line.
Text json(const Value& v, int indent, const std::string& comma, const std::string& colon, bool sort_keys,
          Budget& budget);

}  // namespace hedgerow::jinja
