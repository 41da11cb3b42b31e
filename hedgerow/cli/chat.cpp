// SPDX-License-Identifier: Apache-2.0
// hedgerow chat and hedgerow score.
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <iostream>
#include <nlohmann/json.hpp>

#include "hedgerow/cli/commands.h"
#include "hedgerow/cli/language_flags.h"
#include "hedgerow/core/error.h"
#include "hedgerow/io/file.h"

namespace hedgerow::cli {
namespace {

std::atomic<bool> interrupted{false};
extern "C" void on_interrupt_in_chat(int) { interrupted = true; }

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
    GenerateOptions how{.sampling = f.sampling.sampling,
                        .tree = tree,
                        .max_tokens = f.max_tokens,
                        .end_of_text = lm.target.tokenizer->vocabulary().end_of_text,
                        .costs = costs,
                        .interrupted = &interrupted};
    TextStream stream(*lm.target.tokenizer, {});
    interrupted = false;
    std::signal(SIGINT, on_interrupt_in_chat);
    const Generated out = generator.run(prompt, how, [&](int32_t token, bool) {
      fmt::print("{}", stream.push(token));
      std::fflush(stdout);
      return true;
    });
    std::signal(SIGINT, SIG_DFL);
    fmt::print("{}\n", stream.finish());
    if (!out.stats.costs.draft.empty()) costs = out.stats.costs;
    messages.push_back({"assistant", stream.text()});
    outcome.did_something = true;
  }
}

struct ScoreFlags {
  LanguageFlags language;
  std::string file;
  int window = 1024;
  bool json = false;
};

// Windows of the text one after the other, each from its own beginning; every token but a window's first
// counts.
void run_score(const ScoreFlags& f, Outcome& outcome) {
  OpenLanguage lm(f.language, false);
  lm.make_room(f.window);
  const std::vector<int32_t> tokens = lm.target.raw(read_file(f.file, 256u << 20));
  const int window = lm.pass->limits().context, vocab = lm.pass->outputs();
  constexpr int kRows = 64;
  double sum = 0;
  int64_t counted = 0;
  for (size_t at = 0; at + 1 < tokens.size(); at += static_cast<size_t>(window)) {
    const int count = static_cast<int>(std::min<size_t>(static_cast<size_t>(window), tokens.size() - at));
    lm.pass->truncate(0, 0);
    for (int row = 0; row + 1 < count; row += kRows) {
      const int here = std::min(kRows, count - 1 - row);
      lm.pass->forward(
          {{.sequence = 0, .tokens = tokens.data() + at + row, .count = here, .logits = Logits::all}});
      lm.pass->keep(0, here);
      std::vector<int32_t> best(static_cast<size_t>(here));
      std::vector<float> value(best.size()), log_sum(best.size());
      lm.pass->best(0, here, 1, best.data(), value.data(), log_sum.data());
      for (int r = 0; r < here; ++r, ++counted) {
        const int32_t next = tokens[at + static_cast<size_t>(row + r) + 1];
        if (next < vocab)
          sum += static_cast<double>(lm.pass->logits(r)[next] - log_sum[static_cast<size_t>(r)]);
      }
    }
  }
  if (counted == 0) throw Error(f.file + ": wanted at least two tokens, found fewer");
  const double mean = sum / static_cast<double>(counted);
  if (f.json)
    fmt::print("{}\n", nlohmann::json({{"tokens", counted},
                                       {"log_likelihood", sum},
                                       {"perplexity", std::exp(-mean)},
                                       {"window", window}})
                           .dump());
  else
    fmt::print("{} tokens, log-likelihood {:.3f} ({:.4f} a token), perplexity {:.4f}\n", counted, sum, mean,
               std::exp(-mean));
  outcome.did_something = true;
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

Command add_score(CLI::App& app) {
  auto f = std::make_shared<ScoreFlags>();
  f->language.add_to(app, false);
  app.add_option("file", f->file, "a text")->required();
  app.add_option("--window", f->window, "tokens that are read together")->check(CLI::Range(2, 1 << 20));
  app.add_flag("--json", f->json, "one JSON object");
  return [f](Outcome& o) { run_score(*f, o); };
}

}  // namespace hedgerow::cli
