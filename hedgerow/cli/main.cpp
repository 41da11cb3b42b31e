// SPDX-License-Identifier: Apache-2.0
// hedgerow: the program. Exit 0: all done; 1: some of it; 2: nothing.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "hedgerow/cli/commands.h"
#include "hedgerow/core/error.h"
#include "hedgerow/kernels/kernels.h"

#ifndef HEDGEROW_VERSION
#error "HEDGEROW_VERSION comes from the build"
#endif

namespace hedgerow::cli {
namespace {

// Errors end up in terminals and logs as one line, whatever a file name or a file's content put into them.
std::string one_line(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n' || c == '\r') {
      if (!out.empty() && out.back() != ' ') out += ' ';
    } else {
      out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
    }
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

void print_kernels() {
  const Backend& used = find_backend("");
  for (const Backend* b : all_backends())
    fmt::print("{} {:12} {}{}\n", b == &used ? '*' : ' ', b->name, b->description,
               b->runs_here() ? "" : " (not on this machine)");
  fmt::print("* in use; HEDGEROW_KERNELS=NAME forces another\n");
}

// A command-line mistake as one line: what CLI11 says, behind the name of the command it was made in.
std::string usage_line(const CLI::App& app, const CLI::ParseError& e) {
  std::string command = "hedgerow";
  for (const CLI::App* at = &app; at;) {
    const auto chosen = at->get_subcommands();
    at = chosen.empty() ? nullptr : chosen.front();
    if (at) command += " " + at->get_name();
  }
  return one_line(fmt::format("{}: {} (try {} --help)", command, e.what(), command));
}

int run(int argc, char** argv) {
  CLI::App app(
      "Transformers on irregular shapes: pruned Vision Transformers on ragged rows, exact tree speculation "
      "for language models.",
      "hedgerow");
  app.set_version_flag("--version", "hedgerow " HEDGEROW_VERSION);
  bool kernels = false;
  app.add_flag("--kernels", kernels, "list the kernel levels and which one is in use");

  std::vector<std::pair<CLI::App*, Command>> commands;
  const auto add = [&](CLI::App& to, const char* name, const char* what, Command (*make)(CLI::App&)) {
    CLI::App* sub = to.add_subcommand(name, what);
    commands.emplace_back(sub, make(*sub));
  };
  add(app, "classify", "label pictures", add_classify);
  add(app, "compare", "run pictures in two ways and say where their rows part", add_compare);
  add(app, "info", "describe a checkpoint", add_info);
  add(app, "generate", "write text with a language model, plainly or by exact tree speculation",
      add_generate);
  add(app, "chat", "talk to a language model; it keeps its cache between turns", add_chat);
  add(app, "score", "perplexity of a text under a language model", add_score);
  add(app, "tokenize", "show the tokens of a text", add_tokenize);
  CLI::App* bench = app.add_subcommand("bench", "measure speed");
  bench->require_subcommand(1);
  add(*bench, "vit", "whole models: dense, ragged, padded", add_bench_vit);
  add(*bench, "llm", "language models: cost of a pass, speculative against plain decoding", add_bench_llm);
  add(*bench, "attention", "the attention op alone, and the cost of a call", add_bench_attention);

  Outcome outcome;
  const auto failed = [&](const std::string& line) {
    std::fflush(stdout);
    fmt::print(stderr, "hedgerow: {}\n", one_line(line));
    return outcome.did_something ? kSomeSkipped : kNothingDone;
  };
  try {
    app.parse(argc, argv);
    if (kernels) {
      print_kernels();
      return kAllDone;
    }
    for (auto& [sub, command] : commands) {
      if (!sub->parsed()) continue;
      command(outcome);
      require(std::fflush(stdout) == 0 && !std::ferror(stdout), "standard output: cannot be written");
      return outcome.exit_code;
    }
    fmt::print("{}", app.help());
    return kNothingDone;
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    fmt::print(stderr, "{}\n", usage_line(app, e));
    return kNothingDone;
  } catch (const std::bad_alloc&) {
    return failed("out of memory");
  } catch (const std::exception& e) {
    return failed(e.what());
  }
}

}  // namespace
}  // namespace hedgerow::cli

int main(int argc, char** argv) { return hedgerow::cli::run(argc, argv); }
