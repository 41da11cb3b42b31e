// SPDX-License-Identifier: Apache-2.0
// hedgerow bench llm: what passes cost, beside what memory gives, and speculative against plain decoding,
// prompt by prompt in turn, with the proof that both wrote the same tokens.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "hedgerow/cli/bench_support.h"
#include "hedgerow/cli/commands.h"
#include "hedgerow/cli/language_flags.h"
#include "hedgerow/cli/prompt_sets.h"
#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"
#include "hedgerow/io/file.h"
#include "hedgerow/io/json.h"

namespace hedgerow::cli {
namespace {

struct BenchFlags {
  LanguageFlags language;
  SamplingFlags sampling;
  std::vector<std::string> prompts, trees = {"auto"};
  std::string log;
  int limit = 0, first = 0, max_tokens = 128, pairs = 1;
  bool raw = false, control = false, passes = true;
};

// Bytes a second that the pool's threads read of `bytes` bytes.
double read_speed(Context& on, const Buffer& data, size_t bytes) {
  const auto* p = data.as<uint64_t>();
  const int pieces = 8 * on.threads();
  std::vector<uint64_t> sums(static_cast<size_t>(pieces));
  const size_t words = bytes / 8;
  const double begin = now_s();
  on.run(pieces, [&](int task, int) {
    uint64_t s[8] = {};
    const size_t from = words * static_cast<size_t>(task) / static_cast<size_t>(pieces) / 8 * 8,
                 to = words * static_cast<size_t>(task + 1) / static_cast<size_t>(pieces) / 8 * 8;
    for (size_t i = from; i < to; i += 8) {
      __builtin_prefetch(p + i + 512);
      for (size_t j = 0; j < 8; ++j) s[j] ^= p[i + j];
    }
    sums[static_cast<size_t>(task)] = s[0] ^ s[1] ^ s[2] ^ s[3] ^ s[4] ^ s[5] ^ s[6] ^ s[7];
  });
  return static_cast<double>(bytes) / (now_s() - begin);
}

void bench_passes(OpenLanguage& lm, const BenchFlags& f) {
  LlamaPass& pass = *lm.pass;
  const Llama& model = pass.model();
  std::vector<int32_t> tokens(512);
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>((i * 7919 + 13) % static_cast<size_t>(model.config.vocab));
  constexpr int kContext = 256;
  const int context = std::min(kContext, pass.limits().context - 64);
  Buffer plain(static_cast<size_t>(model.bytes_a_row()));
  fmt::print("{}: {:.0f} MB of weights a pass, {} threads, kernels {}\n", lm.target.path,
             1e-6 * static_cast<double>(model.bytes_a_row()), lm.on->threads(), lm.on->backend().name);
  fmt::print("rows   ms a pass   over one row   GB/s   share of a plain read\n");
  pass.truncate(0, 0);
  pass.read(0, tokens.data(), context);
  double one = 0;
  for (const int rows : {1, 2, 3, 4, 6, 8, 12, 15, 16, 24, 32}) {
    std::vector<double> seconds, speeds;
    for (int i = 0; i < 9; ++i) {
      speeds.push_back(read_speed(*lm.on, plain, plain.bytes()));
      const double begin = now_s();
      pass.forward({{.sequence = 0, .tokens = tokens.data(), .count = rows, .logits = Logits::all}});
      seconds.push_back(now_s() - begin);
    }
    const double t = median(seconds), speed = static_cast<double>(model.bytes_a_row()) / t;
    if (rows == 1) one = t;
    fmt::print("{:4}  {:10.2f}  {:13.2f}  {:5.1f}  {:.0f} %\n", rows, 1e3 * t, t / one, 1e-9 * speed,
               100 * speed / median(speeds));
    std::fflush(stdout);
  }
  if (pass.limits().context >= 512) {
    pass.truncate(0, 0);
    std::vector<double> seconds;
    for (int i = 0; i < 3; ++i) {
      const double begin = now_s();
      pass.forward({{.sequence = 0, .tokens = tokens.data(), .count = 512, .logits = Logits::last}});
      seconds.push_back(now_s() - begin);
    }
    fmt::print("prefill of 512: {:.0f} tokens/s\n", 512 / median(seconds));
  }
}

struct Row {
  std::string set, tree;
  double ratio = 0, whole = 0, control = 1;
  bool same = false, accepted = false;
};

// Runs that a log already holds, by set, prompt and tree.
std::map<std::string, Row> logged(const std::string& path) {
  std::map<std::string, Row> done;
  if (path.empty() || !is_file(path)) return done;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const nlohmann::json j = nlohmann::json::parse(line, nullptr, false);
    if (!j.is_object() || !j.contains("key")) continue;  // a line that was cut off
    done[j["key"]] = {j["set"], j["tree"], j["ratio"], j["whole"], j["control"], j["same"], j["accepted"]};
  }
  return done;
}

void summarise(const std::vector<Row>& rows) {
  std::map<std::pair<std::string, std::string>, std::vector<const Row*>> by;
  for (const Row& r : rows) by[{r.set, r.tree}].push_back(&r), by[{"all", r.tree}].push_back(&r);
  fmt::print("\n{:34} {:12} {:>7} {:>6} {:>9} {:>8} {:>8} {:>8} {:>8}\n", "set", "tree", "prompts", "same",
             "accepted", "decode x", "whole x", "control", "least x");
  for (const auto& [key, some] : by) {
    double log_ratio = 0, log_whole = 0, log_control = 0, least = 1e9;
    int same = 0, accepted = 0;
    for (const Row* r : some) {
      log_ratio += std::log(r->ratio), log_whole += std::log(r->whole), log_control += std::log(r->control);
      least = std::min(least, r->ratio), same += r->same, accepted += r->accepted;
    }
    const auto n = static_cast<double>(some.size());
    fmt::print("{:34} {:12} {:7} {:6} {:9} {:8.3f} {:8.3f} {:8.3f} {:8.3f}\n", key.first, key.second,
               some.size(), same, accepted, std::exp(log_ratio / n), std::exp(log_whole / n),
               std::exp(log_control / n), least);
  }
}

bool bench_prompts(OpenLanguage& lm, const BenchFlags& f) {
  Generator generator(*lm.pass, lm.with());
  std::map<std::string, Row> done = logged(f.log);
  std::FILE* log = f.log.empty() ? nullptr : std::fopen(f.log.c_str(), "a");
  if (!f.log.empty() && !log) throw Error(f.log + ": cannot be written");
  std::vector<Row> rows;
  const Costs costs = generator.measure();
  for (const std::string& path : f.prompts) {
    const PromptSet set = read_prompts(path);
    const int count = static_cast<int>(set.prompts.size());
    for (int i = f.first; i < (f.limit ? std::min(count, f.first + f.limit) : count); ++i) {
      const std::string& text = set.prompts[static_cast<size_t>(i)];
      const std::vector<int32_t> prompt =
          f.raw || !lm.target.chat_template ? lm.target.raw(text) : lm.target.chat({{"user", text}});
      if (static_cast<int>(prompt.size()) + 2 > lm.pass->limits().context) continue;
      for (const std::string& tree : f.trees) {
        const std::string key =
            fmt::format("{}#{}#{}#{}#{}", set.name, i, tree, f.max_tokens, f.sampling.sampling.temperature);
        if (const auto it = done.find(key); it != done.end()) {
          rows.push_back(it->second);
          continue;
        }
        GenerateOptions how{.sampling = f.sampling.sampling,
                            .tree = {},
                            .max_tokens = f.max_tokens,
                            .end_of_text = lm.target.tokenizer->vocabulary().end_of_text,
                            .costs = costs};
        std::vector<double> ratios, wholes, controls;
        Row row{.set = set.name, .tree = tree, .same = true};
        for (int pair = 0; pair < f.pairs; ++pair) {
          Generated plain, drafted, again;
          const auto run = [&](const std::string& shape, Generated* to) {
            how.tree = parse_tree(shape);
            Generator fresh(*lm.pass, lm.with());
            *to = fresh.run(prompt, how);
          };
          // In turn, which comes first alternating.
          if (pair % 2) run(tree, &drafted);
          run("off", &plain);
          if (pair % 2 == 0) run(tree, &drafted);
          if (f.control) run("off", &again);
          row.same = row.same && plain.tokens == drafted.tokens && plain.finish == drafted.finish;
          row.accepted = row.accepted || drafted.stats.accepted > 0;
          ratios.push_back(plain.stats.generate / drafted.stats.generate);
          wholes.push_back(plain.stats.total / drafted.stats.total);
          if (f.control) controls.push_back(plain.stats.generate / again.stats.generate);
        }
        row.ratio = median(ratios), row.whole = median(wholes);
        if (f.control) row.control = median(controls);
        rows.push_back(row);
        if (log) {
          const nlohmann::json line = {{"key", key},
                                       {"set", row.set},
                                       {"prompt", i},
                                       {"tree", tree},
                                       {"ratio", row.ratio},
                                       {"whole", row.whole},
                                       {"control", row.control},
                                       {"same", row.same},
                                       {"accepted", row.accepted}};
          fmt::print(log, "{}\n", line.dump());
          std::fflush(log);
        }
        if (!row.same) fmt::print("DIFFERENT TOKENS: {}\n", key);
      }
    }
  }
  if (log) std::fclose(log);
  summarise(rows);
  return std::all_of(rows.begin(), rows.end(), [](const Row& r) { return r.same; });
}

void run_bench(const BenchFlags& f, Outcome& outcome) {
  for (const std::string& t : f.trees) (void)parse_tree(t);
  OpenLanguage lm(f.language, !f.prompts.empty());
  lm.make_room(2048);
  if (f.passes) bench_passes(lm, f);
  outcome.did_something = true;
  if (!f.prompts.empty() && !bench_prompts(lm, f)) outcome.exit_code = kSomeSkipped;
}

}  // namespace

Command add_bench_llm(CLI::App& app) {
  auto f = std::make_shared<BenchFlags>();
  f->language.add_to(app, true), f->sampling.add_to(app);
  app.add_option(
      "--prompts", f->prompts,
      "files of prompts: speculative against plain decoding on each, and whether the tokens are the same");
  app.add_option("--tree", f->trees, "trees to try (default: auto)");
  app.add_option("--limit", f->limit, "prompts of each file")->check(CLI::Range(1, 1 << 24));
  app.add_option("--first", f->first, "number of the first one")->check(CLI::Range(0, 1 << 24));
  app.add_option("--max-tokens", f->max_tokens, "new tokens of each")->check(CLI::Range(1, 1 << 20));
  app.add_option("--pairs", f->pairs, "runs of each, in turn; medians count")->check(CLI::Range(1, 1000));
  app.add_option("--log", f->log, "a file of JSON lines; what it holds already is not run again");
  app.add_flag("--raw", f->raw, "prompts as plain text");
  app.add_flag("--control", f->control, "plain decoding against itself, too");
  app.add_flag("--passes,!--no-passes", f->passes, "time single passes first (default)");
  return [f](Outcome& o) { run_bench(*f, o); };
}

}  // namespace hedgerow::cli
