// SPDX-License-Identifier: Apache-2.0
// hedgerow tokenize: the tokens of a text, or of a conversation by a model's template.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "hedgerow/cli/commands.h"
#include "hedgerow/cli/language_flags.h"

namespace hedgerow::cli {
namespace {

void run_tokenize(const LanguageFlags& f, const PromptFlags& p, bool json, Outcome& outcome) {
  const LanguageModel m = open_language_text(f.options(f.model));
  const std::vector<int32_t> ids = p.tokens(m, nullptr);
  if (json) {
    nlohmann::json out = {{"tokens", ids}, {"count", ids.size()}};
    fmt::print("{}\n", out.dump());
  } else {
    for (const int32_t id : ids)
      fmt::print("{:>7}  {}\n", id,
                 nlohmann::json(std::string(m.tokenizer->bytes_of(id)))
                     .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  outcome.did_something = true;
}

}  // namespace

Command add_tokenize(CLI::App& app) {
  auto f = std::make_shared<LanguageFlags>();
  auto p = std::make_shared<PromptFlags>();
  auto json = std::make_shared<bool>(false);
  f->add_to(app, false), p->add_to(app);
  app.add_flag("--json", *json, "one JSON object");
  return [=](Outcome& o) { run_tokenize(*f, *p, *json, o); };
}

}  // namespace hedgerow::cli
