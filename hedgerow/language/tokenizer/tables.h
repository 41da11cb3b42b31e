// SPDX-License-Identifier: Apache-2.0
// What a tokenizer looks up, made once from its vocabulary.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "hedgerow/language/tokenizer/merge.h"
#include "hedgerow/language/tokenizer/tokenizer.h"

namespace hedgerow {

struct Tokenizer::Tables {
  Vocabulary v;
  std::vector<std::string> bytes;                      // of each token
  std::unordered_map<std::string_view, int32_t> text;  // of tokens that text can become
  std::unordered_map<std::string_view, int32_t> control;
  std::array<bool, 256> control_begins{};
  size_t longest_control = 0, longest = 0;      // bytes; of `control`, of `text`
  std::unordered_map<uint64_t, Merged> merges;  // of the tokens left and right (key_of)
  std::array<int32_t, 256> byte_token;

  // Error unless the vocabulary can be used as it is.
  explicit Tables(Vocabulary from);
  // `first`: nothing stands before this text.
  void encode_text(std::string_view text, bool first, std::vector<int32_t>* to) const;

  static uint64_t key_of(int32_t a, int32_t b) {
    return static_cast<uint64_t>(static_cast<uint32_t>(a)) << 32 | static_cast<uint32_t>(b);
  }

 private:
  void add_token(int32_t id);
  void add_merges();
  void encode_words(std::string_view text, std::vector<int32_t>* to) const;
  void encode_sentence(std::string_view text, bool first, std::vector<int32_t>* to) const;
  void spell(std::string_view character, std::vector<int32_t>* to) const;
};

// Every `from` in `text` replaced.
std::string replaced(std::string_view text, std::string_view from, std::string_view to);

constexpr std::string_view kBlock = "\xe2\x96\x81";  // U+2581, SentencePiece's space

}  // namespace hedgerow
