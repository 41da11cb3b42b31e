// SPDX-License-Identifier: Apache-2.0
// hedgerow chat: a conversation, whose cache stays between turns.
#include <fmt/format.h>
#include <unistd.h>

#include <iostream>

#include "hedgerow/cli/commands.h"
#include "hedgerow/cli/interrupt.h"
#include "hedgerow/cli/language_flags.h"

namespace hedgerow::cli {
namespace {

struct ChatFlags {
  LanguageFlags language;
  SamplingFlags sampling;
  std::string system, tree = "auto";
  int max_tokens = 1024;
};

// Turn by turn until the input ends. Ctrl-C ends an answer, not the conversation.
void run_chat(const ChatFlags& f, Outcome& outcome) {
  const TreeShape tree = parse_tree(f.tree);
  OpenLanguage lm(f.language, tree.kind != TreeShape::Kind::off);
  lm.make_room(lm.target.weights->config.context);
  std::vector<ChatMessage> messages;
  if (!f.system.empty()) messages.push_back({"system", f.system});
  Generator generator(*lm.pass, lm.with());
  Costs costs;
  const bool person = isatty(STDIN_FILENO);
  for (std::string line;
       (person ? fmt::print("> ") : void()), std::fflush(stdout), std::getline(std::cin, line);) {
    if (line.empty()) continue;
    messages.push_back({"user", line});
    const std::vector<int32_t> prompt = lm.target.chat(messages);
    const Interrupt interrupt;
    GenerateOptions how{.sampling = f.sampling.sampling,
                        .tree = tree,
                        .max_tokens = f.max_tokens,
                        .end_of_text = lm.target.tokenizer->vocabulary().end_of_text,
                        .costs = costs,
                        .interrupted = interrupt.flag()};
    TextStream stream(*lm.target.tokenizer, {});
    const Generated out = generator.run(prompt, how, [&](int32_t token, bool) {
      fmt::print("{}", stream.push(token));
      std::fflush(stdout);
      return true;
    });
    fmt::print("{}\n", stream.finish());
    if (!out.stats.costs.draft.empty()) costs = out.stats.costs;
    messages.push_back({"assistant", stream.text()});
    outcome.did_something = true;
  }
}

}  // namespace

Command add_chat(CLI::App& app) {
  auto f = std::make_shared<ChatFlags>();
  f->language.add_to(app, true), f->sampling.add_to(app);
  app.add_option("--system", f->system, "a system message in front");
  app.add_option("--tree", f->tree, "what is drafted, as for generate");
  app.add_option("--max-tokens", f->max_tokens, "tokens of an answer at most")->check(CLI::Range(1, 1 << 24));
  return [f](Outcome& o) { run_chat(*f, o); };
}

}  // namespace hedgerow::cli
