// SPDX-License-Identifier: Apache-2.0
// What follows a value: attributes, subscripts, calls, filters and tests. Unknown names end here.
#include <fmt/format.h>

#include <algorithm>

#include "hedgerow/io/json.h"
#include "hedgerow/language/template/parser.h"

namespace hedgerow::jinja {
namespace {

std::vector<NodePtr> one(NodePtr n) {
  std::vector<NodePtr> out;
  out.push_back(std::move(n));
  return out;
}

}  // namespace

NodePtr Parser::postfix(NodePtr n) {
  while (true) {
    const int at = line();
    if (take_op(".")) {
      if (now().word == Word::whole) {
        std::vector<NodePtr> a = one(std::move(n));
        a.push_back(primary());
        n = node(Op::item, at, std::move(a));
        continue;
      }
      const std::string name = want_any_name();
      if (name[0] == '_') fail(fmt::format("the attribute '{}' is not supported", printable(name)), at);
      if (!take_op("(")) {
        n = node(Op::attribute, at, one(std::move(n)), name);
        continue;
      }
      if (!known_method(name)) fail(fmt::format("the method '{}' is not supported", printable(name)), at);
      n = node(Op::method, at, one(std::move(n)), name);
      arguments(*n);
      n = grown(std::move(n));
    } else if (take_op("[")) {
      n = subscript(std::move(n), at);
    } else if (take_op("(")) {
      n = node(Op::call, at, one(std::move(n)));
      arguments(*n);
      n = grown(std::move(n));
    } else {
      return n;
    }
  }
}

NodePtr Parser::subscript(NodePtr n, int at) {
  std::vector<NodePtr> a = one(std::move(n));
  bool slice = false;
  for (int part = 0; part < 3; ++part) {
    a.push_back(is_op(":") || is_op("]") ? nullptr : expression());
    if (!take_op(":")) break;
    slice = true;
    if (part == 2) fail("a slice has more than three parts");
  }
  if (is_op(",")) fail("subscripts with a comma are not supported");
  want_op("]");
  if (!slice && !a[1]) fail("an empty subscript", at);
  if (!slice) return node(Op::item, at, std::move(a));
  while (a.size() < 4) a.push_back(nullptr);
  return node(Op::slice, at, std::move(a));
}

// After '(' to ')'.
void Parser::arguments(Node& call) {
  bool first = true;
  while (!take_op(")")) {
    if (!std::exchange(first, false)) want_op(",");
    if (take_op(")")) break;
    if (is_op("*") || is_op("**")) fail("'*' and '**' arguments are not supported");
    const bool named =
        now().word == Word::name && words_[at_ + 1].word == Word::op && words_[at_ + 1].text == "=";
    if (!named) {
      if (!call.named.empty()) fail("an argument without a name follows one with a name");
      call.a.push_back(expression());
      continue;
    }
    std::string name = want_any_name();
    for (const auto& other : call.named)
      if (other.first == name) fail(fmt::format("the argument '{}' is given twice", printable(name)));
    ++at_;
    call.named.emplace_back(std::move(name), expression());
  }
}

NodePtr Parser::filters(NodePtr n) {
  while (true) {
    if (take_op("|")) {
      n = one_filter(std::move(n));
    } else if (take_name("is")) {
      n = one_test(std::move(n));
    } else if (is_op("(")) {
      const int at = line();
      ++at_;
      n = node(Op::call, at, one(std::move(n)));
      arguments(*n);
      n = grown(std::move(n));
    } else {
      return n;
    }
    if (n->op != Op::filter || n->text != "safe" || now().word != Word::print_end) check_names(*n);
  }
}

NodePtr Parser::one_filter(NodePtr n) {
  const int at = line();
  const std::string name = want_any_name();
  if (!known_filter(name)) fail(fmt::format("the filter '{}' is not supported", printable(name)), at);
  n = node(Op::filter, at, one(std::move(n)), name);
  if (take_op("(")) arguments(*n);
  return grown(std::move(n));
}

NodePtr Parser::one_test(NodePtr n) {
  const int at = line();
  const bool negated = take_name("not");
  const std::string name = want_any_name();
  if (!known_test(name)) fail(fmt::format("the test '{}' is not supported", printable(name)), at);
  n = node(Op::test, at, one(std::move(n)), name);
  const bool value = now().word == Word::text || now().word == Word::whole || now().word == Word::real ||
                     is_op("[") || is_op("{") || now().word == Word::name;
  if (take_op("("))
    arguments(*n);
  else if (is_name("is"))
    fail("two tests in a row");
  else if (value && !is_name("else") && !is_name("or") && !is_name("and"))
    n->a.push_back(postfix(primary()));
  n = grown(std::move(n));
  return negated ? node(Op::logical_not, at, one(std::move(n))) : std::move(n);
}

// Names that are given as text: filters of `map`, tests of `select` and its kin. `safe` counts as unknown
// where its value goes on: it would change how text is added.
void Parser::check_names(const Node& n) const {
  if (n.op != Op::filter) return;
  if (n.text == "safe") fail("the filter 'safe' other than last in a print is not supported", n.line);
  const bool map = n.text == "map", test = n.text == "select" || n.text == "reject";
  const size_t at = n.text == "selectattr" || n.text == "rejectattr" ? 2 : 1;
  if ((!map && !test && at == 1) || n.a.size() <= at) return;
  const Text* name = n.a[at]->op == Op::constant ? n.a[at]->value.text() : nullptr;
  if (name == nullptr) fail(fmt::format("'{}' wants the name in quotes", n.text), n.line);
  const bool known = map ? known_filter(name->bytes) && name->bytes != "map" && name->bytes != "safe"
                         : known_test(name->bytes);
  if (!known)
    fail(fmt::format("the {} '{}' is not supported", map ? "filter" : "test", printable(name->bytes)),
         n.line);
}

}  // namespace hedgerow::jinja
