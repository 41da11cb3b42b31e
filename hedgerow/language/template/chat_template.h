// SPDX-License-Identifier: Apache-2.0
// Chat templates: the part of Jinja2 that models' files use, rendered byte for byte as transformers'
// apply_chat_template does (trim_blocks, lstrip_blocks, loop controls, tojson without HTML escapes), and with
// the origin of every byte: what came from a message is never to be read as a control token.
//
// A template comes with a model's file and is hostile until shown otherwise: nesting, steps and bytes are
// bounded, and what isn't implemented is an Error that names the construct and its line.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace hedgerow {

struct ChatMessage {
  std::string role, content;
};

class ChatTemplate {
 public:
  // Parses `source`; `where` opens every message. Error on a fault or on an unsupported construct.
  explicit ChatTemplate(std::string source, const std::string& where);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  struct Options {
    std::vector<ChatMessage> messages = {};
    bool add_generation_prompt = true;
    // Empty: undefined in the template, as for a tokenizer that has none.
    std::string bos_token = {}, eos_token = {};
    int64_t now = 0;  // seconds since 1970 in UTC, for strftime_now
  };
  // Neighbours differ in their origin. from_template: literals of the template and the two tokens above;
  // else the text of a message.
  struct Span {
    std::string text;
    bool from_template;
  };
  std::vector<Span> render(const Options& options) const;

 private:
  struct Parsed;
  std::unique_ptr<Parsed> parsed_;
};

}  // namespace hedgerow
