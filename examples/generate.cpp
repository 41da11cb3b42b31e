// SPDX-License-Identifier: Apache-2.0
// A language model and a draft for it: generate MODEL DRAFT "what to say".
#include <cstdio>
#include <exception>

#include "hedgerow/language/language_model.h"

using namespace hedgerow;

int main(int argc, char** argv) try {
  if (argc != 4) return std::fputs("wanted: generate MODEL DRAFT \"what to say\"\n", stderr), 2;
  const LanguageModel model = open_language_model({.model = argv[1]}),
                      draft = open_language_model({.model = argv[2]});
  check_draft(model, draft);

  Context on(*model.weights->backend, 2);  // two threads, shared by both
  LlamaPass pass(model.weights, on, {.context = 1024}),
      draft_pass(draft.weights, on, {.context = 1024 + kMostNodes});
  Generator generator(pass, {.model = &draft_pass});

  TextStream text(*model.tokenizer, {});
  const Generated out =
      generator.run(model.chat({{"user", argv[3]}}),
                    {.tree = parse_tree("auto"), .end_of_text = model.tokenizer->vocabulary().end_of_text},
                    [&](int32_t token, bool drafted) {
                      std::printf(drafted ? "\x1b[32m%s\x1b[0m" : "%s", text.push(token).c_str());
                      return true;
                    });
  std::printf("%s\n%zu tokens in %d passes\n", text.finish().c_str(), out.tokens.size(), out.stats.passes);
} catch (const std::exception& e) {
  return std::fprintf(stderr, "%s\n", e.what()), 2;
}
