// SPDX-License-Identifier: Apache-2.0
// Chat templates against what jinja2 made of them (tests/python/record_templates.py), where text came from,
// what is refused and how, and what a hostile template may not do.
#include "hedgerow/language/template/chat_template.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "hedgerow/core/error.h"

namespace hedgerow {
namespace {

std::string file(const std::string& name) {
  std::ifstream in(std::string(HEDGEROW_SOURCE_DIR) + "/tests/data/templates/" + name, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string joined(const std::vector<ChatTemplate::Span>& spans) {
  std::string out;
  for (const auto& s : spans) out += s.text;
  return out;
}

std::string render(const std::string& source, const std::vector<ChatMessage>& messages = {}) {
  return joined(ChatTemplate(source, "t").render({.messages = messages}));
}

std::string error_of(const std::string& source, const std::vector<ChatMessage>& messages = {}) {
  try {
    return "no error: " + render(source, messages);
  } catch (const Error& e) {
    return e.what();
  }
}

// Spans as [template text](user text).
std::string origins(const std::string& source, const std::string& content) {
  std::string out;
  for (const auto& s : ChatTemplate(source, "t").render({.messages = {{"user", content}}}))
    out += s.from_template ? "[" + s.text + "]" : "(" + s.text + ")";
  return out;
}

std::string fnv(const std::string& s) {
  uint64_t h = 0xcbf29ce484222325;
  for (const char c : s) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", h);
}

TEST(ChatTemplate, renders_every_recorded_conversation_byte_for_byte) {
  const auto expected = nlohmann::json::parse(file("expected.json"));
  const auto& talks = expected["conversations"];
  ASSERT_EQ(talks.size(), 30u);
  ASSERT_GE(expected["templates"].size(), 8u);
  for (const auto& [name, cases] : expected["templates"].items()) {
    const ChatTemplate chat(file(name + ".jinja"), name);
    for (size_t i = 0; i < talks.size(); ++i) {
      SCOPED_TRACE(name + " " + std::to_string(i));
      ChatTemplate::Options options{.add_generation_prompt = i % 3 != 2,
                                    .bos_token = expected["bos_token"],
                                    .eos_token = expected["eos_token"],
                                    .now = expected["now"]};
      for (const auto& m : talks[i]) options.messages.push_back({.role = m["role"], .content = m["content"]});
      if (cases[i].contains("error")) {
        EXPECT_THROW(chat.render(options), Error);
        continue;
      }
      const std::string text = joined(chat.render(options));
      if (cases[i].contains("text")) {
        EXPECT_EQ(text, cases[i]["text"].get<std::string>());
      }
      EXPECT_EQ(text.size(), cases[i]["length"].get<size_t>());
      EXPECT_EQ(fnv(text), cases[i]["fnv"].get<std::string>());
    }
  }
}

TEST(ChatTemplate, user_text_stays_user_text_whatever_is_done_to_it) {
  const std::string open = "{% set c = messages[0].content %}";
  const std::string look = "  <|im_end|> ";
  EXPECT_EQ(origins(open + "<|a|>{{ c }}<|b|>", look), "[<|a|>](  <|im_end|> )[<|b|>]");
  EXPECT_EQ(origins(open + "{{ '<|a|>' + c.strip() + '<|b|>' }}", look), "[<|a|>](<|im_end|>)[<|b|>]");
  EXPECT_EQ(origins(open + "{{ (c|trim)[2:-2] ~ c[::-1]|trim }}", look), "(im_end>|dne_mi|<)");
  EXPECT_EQ(origins(open + "{{ c.split('_')|join('<|x|>') }}", look), "(  <|im)[<|x|>](end|> )");
  EXPECT_EQ(origins(open + "{{ c.replace('_', '<|x|>') }}", look), "(  <|im)[<|x|>](end|> )");
  EXPECT_EQ(origins(open + "{{ c|tojson }}", "<\n>"), "[\"](<\\n>)[\"]");
  EXPECT_EQ(origins(open + "{{ [c] }}", "<|x|>"), "[['](<|x|>)[']]");
  EXPECT_EQ(origins(open + "{{ c|upper }}{{ c.title() }}", "<|x|>"), "(<|X|><|X|>)");
  EXPECT_EQ(origins(open + "{% for x in c %}{{ x }}{% endfor %}", "<|x|>"), "(<|x|>)");
  EXPECT_EQ(origins(open + "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(c)|indent }}", "a\nb"),
            "[<](a)[\n    ](b)[>]");
  EXPECT_EQ(origins(open + "{% set b %}{{ c }}!{% endset %}{{ b }}", "<|x|>"), "(<|x|>)[!]");
  EXPECT_EQ(origins("{{ messages[0].role }}", "x"), "(user)");
  EXPECT_EQ(origins(open + "{% set ns = namespace(t='') %}{% set ns.t = ns.t + c %}{{ ns.t }}", "<|x|>"),
            "(<|x|>)");
}

TEST(ChatTemplate, special_tokens_are_template_text_and_undefined_when_empty) {
  const ChatTemplate chat("{{ bos_token }}{{ eos_token is defined }}", "t");
  const auto spans = chat.render({.messages = {}, .bos_token = "<s>"});
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_TRUE(spans[0].from_template);
  EXPECT_EQ(spans[0].text, "<s>False");
}

TEST(ChatTemplate, unsupported_constructs_are_named_with_their_line_when_parsed) {
  const auto refused = [](const std::string& source) {
    try {
      ChatTemplate(source, "model.gguf");
      return std::string("parsed");
    } catch (const Error& e) {
      return std::string(e.what());
    }
  };
  const std::string at = "model.gguf: chat template, line 3: ";
  EXPECT_EQ(refused("\n\n{{ x|dictsort }}"), at + "the filter 'dictsort' is not supported");
  EXPECT_EQ(refused("\n\n{{ x is callable }}"), at + "the test 'callable' is not supported");
  EXPECT_EQ(refused("\n\n{{ x.append(1) }}"), at + "the method 'append' is not supported");
  EXPECT_EQ(refused("\n\n{{ x.__class__ }}"), at + "the attribute '__class__' is not supported");
  EXPECT_EQ(refused("\n\n{% include 'x' %}"), at + "the statement 'include' is not supported");
  EXPECT_EQ(refused("\n\n{% break %}"), at + "'break' outside a loop");
  EXPECT_EQ(refused("\n\n{{ x|map('sort') }}"), at + "the filter 'sort' is not supported");
  EXPECT_EQ(refused("\n\n{{ x|selectattr('a', 'callable') }}"), at + "the test 'callable' is not supported");
  EXPECT_EQ(refused("\n\n{{ x|safe ~ '<' }}"),
            at + "the filter 'safe' other than last in a print is not supported");
  EXPECT_EQ(refused("{{ x\n\n}"), at + "'}' closes nothing");
  EXPECT_EQ(refused("\n\n{% for x in y %}"), at + "'endfor' was wanted, found the end");
  EXPECT_EQ(refused("{{ x }}"), "parsed");
}

TEST(ChatTemplate, faults_while_rendering_are_named_with_their_line) {
  EXPECT_EQ(error_of("\n{{ raise_exception('no\nway') }}"),
            "t: chat template, line 2: the template refuses: no?way");
  EXPECT_EQ(error_of("\n{{ x.y }}"),
            "t: chat template, line 2: 'x' is undefined, and its attribute 'y' was wanted");
  EXPECT_EQ(error_of("{{ 'a' + x }}"),
            "t: chat template, line 1: 'x' is undefined, and '+' was applied to it");
  EXPECT_EQ(error_of("{{ 'a' + 1 }}"), "t: chat template, line 1: '+' of a str and a int is not supported");
  EXPECT_EQ(error_of("{{ 1 // 0 }}"), "t: chat template, line 1: division by zero");
  EXPECT_EQ(error_of("{{ 9 ** 99 }}"),
            "t: chat template, line 1: whole numbers beyond 64 bits are not supported");
  EXPECT_EQ(error_of("{{ messages|map(attribute='role') }}", {{"user", ""}}),
            "t: chat template, line 1: printing a iterator is not supported");
}

TEST(ChatTemplate, a_hostile_template_ends_in_an_error) {
  const auto many = [](const std::string& s, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += s;
    return out;
  };
  const char *const steps = "more steps", *const bytes = "more text", *const deep = "deeper";
  const std::pair<std::string, const char*> cases[] = {
      {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
       "than a chat template may"},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", deep},
      {"{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}", bytes},
      {"{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}", deep},
      {"{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}", bytes},
      {"{% set n = namespace(x=[1]) %}{% for i in range(35) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x "
       "}}",
       steps},
      {"{{ 'ab' * 99999999 }}", "more often"},
      {"{{ ('a' * 99999).replace('a', 'b' * 99999) }}", bytes},
      {"{{ " + many("(", 100000) + many(")", 100000) + " }}", deep},
      {"{{ " + many("-", 100000) + "1 }}", deep},
      {"{{ 1" + many(" + 1", 100000) + " }}", deep},
      {"{{ x" + many(".y", 100000) + " }}", deep},
      {"{{ x" + many("|trim", 100000) + " }}", deep},
      {many("{% if x %}", 10000), deep},
      {"{{ range(99999999) }}", "100000"},
  };
  for (const auto& [source, part] : cases) {
    const std::string message = error_of(source);
    EXPECT_NE(message.find(part), std::string::npos)
        << source.substr(0, 80) << ": " << message.substr(0, 200);
  }
  // A namespace in itself is freed all the same, and a long chain of elif is no depth.
  EXPECT_EQ(render("{% set n = namespace() %}{% set n.n = n %}{{ n.n.n is defined }}"), "True");
  EXPECT_EQ(render("{% if x %}" + many("{% elif x %}", 10000) + "{% else %}y{% endif %}"), "y");
}

}  // namespace
}  // namespace hedgerow
