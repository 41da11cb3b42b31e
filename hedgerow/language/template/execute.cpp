// SPDX-License-Identifier: Apache-2.0
// Statements, and what a call of a macro or a function does.
#include <fmt/format.h>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/template/interpreter.h"

namespace hedgerow::jinja {

Interpreter::Deeper::Deeper(Interpreter& i) : of(i) {
  if (++i.depth_ > 250) {
    --i.depth_;
    throw Error("calls and expressions nest deeper than a chat template may");
  }
}

const Value* Arguments::get(size_t at, const char* name) const {
  if (at < given.size()) return &given[at];
  for (const Argument& a : named)
    if (a.name == name) return &a.value;
  return nullptr;
}

void Arguments::only(const std::string& what, std::vector<const char*> names) const {
  if (given.size() > names.size())
    throw Error(fmt::format("{} takes at most {} arguments, found {}", what, names.size(), given.size()));
  for (const Argument& a : named) {
    bool known = false;
    for (size_t i = given.size(); i < names.size(); ++i) known = known || a.name == names[i];
    if (!known)
      throw Error(fmt::format("{} with the argument '{}' is not supported", what, printable(a.name)));
  }
}

Text Interpreter::run(const Body& body) {
  Text out;
  execute(body, out);
  return out;
}

void Interpreter::put(Text& out, const Text& t) {
  budget_.bytes(2 * t.size());
  out.append(t);
}

const Value* Interpreter::look_up(const std::string& name) const {
  const auto in = [&](const Scope& s) -> const Value* {
    for (const auto& item : s.names)
      if (item.first == name) return &item.second;
    return nullptr;
  };
  for (size_t i = scopes_.size(); i > base_; --i)
    if (const Value* v = in(scopes_[i - 1])) return v;
  return in(scopes_[0]);
}

void Interpreter::assign(const std::string& name, Value v) {
  for (auto& item : scopes_.back().names)
    if (item.first == name) return void(item.second = std::move(v));
  scopes_.back().names.emplace_back(name, std::move(v));
}

void Interpreter::assign(const Node& target, Value v) {
  if (target.op == Op::name) return assign(target.text, std::move(v));
  if (target.op == Op::attribute) {
    const Value* of = look_up(target.a[0]->text);
    const auto* space = of != nullptr ? of->as<Namespace*>() : nullptr;
    if (space == nullptr)
      throw Error(
          fmt::format("'{}' is no namespace, whose attributes can be set", printable(target.a[0]->text)));
    for (auto& item : (*space)->items)
      if (item.first == target.text) return void(item.second = std::move(v));
    budget_.bytes(128);
    (*space)->items.emplace_back(target.text, std::move(v));
    return;
  }
  const std::vector<Value> values = walk(v, budget_);
  if (v.undefined() || values.size() != target.a.size())
    throw Error(
        fmt::format("{} values were wanted for as many names, found {}", target.a.size(), values.size()));
  for (size_t i = 0; i < values.size(); ++i) assign(target.a[i]->text, values[i]);
}

Interpreter::Flow Interpreter::execute(const Body& body, Text& out) {
  const Deeper deeper(*this);
  for (const auto& s : body) {
    budget_.step();
    line_ = s->line;
    const Flow flow = execute(*s, out);
    if (flow != Flow::on) return flow;
  }
  return Flow::on;
}

Interpreter::Flow Interpreter::execute(const Statement& s, Text& out) {
  switch (s.kind) {
    case Kind::output:
      put(out, Text(s.text));
      return Flow::on;
    case Kind::print:
      put(out, str(evaluate(*s.value), budget_));
      return Flow::on;
    case Kind::loop:
      return execute_loop(s, out);
    case Kind::branch:
      for (size_t i = 0; i < s.tests.size(); ++i)
        if (!s.tests[i] || truth(evaluate(*s.tests[i]))) return execute(s.bodies[i], out);
      return Flow::on;
    case Kind::set:
      assign(*s.target, evaluate(*s.value));
      return Flow::on;
    case Kind::set_block: {
      Value value;
      {
        const Inner scope(*this);
        Text inner;
        execute(s.bodies[0], inner);
        // The filters stand round a name that nothing else can have.
        assign("", text(std::move(inner)));
        value = evaluate(*s.value);
      }
      assign(*s.target, std::move(value));
      return Flow::on;
    }
    case Kind::macro:
      assign(s.macro->name, Value{static_cast<const Macro*>(s.macro.get())});
      return Flow::on;
    case Kind::scope: {
      const Inner scope(*this);
      execute(s.bodies[0], out);
      return Flow::on;
    }
    case Kind::leave:
      return Flow::leave;
    case Kind::next:
      return Flow::next;
  }
  return Flow::on;
}

Interpreter::Flow Interpreter::execute_loop(const Statement& s, Text& out) {
  Loop* const outer = loop_;
  struct Restore {
    Loop*& slot;
    Loop* was;
    ~Restore() { slot = was; }
  } restore{loop_, outer};
  const Value over = evaluate(*s.value);
  std::vector<Value> items = walk(over, budget_);
  if (s.condition) {
    std::vector<Value> kept;
    loop_ = nullptr;
    for (Value& v : items) {
      budget_.step();
      const Inner scope(*this);
      assign(*s.target, v);
      if (truth(evaluate(*s.condition))) kept.push_back(std::move(v));
    }
    items = std::move(kept);
  }
  Loop loop{.items = items, .at = 0, .depth = outer == nullptr ? 1 : outer->depth + 1};
  loop_ = &loop;
  // Jinja's else belongs to loops of which no turn came to its end, by break and continue too.
  bool whole_turn = false;
  for (; loop.at < items.size(); ++loop.at) {
    budget_.step();
    const Inner scope(*this);
    assign(*s.target, items[loop.at]);
    const Flow flow = execute(s.bodies[0], out);
    if (flow == Flow::leave) break;
    whole_turn = whole_turn || flow == Flow::on;
  }
  loop_ = outer;
  if (whole_turn || s.bodies.size() < 2) return Flow::on;
  const Inner scope(*this);
  return execute(s.bodies[1], out);
}

Value Interpreter::call(const Macro& m, const Arguments& a) {
  const Deeper deeper(*this);
  if (a.given.size() > m.parameters.size())
    throw Error(fmt::format("macro '{}' takes at most {} arguments, found {}", printable(m.name),
                            m.parameters.size(), a.given.size()));
  for (const Argument& n : a.named) {
    size_t at = 0;
    while (at < m.parameters.size() && m.parameters[at] != n.name) ++at;
    if (at == m.parameters.size() || at < a.given.size())
      throw Error(
          fmt::format("macro '{}' takes no further argument '{}'", printable(m.name), printable(n.name)));
  }
  struct Restore {
    Interpreter& of;
    size_t base;
    Loop* loop;
    ~Restore() { of.base_ = base, of.loop_ = loop; }
  } restore{*this, base_, loop_};
  const Inner scope(*this);
  base_ = scopes_.size() - 1;
  loop_ = nullptr;
  for (size_t i = 0; i < m.parameters.size(); ++i) {
    if (const Value* v = a.get(i, m.parameters[i].c_str()))
      assign(m.parameters[i], *v);
    else
      assign(m.parameters[i], m.defaults[i] ? evaluate(*m.defaults[i]) : Value{Undefined{m.parameters[i]}});
  }
  Text out;
  execute(m.body, out);
  return text(std::move(out));
}

Value Interpreter::call(Function f, const Arguments& a) {
  switch (f) {
    case Function::raise_exception:
      a.only("raise_exception", {"message"});
      require(a.get(0, "message") != nullptr, "raise_exception wants a message");
      throw Error("the template refuses: " + printable(str(*a.get(0, "message"), budget_).bytes));
    case Function::strftime_now: {
      a.only("strftime_now", {"format"});
      require(a.get(0, "format") != nullptr, "strftime_now wants a format");
      return text(Text(clock_text(now_, want_text(*a.get(0, "format"), "strftime_now").bytes)));
    }
    case Function::range: {
      a.only("range", {"start", "stop", "step"});
      require(!a.given.empty() && a.named.empty(), "range wants one to three numbers");
      const int64_t one = want_whole(a.given[0], "range");
      const int64_t begin = a.given.size() > 1 ? one : 0,
                    end = a.given.size() > 1 ? want_whole(a.given[1], "range") : one;
      const int64_t by = a.given.size() > 2 ? want_whole(a.given[2], "range") : 1;
      require(by != 0, "range's step is zero");
      std::vector<Value> out;
      for (int64_t i = begin; by > 0 ? i < end : i > end;) {
        require(out.size() < 100000, "range has more than 100000 values");
        out.push_back({i});
        if (__builtin_add_overflow(i, by, &i)) break;
      }
      return make_list(std::move(out), budget_, Seq::range);
    }
    case Function::dict:
    case Function::make_namespace: {
      require(a.given.size() <= 1 && (a.given.empty() || a.given[0].dict()),
              "dict and namespace want one dict or names");
      std::vector<std::pair<Value, Value>> items;
      if (!a.given.empty()) items = a.given[0].dict()->items;
      for (const Argument& n : a.named) items.emplace_back(text(Text(n.name)), n.value);
      Value made = make_dict(std::move(items), budget_);
      if (f == Function::dict) return made;
      budget_.bytes(256);
      Namespace& space = namespaces_.emplace_back();
      for (const auto& [key, value] : made.dict()->items)
        space.items.emplace_back(want_text(key, "namespace").bytes, value);
      return {&space};
    }
  }
  return {};
}

Value Interpreter::call(const Value& callee, const Arguments& a) {
  if (const auto* m = callee.as<const Macro*>()) return call(**m, a);
  if (const auto* f = callee.as<Function>()) return call(*f, a);
  if (const auto* u = callee.as<Undefined>())
    throw Error(fmt::format("'{}' is undefined and was called", printable(u->name)));
  throw Error(std::string("a ") + type_name(callee) + " was called");
}

}  // namespace hedgerow::jinja
