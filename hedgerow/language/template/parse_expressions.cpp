// SPDX-License-Identifier: Apache-2.0
// Expressions, from the loosest binding to the tightest.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/template/parser.h"

namespace hedgerow::jinja {
namespace {

template <class... Parts>
std::vector<NodePtr> parts(Parts... p) {
  std::vector<NodePtr> out;
  (out.push_back(std::move(p)), ...);
  return out;
}

}  // namespace

NodePtr Parser::node(Op op, int line, std::vector<NodePtr> a, std::string text) const {
  auto out = std::make_unique<Node>(Node{.op = op, .line = line, .text = std::move(text), .a = std::move(a)});
  return grown(std::move(out));
}

NodePtr Parser::constant(int line, Value value) const {
  return std::make_unique<Node>(Node{.op = Op::constant, .line = line, .value = std::move(value)});
}

NodePtr Parser::grown(NodePtr n) const {
  int height = 0;
  for (const NodePtr& part : n->a)
    if (part) height = std::max(height, part->height);
  for (const auto& part : n->named) height = std::max(height, part.second->height);
  n->height = height + 1;
  if (n->height > 100) fail("an expression nests deeper than a chat template may", n->line);
  return n;
}

NodePtr Parser::tuple(bool choose, const char* end_name) {
  const int at = line();
  std::vector<NodePtr> a;
  bool comma = false;
  while (true) {
    const bool ends = now().word == Word::block_end || now().word == Word::print_end || is_op(")") ||
                      (end_name != nullptr && is_name(end_name));
    if (ends) {
      if (a.empty()) fail(fmt::format("an expression was wanted, found {}", found()));
      break;
    }
    a.push_back(choose ? expression() : logical_or());
    if (!take_op(",")) break;
    comma = true;
  }
  return comma ? node(Op::tuple, at, std::move(a)) : std::move(a[0]);
}

NodePtr Parser::expression() {
  const Deeper deeper(*this);
  const int at = line();
  NodePtr out = logical_or();
  while (take_name("if")) {
    NodePtr test = logical_or();
    NodePtr other = take_name("else") ? expression() : nullptr;
    out = node(Op::choose, at, parts(std::move(out), std::move(test), std::move(other)));
  }
  return out;
}

NodePtr Parser::logical_or() {
  const int at = line();
  NodePtr out = logical_and();
  while (take_name("or")) out = node(Op::logical_or, at, parts(std::move(out), logical_and()));
  return out;
}

NodePtr Parser::logical_and() {
  const int at = line();
  NodePtr out = logical_not();
  while (take_name("and")) out = node(Op::logical_and, at, parts(std::move(out), logical_not()));
  return out;
}

NodePtr Parser::logical_not() {
  const Deeper deeper(*this);
  const int at = line();
  if (take_name("not")) return node(Op::logical_not, at, parts(logical_not()));
  return compare();
}

NodePtr Parser::compare() {
  const int at = line();
  std::vector<NodePtr> a = parts(sum());
  std::vector<std::string> words;
  while (true) {
    static const char* const ops[] = {"==", "!=", "<", "<=", ">", ">="};
    const auto* op = std::find_if(std::begin(ops), std::end(ops), [&](const char* s) { return is_op(s); });
    if (op != std::end(ops)) {
      ++at_;
      words.emplace_back(*op);
    } else if (take_name("in")) {
      words.emplace_back("in");
    } else if (is_name("not") && words_[at_ + 1].word == Word::name && words_[at_ + 1].text == "in") {
      at_ += 2;
      words.emplace_back("not in");
    } else {
      break;
    }
    a.push_back(sum());
  }
  if (words.empty()) return std::move(a[0]);
  NodePtr out = node(Op::compare, at, std::move(a));
  out->words = std::move(words);
  return out;
}

NodePtr Parser::sum() {
  NodePtr out = concat();
  while (is_op("+") || is_op("-")) {
    const int at = line();
    const Op op = words_[at_++].text == "+" ? Op::add : Op::subtract;
    out = node(op, at, parts(std::move(out), concat()));
  }
  return out;
}

NodePtr Parser::concat() {
  const int at = line();
  std::vector<NodePtr> a = parts(product());
  while (take_op("~")) a.push_back(product());
  return a.size() == 1 ? std::move(a[0]) : node(Op::concat, at, std::move(a));
}

NodePtr Parser::product() {
  NodePtr out = power();
  while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
    const int at = line();
    const std::string s = words_[at_++].text;
    const Op op = s == "*" ? Op::multiply : s == "/" ? Op::divide : s == "//" ? Op::floor_divide : Op::modulo;
    out = node(op, at, parts(std::move(out), power()));
  }
  return out;
}

