// SPDX-License-Identifier: Apache-2.0
// The program's commands. Each adds its flags to the app and, if it is chosen, runs in main's hands: commands
// throw, only main catches, prints the one line and decides the exit code.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace hedgerow::cli {

enum ExitCode : int { kAllDone = 0, kSomeSkipped = 1, kNothingDone = 2 };

// What a command leaves behind for main, even if it ends by an exception.
struct Outcome {
  bool did_something = false;
  int exit_code = kAllDone;
};

using Command = std::function<void(Outcome&)>;

Command add_classify(CLI::App& app);
Command add_compare(CLI::App& app);
Command add_info(CLI::App& app);
Command add_generate(CLI::App& app);
Command add_tokenize(CLI::App& app);
Command add_bench_llm(CLI::App& bench);
Command add_chat(CLI::App& app);
Command add_score(CLI::App& app);
Command add_bench_vit(CLI::App& bench);
Command add_bench_attention(CLI::App& bench);

}  // namespace hedgerow::cli
