// SPDX-License-Identifier: Apache-2.0
// One rendering: scopes, output, and everything an expression can ask for.
#pragma once

#include <list>
#include <string>
#include <vector>

#include "hedgerow/language/template/syntax.h"

namespace hedgerow::jinja {

struct Argument {
  std::string name;
  Value value;
};
// Values as they were passed: take the next by position or by its name, in the order of the parameters.
class Arguments {
 public:
  std::vector<Value> given;
  std::vector<Argument> named;
  // Parameter `at` called `name`; null when it was not given.
  const Value* get(size_t at, const char* name) const;
  // Error when more or others were given than these.
  void only(const std::string& what, std::vector<const char*> names) const;
};

class Interpreter {
 public:
  Interpreter(Budget budget, int64_t now) : budget_(budget), now_(now) { scopes_.emplace_back(); }
  void define(const std::string& name, Value v) { assign(name, std::move(v)); }
  Text run(const Body& body);
  int line() const { return line_; }

 private:
  enum class Flow { on, leave, next };
  struct Scope {
    std::vector<std::pair<std::string, Value>> names;
  };
  struct Loop {
    const std::vector<Value>& items;
    size_t at;
    int depth;
  };
  struct Deeper {
    explicit Deeper(Interpreter& i);
    ~Deeper() { --of.depth_; }
    Interpreter& of;
  };
  // A scope until the end of the block, also when an Error leaves it.
  struct Inner {
    explicit Inner(Interpreter& i) : of(i) { of.scopes_.emplace_back(); }
    ~Inner() { of.scopes_.pop_back(); }
    Interpreter& of;
  };

  // Statements.
  Flow execute(const Body& body, Text& out);
  Flow execute(const Statement& s, Text& out);
  Flow execute_loop(const Statement& s, Text& out);
  void assign(const std::string& name, Value v);
  void assign(const Node& target, Value v);
  void put(Text& out, const Text& t);
  const Value* look_up(const std::string& name) const;

  // Expressions.
  Value evaluate(const Node& n);
  Value evaluate_dict(const Node& n);
  Value evaluate_compare(const Node& n);
  Value evaluate_loop(const Node& n);
  Value evaluate_slice(const Node& n);
  Value concat(const Node& n);
  Value attribute(const Value& of, const std::string& name);
  Value item(const Value& of, const Value& key);
  // a.b.0 as map and selectattr read it.
  Value path(const Value& of, const std::string& dotted);
  Arguments arguments(const Node& n, size_t first);
  Value call(const Value& callee, const Arguments& a);
  Value call(const Macro& m, const Arguments& a);
  Value call(Function f, const Arguments& a);
  Value binary(Op op, const Value& a, const Value& b);
  Value method(const Value& of, const std::string& name, const Arguments& a);
  Value text_method(const Text& t, const std::string& name, const Arguments& a);
  Value filter(const std::string& name, const Value& v, const Arguments& a);
  Value text_filter(const std::string& name, const Value& v, const Arguments& a);
  Value list_filter(const std::string& name, const Value& v, const Arguments& a);
  Value number_filter(const std::string& name, const Value& v, const Arguments& a);
  Value select(const std::string& name, const Value& v, const Arguments& a);
  Value to_json(const Value& v, const Arguments& a);
  bool test(const std::string& name, const Value& v, const Arguments& a);
  Value join(const Text& separator, const std::vector<Value>& items, bool only_text);
  Value text(Text t) { return make_text(std::move(t), budget_); }

  Budget budget_;
  int64_t now_;
  int line_ = 1, depth_ = 0;
  std::vector<Scope> scopes_;
  size_t base_ = 1;  // scopes from here on belong to the macro that runs; below it only the outermost is seen
  Loop* loop_ = nullptr;
  std::list<Namespace> namespaces_;
};

// Arguments as text and whole numbers; Error names `what`.
const Text& want_text(const Value& v, const std::string& what);
int64_t want_whole(const Value& v, const std::string& what);
std::string clock_text(int64_t now, const std::string& format);

}  // namespace hedgerow::jinja
