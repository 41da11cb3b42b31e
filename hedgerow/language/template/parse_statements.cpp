// SPDX-License-Identifier: Apache-2.0
// Statements: for, if, set, macro, break, continue, generation; anything else is refused by name.
#include <fmt/format.h>

#include <algorithm>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/template/parser.h"

namespace hedgerow::jinja {

Parser::Deeper::Deeper(Parser& p) : parser(p) {
  if (++p.depth_ > 100) p.fail("nests deeper than a chat template may");
}

void Parser::fail(const std::string& what, int line) const {
  throw Error(fmt::format("{}: chat template, line {}: {}", where_, line, what));
}

std::string Parser::found() const {
  switch (now().word) {
    case Word::data:
    case Word::end:
      return "the end";
    case Word::block_end:
      return "'%}'";
    case Word::print_end:
      return "'}}'";
    default:
      return fmt::format("'{}'", printable(now().text));
  }
}

void Parser::want_op(const char* s) {
  if (!take_op(s)) fail(fmt::format("'{}' was wanted, found {}", s, found()));
}

void Parser::want_name(const char* s) {
  if (!take_name(s)) fail(fmt::format("'{}' was wanted, found {}", s, found()));
}

std::string Parser::want_any_name() {
  if (now().word != Word::name) fail(fmt::format("a name was wanted, found {}", found()));
  return words_[at_++].text;
}

void Parser::want_block_end() {
  if (now().word != Word::block_end) fail(fmt::format("'%}}' was wanted, found {}", found()));
  ++at_;
}

Body Parser::whole() { return body({}); }

// Until a block that begins with one of `ends`, whose name is the next word then.
Body Parser::body(const std::vector<std::string>& ends) {
  const Deeper deeper(*this);
  const int begin = line();
  Body out;
  while (true) {
    const int at = line();
    switch (now().word) {
      case Word::data:
        out.push_back(std::make_unique<Statement>(
            Statement{.kind = Kind::output, .line = at, .text = words_[at_++].text}));
        break;
      case Word::print_begin: {
        ++at_;
        NodePtr value = tuple(true);
        // Without escaping `safe` changes nothing here; elsewhere it would change sums of text.
        if (value->op == Op::filter && value->text == "safe") value = std::move(value->a[0]);
        check_names(*value);
        if (now().word != Word::print_end) fail(fmt::format("'}}}}' was wanted, found {}", found()));
        ++at_;
        out.push_back(std::make_unique<Statement>(
            Statement{.kind = Kind::print, .line = at, .value = std::move(value)}));
        break;
      }
      case Word::block_begin:
        ++at_;
        if (std::any_of(ends.begin(), ends.end(), [&](const std::string& s) { return is_name(s.c_str()); }))
          return out;
        out.push_back(statement());
        break;
      default:
        if (!ends.empty()) fail(fmt::format("'{}' was wanted, found the end", ends.back()), begin);
        return out;
    }
  }
}

std::unique_ptr<Statement> Parser::statement() {
  const int at = line();
  const std::string name = want_any_name();
  if (name == "for") return for_statement();
  if (name == "if") return if_statement();
  if (name == "set") return set_statement();
  if (name == "macro") return macro_statement();
  if (name == "break" || name == "continue") {
    if (loops_ == 0) fail(fmt::format("'{}' outside a loop", name), at);
    want_block_end();
    return std::make_unique<Statement>(
        Statement{.kind = name == "break" ? Kind::leave : Kind::next, .line = at});
  }
  if (name == "generation") {
    auto out = std::make_unique<Statement>(Statement{.kind = Kind::scope, .line = at});
    want_block_end();
    const int loops = std::exchange(loops_, 0);
    ++scopes_;
    out->bodies.push_back(body({"endgeneration"}));
    --scopes_;
    loops_ = loops;
    ++at_;
    want_block_end();
    return out;
  }
  fail(fmt::format("the statement '{}' is not supported", printable(name)), at);
}

std::unique_ptr<Statement> Parser::for_statement() {
  auto out = std::make_unique<Statement>(Statement{.kind = Kind::loop, .line = line()});
  out->target = target(true);
  want_name("in");
  out->value = tuple(false, "recursive");
  if (take_name("if")) out->condition = expression();
  if (is_name("recursive")) fail("'recursive' loops are not supported");
  want_block_end();
  ++loops_, ++scopes_;
  out->bodies.push_back(body({"else", "endfor"}));
  --loops_;
  if (take_name("else")) {
    want_block_end();
    const int loops = std::exchange(loops_, 0);
    out->bodies.push_back(body({"endfor"}));
    loops_ = loops;
  }
  --scopes_;
  ++at_;
  want_block_end();
  return out;
}

std::unique_ptr<Statement> Parser::if_statement() {
  auto out = std::make_unique<Statement>(Statement{.kind = Kind::branch, .line = line()});
  while (true) {
    out->tests.push_back(tuple(false));
    want_block_end();
    out->bodies.push_back(body({"elif", "else", "endif"}));
    if (!take_name("elif")) break;
  }
  if (take_name("else")) {
    want_block_end();
    out->tests.push_back(nullptr);
    out->bodies.push_back(body({"endif"}));
  }
  ++at_;
  want_block_end();
  return out;
}

std::unique_ptr<Statement> Parser::set_statement() {
  auto out = std::make_unique<Statement>(Statement{.kind = Kind::set, .line = line()});
  out->target = target(false);
  if (take_op("=")) {
    out->value = tuple(true);
    want_block_end();
    return out;
  }
  out->kind = Kind::set_block;
  out->value = filters(node(Op::name, line()));
  want_block_end();
  const int loops = std::exchange(loops_, 0);
  ++scopes_;
  out->bodies.push_back(body({"endset"}));
  --scopes_;
  loops_ = loops;
  ++at_;
  want_block_end();
  return out;
}

std::unique_ptr<Statement> Parser::macro_statement() {
  auto out = std::make_unique<Statement>(Statement{.kind = Kind::macro, .line = line()});
  // A macro sees the variables of the place where it is written; ours sees those of the whole template.
  if (scopes_ > 0) fail("a macro inside a loop, a macro or a block is not supported");
  out->macro = std::make_unique<Macro>();
  Macro& m = *out->macro;
  m.name = want_any_name();
  want_op("(");
  while (!take_op(")")) {
    if (!m.parameters.empty()) want_op(",");
    m.parameters.push_back(want_any_name());
    if (m.parameters.back() == "loop" || m.parameters.back() == "caller")
      fail(fmt::format("'{}' as a macro's parameter is not supported", m.parameters.back()));
    if (take_op("="))
      m.defaults.push_back(expression());
    else if (!m.defaults.empty() && m.defaults.back())
      fail("a parameter without a default follows one with a default");
    else
      m.defaults.push_back(nullptr);
  }
  want_block_end();
  const int loops = std::exchange(loops_, 0);
  ++scopes_;
  m.body = body({"endmacro"});
  --scopes_;
  loops_ = loops;
  ++at_;
  want_block_end();
  return out;
}

// Names, tuples of names, and for `set` an attribute of a namespace.
NodePtr Parser::target(bool in_for) {
  const int at = line();
  std::vector<NodePtr> parts;
  bool tuple = false;
  const bool bracketed = take_op("(");
  while (true) {
    const Token& token = now();
    std::string name = want_any_name();
    static const char* const reserved[] = {"loop", "true", "false", "none", "True", "False", "None",
                                           "not",  "and",  "or",    "in",   "is",   "if",    "else"};
    if (std::find(std::begin(reserved), std::end(reserved), name) != std::end(reserved))
      fail(fmt::format("'{}' cannot be set", name), token.line);
    NodePtr part = node(Op::name, token.line, {}, std::move(name));
    if (!in_for && parts.empty() && take_op(".")) {
      std::vector<NodePtr> of;
      of.push_back(std::move(part));
      part = node(Op::attribute, token.line, std::move(of), want_any_name());
    }
    parts.push_back(std::move(part));
    if (!take_op(",")) break;
    tuple = true;
    if (now().word != Word::name || is_name("in")) break;
  }
  if (bracketed) want_op(")");
  if (!tuple) return std::move(parts[0]);
  for (const NodePtr& p : parts)
    if (p->op != Op::name) fail("names were wanted to be set together", at);
  return node(Op::tuple, at, std::move(parts));
}

Body parse(const std::string& source, const std::string& where) { return Parser(source, where).whole(); }

}  // namespace hedgerow::jinja
