// SPDX-License-Identifier: Apache-2.0
// hedgerow score: how likely a language model thinks a text.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "hedgerow/cli/commands.h"
#include "hedgerow/cli/language_flags.h"
#include "hedgerow/core/error.h"
#include "hedgerow/io/file.h"

namespace hedgerow::cli {
namespace {

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

Command add_score(CLI::App& app) {
  auto f = std::make_shared<ScoreFlags>();
  f->language.add_to(app, false);
  app.add_option("file", f->file, "a text")->required();
  app.add_option("--window", f->window, "tokens that are read together")->check(CLI::Range(2, 1 << 20));
  app.add_flag("--json", f->json, "one JSON object");
  return [f](Outcome& o) { run_score(*f, o); };
}

}  // namespace hedgerow::cli
