// SPDX-License-Identifier: Apache-2.0
// A conversation as the template's variables, and its text as spans of one origin.
#include "hedgerow/language/template/chat_template.h"

#include <fmt/format.h>

#include <algorithm>

#include "hedgerow/core/error.h"
#include "hedgerow/language/template/interpreter.h"

namespace hedgerow {
namespace {

using jinja::Value;

constexpr int64_t kSteps = 2'000'000, kStepsPerMessage = 2'000;
constexpr int64_t kBytes = int64_t{64} << 20, kBytesPerByte = 256;

}  // namespace

struct ChatTemplate::Parsed {
  std::string where;
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::string source, const std::string& where)
    : parsed_(std::make_unique<Parsed>(Parsed{.where = where, .body = jinja::parse(source, where)})) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::vector<ChatTemplate::Span> ChatTemplate::render(const Options& options) const {
  int64_t given = 0;
  for (const ChatMessage& m : options.messages)
    given += static_cast<int64_t>(m.role.size() + m.content.size() + 512);
  const auto messages = static_cast<int64_t>(options.messages.size());
  jinja::Budget budget(kSteps + kStepsPerMessage * messages + given, kBytes + kBytesPerByte * given);

  const auto text = [&](const std::string& s, char mark) {
    return jinja::make_text(jinja::Text(s, mark), budget);
  };
  const Value role = text("role", jinja::kTemplate), content = text("content", jinja::kTemplate);
  std::vector<Value> list;
  for (const ChatMessage& m : options.messages)
    list.push_back(jinja::make_dict(
        {{role, text(m.role, jinja::kUser)}, {content, text(m.content, jinja::kUser)}}, budget));
  const Value all = jinja::make_list(std::move(list), budget);

  jinja::Interpreter run(budget, options.now);
  run.define("messages", all);
  run.define("tools", {jinja::None{}});
  run.define("documents", {jinja::None{}});
  run.define("add_generation_prompt", {options.add_generation_prompt});
  if (!options.bos_token.empty()) run.define("bos_token", text(options.bos_token, jinja::kTemplate));
  if (!options.eos_token.empty()) run.define("eos_token", text(options.eos_token, jinja::kTemplate));
  run.define("raise_exception", {jinja::Function::raise_exception});
  run.define("strftime_now", {jinja::Function::strftime_now});
  run.define("namespace", {jinja::Function::make_namespace});
  run.define("range", {jinja::Function::range});
  run.define("dict", {jinja::Function::dict});

  jinja::Text out;
  try {
    out = run.run(parsed_->body);
  } catch (const Error& e) {
    throw Error(fmt::format("{}: chat template, line {}: {}", parsed_->where, run.line(), e.what()));
  }
  std::vector<Span> spans;
  for (size_t at = 0; at < out.size();) {
    const size_t end = std::min(out.marks.find_first_not_of(out.marks[at], at), out.size());
    spans.push_back(
        {.text = out.bytes.substr(at, end - at), .from_template = out.marks[at] == jinja::kTemplate});
    at = end;
  }
  return spans;
}

}  // namespace hedgerow
