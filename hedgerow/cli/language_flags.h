// SPDX-License-Identifier: Apache-2.0
// Flags of the commands that run a language model, and what they open.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "hedgerow/language/language_model.h"

namespace hedgerow::cli {

struct LanguageFlags {
  std::string model = "hedgerow-lm-mini", draft = "default", weights = "file", activations = "int8",
              cache = "f16", gptq_zeros;
  int threads = 0, context = 0, draft_outputs = -1;
  bool verbose = false;

  void add_to(CLI::App& command, bool drafts);
  LanguageOptions options(const std::string& which) const;
};

struct SamplingFlags {
  Sampling sampling;
  void add_to(CLI::App& command);
};

// A target and what drafts for it, on one pool of threads, with room for so many tokens.
class OpenLanguage {
 public:
  OpenLanguage(const LanguageFlags& flags, bool drafts);
  // Passes with room for `context` keys; the model's own, where that is smaller.
  void make_room(int context);
  LanguageModel target;
  std::unique_ptr<LanguageModel> draft;  // null: none, or lookup alone
  bool lookup = false, extend = false;
  std::unique_ptr<Context> on;
  std::unique_ptr<LlamaPass> pass, draft_pass;
  DraftWith with() const { return {.model = draft_pass.get(), .lookup = lookup, .extend = extend}; }

 private:
  LanguageFlags flags_;
};

// What a prompt is made of: messages or plain text.
struct PromptFlags {
  std::string prompt, prompt_file, messages_file, system;
  bool raw = false, chat = false;
  void add_to(CLI::App& command);
  // `fed`: the text that was fed.
  std::vector<int32_t> tokens(const LanguageModel& model, std::string* fed) const;
};

}  // namespace hedgerow::cli
