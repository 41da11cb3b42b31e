// SPDX-License-Identifier: Apache-2.0
// A language model ready to use: weights, vocabulary, chat template. The door to this half for programs that
// embed it; see examples/generate.cpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hedgerow/language/generate.h"
#include "hedgerow/language/llama.h"
#include "hedgerow/language/template/chat_template.h"
#include "hedgerow/language/tokenizer/tokenizer.h"

namespace hedgerow {

struct LanguageOptions {
  std::string model = "hedgerow-lm-mini";  // a name, a GGUF file, a Hugging Face folder, random:SHAPE
  LlamaLoad load = {};
  std::string gptq_zeros = {};  // "", "v1", "v2"
  std::string backend = {};     // as find_backend() takes it
};

struct LanguageModel {
  std::string path;
  std::shared_ptr<const Llama> weights;         // null: opened for its text alone
  std::unique_ptr<Tokenizer> tokenizer;         // null: random weights
  std::unique_ptr<ChatTemplate> chat_template;  // null: the file has none
  std::vector<std::string> notes;

  // Tokens of a conversation, as the model's own template renders it, up to where the answer begins. `fed`,
  // if not null: the text. Error where there is no template.
  std::vector<int32_t> chat(const std::vector<ChatMessage>& messages, std::string* fed = nullptr) const;
  // Tokens of plain text, with a beginning of text if the model wants one.
  std::vector<int32_t> raw(const std::string& text) const;
  // Text of the control tokens that a template may name.
  std::string bos_text() const, eos_text() const;
};

LanguageModel open_language_model(const LanguageOptions& options);
// The same without weights: the file is checked, its vocabulary and template are read.
LanguageModel open_language_text(const LanguageOptions& options);
// Error naming the first token that differs, unless `draft` can draft for `target`.
void check_draft(const LanguageModel& target, const LanguageModel& draft);

// Text as it comes, from tokens: whole characters, and nothing that may turn out to be a stop string.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops)
      : tokenizer_(tokenizer), stops_(std::move(stops)) {}
  // What can be shown now. `stopped` is true from where a stop string was found; it and what follows are left
  // out.
  std::string push(int32_t token);
  std::string finish();  // what was held back
  bool stopped() const { return stopped_; }
  const std::string& text() const { return text_; }  // shown so far

 private:
  std::string release(bool all);
  const Tokenizer& tokenizer_;
  std::vector<std::string> stops_;
  std::string held_, text_;
  bool stopped_ = false;
};

}  // namespace hedgerow