NodePtr Parser::power() {
  NodePtr out = unary(true);
  while (is_op("**")) {
    const int at = words_[at_++].line;
    out = node(Op::power, at, parts(std::move(out), unary(true)));
  }
  return out;
}

NodePtr Parser::unary(bool with_filters) {
  const Deeper deeper(*this);
  const int at = line();
  NodePtr out;
  if (take_op("-"))
    out = node(Op::negate, at, parts(unary(false)));
  else if (take_op("+"))
    out = node(Op::positive, at, parts(unary(false)));
  else
    out = primary();
  out = postfix(std::move(out));
  return with_filters ? filters(std::move(out)) : std::move(out);
}

NodePtr Parser::primary() {
  const Token token = now();
  const int at = token.line;
  switch (token.word) {
    case Word::name: {
      ++at_;
      if (token.text == "true" || token.text == "True") return constant(at, {true});
      if (token.text == "false" || token.text == "False") return constant(at, {false});
      if (token.text == "none" || token.text == "None") return constant(at, {None{}});
      if (token.text != "loop") return node(Op::name, at, {}, token.text);
      if (!take_op(".")) fail("'loop' other than before '.' is not supported", at);
      const std::string name = want_any_name();
      static const char* const known[] = {"index",  "index0",   "revindex", "revindex0", "first",  "last",
                                          "length", "previtem", "nextitem", "depth",     "depth0", "cycle"};
      if (std::none_of(std::begin(known), std::end(known), [&](const char* s) { return name == s; }))
        fail(fmt::format("'loop.{}' is not supported", printable(name)), at);
      NodePtr out = node(Op::loop, at, {}, name);
      if (name != "cycle") return out;
      want_op("(");
      arguments(*out);
      if (out->a.empty() || !out->named.empty()) fail("loop.cycle wants values", at);
      return grown(std::move(out));
    }
    case Word::text: {
      std::string text;
      while (now().word == Word::text) text += words_[at_++].text;
      return constant(at, {std::make_shared<const Text>(text)});
    }
    case Word::whole:
      ++at_;
      return constant(at, {static_cast<int64_t>(std::strtoll(token.text.c_str(), nullptr, 10))});
    case Word::real: {
      ++at_;
      return constant(at, {read_float(token.text)});
    }
    case Word::op:
      if (take_op("(")) {
        NodePtr out;
        if (is_op(")"))
          out = node(Op::tuple, at);
        else
          out = tuple(true);
        want_op(")");
        return out;
      }
      if (is_op("[") || is_op("{")) return list_or_dict();
      [[fallthrough]];
    default:
      fail(fmt::format("an expression was wanted, found {}", found()), at);
  }
}

NodePtr Parser::list_or_dict() {
  const int at = line();
  const bool dict = is_op("{");
  const char* const end = dict ? "}" : "]";
  ++at_;
  std::vector<NodePtr> a;
  while (!take_op(end)) {
    if (!a.empty()) want_op(",");
    if (take_op(end)) break;
    a.push_back(expression());
    if (!dict) continue;
    want_op(":");
    a.push_back(expression());
  }
  return node(dict ? Op::dict : Op::list, at, std::move(a));
}

}  // namespace hedgerow::jinja
