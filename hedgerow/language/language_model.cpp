// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/language_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "hedgerow/core/error.h"
#include "hedgerow/io/find_model.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/gguf_lm.h"
#include "hedgerow/language/tokenizer/utf8.h"

namespace hedgerow {
namespace {

// tokenizer_config.json's template, or the file beside it; the one named "default" of several.
std::string template_of_folder(const std::string& folder) {
  constexpr uint64_t kMost = 4u << 20;
  if (const std::string beside = folder + "/chat_template.jinja"; is_file(beside))
    return read_file(beside, kMost);
  const std::string path = folder + "/tokenizer_config.json";
  if (!is_file(path)) return "";
  const nlohmann::json config = parse_json(read_file(path, kMost), path);
  const nlohmann::json* t = json_find(config, "chat_template");
  if (!t) return "";
  if (t->is_string()) return t->get<std::string>();
  if (t->is_array())
    for (const nlohmann::json& one : *t)
      if (json_text(one, "name", "", path) == "default") {
        const nlohmann::json* text = json_find(one, "template");
        if (text && text->is_string()) return text->get<std::string>();
      }
  throw Error(path + ": chat_template: wanted text, or a list with one named default, found another thing");
}

LanguageModel text_of(const LmFile& file, const std::string& path) {
  LanguageModel m;
  m.path = path;
  std::string source;
  if (const auto* gguf = dynamic_cast<const GgufLm*>(&file)) {
    m.tokenizer = std::make_unique<Tokenizer>(read_gguf_vocabulary(gguf_vocabulary(gguf->header())));
    source = gguf->header().text("tokenizer.chat_template", "");
  } else if (is_folder(m.path)) {
    m.tokenizer = std::make_unique<Tokenizer>(read_vocabulary(m.path));
    source = template_of_folder(m.path);
  }
  if (m.tokenizer && m.tokenizer->size() > file.config().vocab)
    throw Error(fmt::format("{}: vocabulary: wanted at most {} tokens, as the output has columns, found {}",
                            m.path, file.config().vocab, m.tokenizer->size()));
  m.notes = file.notes();
  if (!source.empty()) {
    try {
      m.chat_template = std::make_unique<ChatTemplate>(source, m.path + ": chat template");
    } catch (const Error& e) {  // the model can still be used with plain text
      m.notes.push_back(e.what());
    }
  }
  return m;
}

std::string path_of(const LanguageOptions& options) {
  return options.model.starts_with("random:") ? options.model : find_model(options.model);
}

}  // namespace

LanguageModel open_language_text(const LanguageOptions& options) {
  const std::string path = path_of(options);
  return text_of(*open_lm({.path = path, .gptq_zeros = options.gptq_zeros}), path);
}

LanguageModel open_language_model(const LanguageOptions& options) {
  const std::string path = path_of(options);
  const std::unique_ptr<LmFile> file = open_lm({.path = path, .gptq_zeros = options.gptq_zeros});
  LanguageModel m = text_of(*file, path);
  m.weights = load_llama(*file, find_backend(options.backend), options.load);
  return m;
}

std::string LanguageModel::bos_text() const {
  const int32_t id = tokenizer->vocabulary().bos;
  return id >= 0 ? std::string(tokenizer->bytes_of(id)) : "";
}
std::string LanguageModel::eos_text() const {
  const auto& ends = tokenizer->vocabulary().end_of_text;
  return ends.empty() ? "" : std::string(tokenizer->bytes_of(ends[0]));
}

std::vector<int32_t> LanguageModel::chat(const std::vector<ChatMessage>& messages, std::string* fed) const {
  require(tokenizer != nullptr, path + ": wanted a vocabulary, found random weights without one");
  require(chat_template != nullptr,
          path + ": wanted a chat template, found none that can be used; --raw feeds plain text");
  const std::vector<ChatTemplate::Span> spans = chat_template->render(
      {.messages = messages, .bos_token = bos_text(), .eos_token = eos_text(), .now = std::time(nullptr)});
  std::vector<Tokenizer::Piece> pieces;
  for (const ChatTemplate::Span& s : spans) {
    pieces.push_back({s.text, s.from_template});
    if (fed) *fed += s.text;
  }
  return tokenizer->encode(pieces, true);
}

std::vector<int32_t> LanguageModel::raw(const std::string& text) const {
  require(tokenizer != nullptr, path + ": wanted a vocabulary, found random weights without one");
  return tokenizer->encode({{text, false}}, true);
}

void check_draft(const LanguageModel& target, const LanguageModel& draft) {
  if (!target.tokenizer || !draft.tokenizer) {
    if (target.weights->config.vocab != draft.weights->config.vocab)
      throw Error(fmt::format("draft: wanted a vocabulary of {} tokens, found {}",
                              target.weights->config.vocab, draft.weights->config.vocab));
    return;
  }
  const std::string difference = first_difference(*target.tokenizer, *draft.tokenizer);
  if (!difference.empty())
    throw Error(fmt::format("{}: wanted the vocabulary of {}, found another: {}", draft.path, target.path,
                            difference));
}

std::string TextStream::push(int32_t token) {
  if (stopped_ || tokenizer_.is_control(token)) return "";
  held_ += tokenizer_.bytes_of(token);
  return release(false);
}
std::string TextStream::finish() { return release(true); }

std::string TextStream::release(bool all) {
  size_t show = held_.size() - (all ? 0 : unfinished_bytes(held_));
  for (const std::string& stop : stops_) {
    if (stop.empty()) continue;
    if (const size_t at = held_.find(stop); at != std::string::npos) {
      stopped_ = true, show = std::min(show, at);
      continue;
    }
    if (all) continue;
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > 0; --n)  // the end may begin one
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) {
        show = std::min(show, held_.size() - n);
        break;
      }
  }
  std::string out = held_.substr(0, show);
  held_ = stopped_ ? "" : held_.substr(show);
  text_ += out;
  return out;
}

}  // namespace hedgerow
