// SPDX-License-Identifier: Apache-2.0
// One pass over the words, by recursive descent in the order of Jinja's own grammar.
#pragma once

#include <string>
#include <vector>

#include "hedgerow/language/template/syntax.h"

namespace hedgerow::jinja {

class Parser {
 public:
  Parser(const std::string& source, const std::string& where) : where_(where), words_(lex(source, where)) {}
  Body whole();

 private:
  // Recursion of any kind, counted.
  struct Deeper {
    explicit Deeper(Parser& p);
    ~Deeper() { --parser.depth_; }
    Parser& parser;
  };

  [[noreturn]] void fail(const std::string& what) const { fail(what, words_[at_].line); }
  [[noreturn]] void fail(const std::string& what, int line) const;
  const Token& now() const { return words_[at_]; }
  int line() const { return now().line; }
  std::string found() const;
  bool is_op(const char* s) const { return now().word == Word::op && now().text == s; }
  bool is_name(const char* s) const { return now().word == Word::name && now().text == s; }
  bool take_op(const char* s) { return is_op(s) ? ++at_, true : false; }
  bool take_name(const char* s) { return is_name(s) ? ++at_, true : false; }
  void want_op(const char* s);
  void want_name(const char* s);
  std::string want_any_name();
  void want_block_end();

  // Statements.
  Body body(const std::vector<std::string>& ends);
  std::unique_ptr<Statement> statement();
  std::unique_ptr<Statement> for_statement();
  std::unique_ptr<Statement> if_statement();
  std::unique_ptr<Statement> set_statement();
  std::unique_ptr<Statement> macro_statement();
  NodePtr target(bool in_for);

  // Expressions.
  NodePtr node(Op op, int line, std::vector<NodePtr> parts = {}, std::string text = {}) const;
  NodePtr constant(int line, Value value) const;
  // Also the height, once all parts are there.
  NodePtr grown(NodePtr n) const;
  NodePtr tuple(bool choose, const char* end_name = nullptr);
  NodePtr expression();
  NodePtr logical_or();
  NodePtr logical_and();
  NodePtr logical_not();
  NodePtr compare();
  NodePtr sum();
  NodePtr concat();
  NodePtr product();
  NodePtr power();
  NodePtr unary(bool filters);
  NodePtr primary();
  NodePtr list_or_dict();
  NodePtr postfix(NodePtr n);
  NodePtr subscript(NodePtr n, int line);
  NodePtr filters(NodePtr n);
  NodePtr one_filter(NodePtr n);
  NodePtr one_test(NodePtr n);
  void arguments(Node& call);
  void check_names(const Node& filter) const;

  const std::string& where_;
  std::vector<Token> words_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0, scopes_ = 0;
};

}  // namespace hedgerow::jinja
