// SPDX-License-Identifier: Apache-2.0
// Text to tokens: words and their merges (byte-level BPE), or characters and pieces (SentencePiece BPE).
#include <fmt/format.h>

#include "hedgerow/core/error.h"
#include "hedgerow/language/tokenizer/tables.h"
#include "hedgerow/language/tokenizer/utf8.h"
#include "hedgerow/language/tokenizer/words.h"

namespace hedgerow {
namespace {

using Type = Vocabulary::Type;
using Prefix = Vocabulary::Prefix;

// Runs of spaces become one, none at the ends.
std::string squeezed(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (c != ' ' || (!out.empty() && out.back() != ' ')) out += c;
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

bool wants_prefix(Prefix prefix, std::string_view text, bool first) {
  switch (prefix) {
    case Prefix::none:
      return false;
    case Prefix::always:
      return true;
    case Prefix::missing:
      return text[0] != ' ';
    case Prefix::first_missing:
      return first && text[0] != ' ';
  }
  return false;
}

}  // namespace

void Tokenizer::Tables::encode_text(std::string_view from, bool first, std::vector<int32_t>* to) const {
  if (from.empty()) return;
  constexpr size_t kMost = 1u << 30;
  if (from.size() > kMost)
    throw Error(fmt::format("text: wanted at most {} bytes, found {}", kMost, from.size()));
  v.kind == Vocabulary::Kind::byte_bpe ? encode_words(from, to) : encode_sentence(from, first, to);
}

void Tokenizer::Tables::encode_words(std::string_view from, std::vector<int32_t>* to) const {
  const std::string whole = v.nfc ? composed(from) : std::string();
  if (v.nfc) from = whole;
  std::vector<int32_t> symbols;
  for (const std::string_view word : words_of(from, v.pre)) {
    if (v.ignore_merges)
      if (const auto it = text.find(word); it != text.end()) {
        to->push_back(it->second);
        continue;
      }
    symbols.clear();
    for (const char c : word) {
      const int32_t id = byte_token[static_cast<uint8_t>(c)];
      if (id < 0)
        throw Error(fmt::format("{}: vocabulary: wanted a token for byte {}, found none", v.where,
                                static_cast<uint8_t>(c)));
      symbols.push_back(id);
    }
    merge_all(symbols, [&](int32_t a, int32_t b) {
      const auto it = merges.find(key_of(a, b));
      return it == merges.end() ? Merged{0, -1} : it->second;
    });
    to->insert(to->end(), symbols.begin(), symbols.end());
  }
}

// A character that is no piece: its bytes where there is a token for each, else the unknown token, one for a
// run of them.
void Tokenizer::Tables::spell(std::string_view character, std::vector<int32_t>* to) const {
  bool all = true;
  for (const char c : character) all = all && byte_token[static_cast<uint8_t>(c)] >= 0;
  if (all) {
    for (const char c : character) to->push_back(byte_token[static_cast<uint8_t>(c)]);
    return;
  }
  if (v.unknown < 0)
    throw Error(v.where + ": vocabulary: wanted tokens for bytes or an unknown token, found neither");
  if (to->empty() || to->back() != v.unknown) to->push_back(v.unknown);
}

void Tokenizer::Tables::encode_sentence(std::string_view from, bool first, std::vector<int32_t>* to) const {
  std::string text_now = replaced(v.squeeze_spaces ? squeezed(from) : std::string(from), kBlock, " ");
  if (text_now.empty()) return;
  if (wants_prefix(v.prefix, text_now, first)) text_now.insert(text_now.begin(), ' ');
  // Characters first; one that is no token of its own waits as -2 - its place.
  std::vector<int32_t> symbols;
  std::vector<std::string_view> raw;
  for (size_t at = 0; at < text_now.size();) {
    const size_t n = static_cast<size_t>(code_point(text_now, at).bytes);
    const std::string_view one = std::string_view(text_now).substr(at, n);
    if (const auto it = text.find(one); it != text.end()) {
      symbols.push_back(it->second);
    } else {
      symbols.push_back(-2 - static_cast<int32_t>(raw.size()));
      raw.push_back(one);
    }
    at += n;
  }
  const auto bytes_now = [&](int32_t s) {
    return s >= 0 ? std::string_view(bytes[static_cast<size_t>(s)]) : raw[static_cast<size_t>(-2 - s)];
  };
  std::string joined;
  std::unordered_map<int32_t, std::pair<int32_t, int32_t>> made_of;  // unused pieces, as last offered
  merge_all(symbols, [&](int32_t a, int32_t b) {
    if (!v.merges.empty()) {
      const auto it = merges.find(key_of(a, b));
      return it == merges.end() ? Merged{0, -1} : it->second;
    }
    if (bytes_now(a).size() + bytes_now(b).size() > longest) return Merged{0, -1};
    joined = bytes_now(a), joined += bytes_now(b);
    const auto it = text.find(joined);
    if (it == text.end()) return Merged{0, -1};
    const auto id = static_cast<size_t>(it->second);
    if (v.types[id] == Type::unused) made_of[it->second] = {a, b};
    return Merged{-static_cast<double>(v.scores[id]), it->second};
  });
  std::vector<int32_t> parts;  // of one symbol, to be written, last first
  for (const int32_t symbol : symbols) {
    parts.assign(1, symbol);
    while (!parts.empty()) {
      const int32_t s = parts.back();
      parts.pop_back();
      if (const auto it = made_of.find(s); it != made_of.end())
        parts.insert(parts.end(), {it->second.second, it->second.first});
      else if (s >= 0)
        to->push_back(s);
      else
        spell(raw[static_cast<size_t>(-2 - s)], to);
    }
  }
}

}  // namespace hedgerow
