// SPDX-License-Identifier: Apache-2.0
// A vocabulary, checked and made ready to be looked up.
#include "hedgerow/language/tokenizer/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/tokenizer/byte_letters.h"

namespace hedgerow {
namespace {

using Type = Vocabulary::Type;

// What a token stands for in text.
std::string bytes_of_token(const Vocabulary& v, size_t i) {
  const std::string& t = v.tokens[i];
  unsigned byte = 0;
  switch (v.types[i]) {
    case Type::control:
    case Type::added:
    case Type::unknown:
      return t;
    case Type::byte:
      if (std::sscanf(t.c_str(), "<0x%2X>", &byte) == 1) return std::string(1, static_cast<char>(byte));
      throw Error(fmt::format("{}: vocabulary: token {}: wanted a byte as <0xAB>, found '{}'", v.where, i,
                              printable(t)));
    case Type::normal:
    case Type::unused:
      break;
  }
  return v.kind == Vocabulary::Kind::byte_bpe ? from_byte_letters(t) : replaced(t, kBlock, " ");
}

}  // namespace

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t at = 0;;) {
    const size_t next = text.find(from, at);
    out += text.substr(at, next - at);
    if (next == std::string_view::npos) return out;
    out += to, at = next + from.size();
  }
}

Tokenizer::Tables::Tables(Vocabulary from) : v(std::move(from)) {
  const auto wrong = [&](const std::string& what) { throw Error(v.where + ": vocabulary: " + what); };
  const size_t n = v.tokens.size();
  if (n == 0 || n > (1u << 22)) wrong(fmt::format("wanted 1 to 4194304 tokens, found {}", n));
  if (v.types.size() != n)
    wrong(fmt::format("wanted a type for each of {} tokens, found {}", n, v.types.size()));
  const bool bpe = v.kind == Vocabulary::Kind::byte_bpe;
  const bool scored = !bpe && v.merges.empty();
  if (scored && v.scores.size() != n)
    wrong(fmt::format("wanted a score for each of {} tokens, found {}", n, v.scores.size()));
  if (scored)
    for (size_t i = 0; i < n; ++i)
      if (!std::isfinite(v.scores[i]))
        wrong(fmt::format("token {}: wanted a finite score, found {}", i, v.scores[i]));
  const auto in = [&](const char* what, int32_t id) {
    if (id < -1 || id >= static_cast<int32_t>(n))
      wrong(fmt::format("{}: wanted a token of {}, found {}", what, n, id));
  };
  in("beginning of text", v.bos), in("unknown", v.unknown);
  for (const int32_t id : v.end_of_text) in("end of text", id);
  byte_token.fill(-1);
  bytes.resize(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = bytes_of_token(v, i);
  for (size_t i = 0; i < n; ++i) add_token(static_cast<int32_t>(i));
  add_merges();
}

void Tokenizer::Tables::add_token(int32_t id) {
  const std::string& b = bytes[static_cast<size_t>(id)];
  const Type type = v.types[static_cast<size_t>(id)];
  if (b.empty()) return;
  const bool bpe = v.kind == Vocabulary::Kind::byte_bpe;
  if (type == Type::control || type == Type::added) {
    control.emplace(b, id);
    control_begins[static_cast<uint8_t>(b[0])] = true;
    longest_control = std::max(longest_control, b.size());
  } else if (type == Type::normal || (type == Type::unused && !bpe)) {
    // An unused piece takes part in merges; encode_sentence() takes it apart again.
    text.emplace(b, id);
    longest = std::max(longest, b.size());
  }
  if (b.size() == 1 && type == (bpe ? Type::normal : Type::byte)) byte_token[static_cast<uint8_t>(b[0])] = id;
}

void Tokenizer::Tables::add_merges() {
  const bool bpe = v.kind == Vocabulary::Kind::byte_bpe;
  merges.reserve(v.merges.size());
  for (size_t rank = 0; rank < v.merges.size(); ++rank) {
    const std::string& m = v.merges[rank];
    const size_t space = m.find(' ', 1);
    const auto wrong = [&](const char* why) {
      throw Error(fmt::format("{}: merges: wanted two tokens whose union is one, found '{}' ({})", v.where,
                              printable(m), why));
    };
    if (space == std::string::npos) wrong("no space");
    const auto part = [&](std::string_view spelled) {
      return bpe ? from_byte_letters(spelled) : replaced(spelled, kBlock, " ");
    };
    const std::string a = part(std::string_view(m).substr(0, space)),
                      b = part(std::string_view(m).substr(space + 1));
    const auto left = text.find(a), right = text.find(b), both = text.find(a + b);
    if (left == text.end() || right == text.end() || both == text.end()) wrong("not in the vocabulary");
    merges.emplace(key_of(left->second, right->second), Merged{static_cast<double>(rank), both->second});
  }
}

}  // namespace hedgerow
