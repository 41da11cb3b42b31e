// SPDX-License-Identifier: Apache-2.0
// The words and the tree of a template. Every node knows its line and its height, which is bounded: neither
// evaluation nor destruction recurses further.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "hedgerow/language/template/value.h"

namespace hedgerow::jinja {

enum class Word { data, block_begin, block_end, print_begin, print_end, name, text, whole, real, op, end };
struct Token {
  Word word;
  std::string text;  // a text's escapes are resolved
  int line;
};

// Whitespace control is applied; `where` opens messages.
std::vector<Token> lex(const std::string& source, const std::string& where);

enum class Op {
  constant,
  name,
  list,
  tuple,
  dict,
  attribute,  // text
  loop,       // loop.text
  item,
  slice,
  call,    // a[0] called with the rest and `named`
  method,  // a[0].text(...)
  filter,  // a[0] | text(...)
  test,    // a[0] is text(...)
  negate,
  positive,
  logical_not,
  logical_and,
  logical_or,
  choose,
  compare,  // a[0] words[0] a[1] words[1] a[2] ...
  concat,
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  modulo,
  power,
};

struct Node;
using NodePtr = std::unique_ptr<Node>;
struct Node {
  Op op;
  int line;
  int height = 1;
  std::string text = {};
  Value value = {};
  std::vector<NodePtr> a = {};  // an absent part (of a slice, the else of `choose`) is null
  std::vector<std::pair<std::string, NodePtr>> named = {};
  std::vector<std::string> words = {};
};

enum class Kind { output, print, loop, branch, set, set_block, macro, scope, leave, next };
struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;
struct Statement {
  Kind kind;
  int line;
  std::string text = {};            // output
  NodePtr target = {};              // loop, set
  NodePtr value = {};               // print, loop, set; the filters of set_block, round a node named ""
  NodePtr condition = {};           // loop's filter
  std::vector<NodePtr> tests = {};  // branch; null for else
  std::vector<Body> bodies = {};    // one a test; of a loop: body, else
  std::unique_ptr<Macro> macro = {};
};
struct Macro {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<NodePtr> defaults;  // null where there is none
  Body body;
};

Body parse(const std::string& source, const std::string& where);

// Whether we have a filter, test or method of that name, and the other names that would be one in Jinja.
bool known_filter(const std::string& name);
bool known_test(const std::string& name);
bool known_method(const std::string& name);

}  // namespace hedgerow::jinja
