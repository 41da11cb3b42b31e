// SPDX-License-Identifier: Apache-2.0
// hedgerow generate: text in, text out.
#include <fmt/format.h>
#include <unistd.h>

#include "hedgerow/cli/commands.h"
#include "hedgerow/cli/generate_report.h"
#include "hedgerow/cli/interrupt.h"
#include "hedgerow/cli/language_flags.h"
#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"

namespace hedgerow::cli {
namespace {

struct GenerateFlags {
  LanguageFlags language;
  SamplingFlags sampling;
  PromptFlags prompt;
  std::string tree = "auto";
  int max_tokens = 256;
  std::vector<std::string> stops;
  bool ignore_eos = false, json = false, stats = false;
};

void run_generate(const GenerateFlags& f, Outcome& outcome) {
  const double begin = now_s();
  const TreeShape tree = parse_tree(f.tree);
  check_sampling(f.sampling.sampling);
  OpenLanguage lm(f.language, tree.kind != TreeShape::Kind::off);
  const double loaded = now_s();
  std::string fed;
  const std::vector<int32_t> prompt = f.prompt.tokens(lm.target, &fed);
  if (f.language.verbose) fmt::print(stderr, "fed, {} tokens: {}\n", prompt.size(), fed);
  lm.make_room(static_cast<int>(prompt.size()) + f.max_tokens + kMostNodes);
  GenerateOptions how{.sampling = f.sampling.sampling,
                      .tree = tree,
                      .max_tokens = f.max_tokens,
                      .end_of_text = {},
                      .costs = {},
                      .interrupted = nullptr};
  if (!f.ignore_eos) how.end_of_text = lm.target.tokenizer->vocabulary().end_of_text;
  TextStream stream(*lm.target.tokenizer, f.stops);
  const bool colours = f.stats && isatty(STDOUT_FILENO) && !f.json;
  const auto show = [&](const std::string& text, bool drafted) {
    if (f.json || text.empty()) return;
    fmt::print("{}{}{}", colours && drafted ? "\x1b[32m" : "", text, colours && drafted ? "\x1b[0m" : "");
    std::fflush(stdout);
    outcome.did_something = true;
  };
  Generator generator(*lm.pass, lm.with());
  Generated out;
  {
    const Interrupt interrupt;
    how.interrupted = interrupt.flag();
    out = generator.run(prompt, how, [&](int32_t token, bool drafted) {
      show(stream.push(token), drafted);
      return !stream.stopped();
    });
    show(stream.finish(), false);
  }
  const GenerateReport report{.lm = lm,
                              .generated = out,
                              .text = stream.text(),
                              .tree = text_of(tree),
                              .seed = f.sampling.sampling.seed,
                              .raw = f.prompt.raw || !lm.target.chat_template,
                              .load = loaded - begin,
                              .total = now_s() - begin};
  if (f.json)
    fmt::print("{}\n", report.json());
  else
    fmt::print("\n");
  outcome.did_something = true;
  std::fflush(stdout);
  if (f.stats) fmt::print(stderr, "{}", report.text_stats());
  if (!f.json && !f.stats && !out.stats.why_not.empty())
    fmt::print(stderr, "speculation was not used: {}\n", out.stats.why_not);
}

}  // namespace

Command add_generate(CLI::App& app) {
  auto f = std::make_shared<GenerateFlags>();
  f->language.add_to(app, true), f->prompt.add_to(app), f->sampling.add_to(app);
  app.add_option("--tree", f->tree,
                 "what is drafted: auto (what pays), off, chain:K, full:DxB, best:N[:D], list:PATH,PATH");
  app.add_option("--max-tokens", f->max_tokens, "new tokens at most")->check(CLI::Range(1, 1 << 24));
  app.add_option("--stop", f->stops, "text that ends the answer; may be given several times");
  app.add_flag("--ignore-eos", f->ignore_eos, "go on behind an end of text");
  app.add_flag("--json", f->json, "one JSON object instead of text");
  app.add_flag("--stats", f->stats, "speed and acceptance, on stderr; drafted text in colour");
  return [f](Outcome& o) { run_generate(*f, o); };
}

}  // namespace hedgerow::cli
