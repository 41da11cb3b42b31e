// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_map>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/tokenizer/byte_letters.h"
#include "hedgerow/language/tokenizer/merge.h"
#include "hedgerow/language/tokenizer/utf8.h"
#include "hedgerow/language/tokenizer/words.h"

namespace hedgerow {
namespace {

using Type = Vocabulary::Type;
constexpr std::string_view kBlock = "\xe2\x96\x81";  // U+2581, SentencePiece's space

uint64_t key_of(int32_t a, int32_t b) {
  return static_cast<uint64_t>(static_cast<uint32_t>(a)) << 32 | static_cast<uint32_t>(b);
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t at = 0;;) {
    const size_t next = text.find(from, at);
    out += text.substr(at, next - at);
    if (next == std::string_view::npos) return out;
    out += to, at = next + from.size();
  }
}

}  // namespace

struct Tokenizer::Tables {
  Vocabulary v;
  std::vector<std::string> bytes;                      // of each token
  std::unordered_map<std::string_view, int32_t> text;  // of tokens that text can become
  std::unordered_map<std::string_view, int32_t> control;
  std::array<bool, 256> control_begins{};
  size_t longest_control = 0;
  std::unordered_map<uint64_t, Merged> merges;
  std::array<int32_t, 256> byte_token;

  explicit Tables(Vocabulary from);
  void add_merges();
  void encode_words(std::string_view text, std::vector<int32_t>* to) const;
  void encode_sentence(std::string_view text, std::vector<int32_t>* to) const;
  void encode_text(std::string_view text, std::vector<int32_t>* to) const {
    if (text.empty()) return;
    v.kind == Vocabulary::Kind::byte_bpe ? encode_words(text, to) : encode_sentence(text, to);
  }
};

Tokenizer::Tables::Tables(Vocabulary from) : v(std::move(from)) {
  const auto wrong = [&](const std::string& what) { throw Error(v.where + ": vocabulary: " + what); };
  if (v.tokens.empty() || v.tokens.size() > (1u << 22))
    wrong(fmt::format("wanted 1 to 4194304 tokens, found {}", v.tokens.size()));
  if (v.types.size() != v.tokens.size())
    wrong(fmt::format("wanted a type for each of {} tokens, found {}", v.tokens.size(), v.types.size()));
  const bool bpe = v.kind == Vocabulary::Kind::byte_bpe;
  if (!bpe && v.scores.size() != v.tokens.size())
    wrong(fmt::format("wanted a score for each of {} tokens, found {}", v.tokens.size(), v.scores.size()));
  byte_token.fill(-1);
  bytes.resize(v.tokens.size());
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    const std::string& t = v.tokens[i];
    const bool special =
        v.types[i] == Type::control || v.types[i] == Type::added || v.types[i] == Type::unknown;
    unsigned byte = 0;
    if (special)
      bytes[i] = t;
    else if (bpe)
      bytes[i] = from_byte_letters(t);
    else if (v.types[i] == Type::byte)
      bytes[i] = std::sscanf(t.c_str(), "<0x%2X>", &byte) == 1 ? std::string(1, static_cast<char>(byte)) : t;
    else
      bytes[i] = replaced(t, kBlock, " ");
  }
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    switch (v.types[i]) {
      case Type::control:
      case Type::added:
        if (bytes[i].empty()) break;
        control.emplace(bytes[i], id);
        control_begins[static_cast<uint8_t>(bytes[i][0])] = true;
        longest_control = std::max(longest_control, bytes[i].size());
        break;
      case Type::byte:
        if (bytes[i].size() == 1) byte_token[static_cast<uint8_t>(bytes[i][0])] = id;
        break;
      case Type::normal:
        if (!text.emplace(bytes[i], id).second && !bpe) break;
        if (bpe && bytes[i].size() == 1) byte_token[static_cast<uint8_t>(bytes[i][0])] = id;
        break;
      case Type::unknown:
      case Type::unused:
        break;
    }
  }
  const auto in = [&](const char* what, int32_t id) {
    if (id < -1 || id >= static_cast<int32_t>(v.tokens.size()))
      wrong(fmt::format("{}: wanted a token of {}, found {}", what, v.tokens.size(), id));
  };
  in("beginning of text", v.bos), in("unknown", v.unknown);
  for (const int32_t id : v.end_of_text) in("end of text", id);
  if (bpe) add_merges();
}

void Tokenizer::Tables::add_merges() {
  for (size_t rank = 0; rank < v.merges.size(); ++rank) {
    const std::string& m = v.merges[rank];
    const size_t space = m.find(' ', 1);
    const auto wrong = [&](const char* why) {
      throw Error(fmt::format("{}: merges: wanted two tokens whose union is one, found '{}' ({})", v.where,
                              printable(m), why));
    };
    if (space == std::string::npos) wrong("no space");
    const std::string a = from_byte_letters(std::string_view(m).substr(0, space)),
                      b = from_byte_letters(std::string_view(m).substr(space + 1));
    const auto left = text.find(a), right = text.find(b), both = text.find(a + b);
    if (left == text.end() || right == text.end() || both == text.end()) wrong("not in the vocabulary");
    merges.emplace(key_of(left->second, right->second), Merged{static_cast<double>(rank), both->second});
  }
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

void Tokenizer::Tables::encode_sentence(std::string_view from, std::vector<int32_t>* to) const {
  std::string text_now;
  if (v.squeeze_spaces) {
    for (const char c : from)
      if (c != ' ' || (!text_now.empty() && text_now.back() != ' ')) text_now += c;
    while (!text_now.empty() && text_now.back() == ' ') text_now.pop_back();
    if (text_now.empty()) return;
  } else {
    text_now = from;
  }
  if (v.dummy_prefix) text_now.insert(text_now.begin(), ' ');
  // Characters first; one that is no token of its own waits as -2 - its place.
  std::vector<int32_t> symbols;
  std::vector<std::string_view> raw;
  for (size_t at = 0; at < text_now.size();) {
    const size_t n = static_cast<size_t>(code_point(text_now, at).bytes);
    const std::string_view one = std::string_view(text_now).substr(at, n);
    const auto it = text.find(one);
    if (it != text.end()) {
      symbols.push_back(it->second);
    } else {
      symbols.push_back(-2 - static_cast<int32_t>(raw.size()));
      raw.push_back(one);
    }
    at += n;
  }
  std::string joined;
  const auto bytes_now = [&](int32_t s) {
    return s >= 0 ? std::string_view(bytes[static_cast<size_t>(s)]) : raw[static_cast<size_t>(-2 - s)];
  };
  merge_all(symbols, [&](int32_t a, int32_t b) {
    joined = bytes_now(a), joined += bytes_now(b);
    const auto it = text.find(joined);
    return it == text.end()
               ? Merged{0, -1}
               : Merged{-static_cast<double>(v.scores[static_cast<size_t>(it->second)]), it->second};
  });
  for (const int32_t s : symbols) {
    if (s >= 0) {
      to->push_back(s);
      continue;
    }
    for (const char c : raw[static_cast<size_t>(-2 - s)]) {
      const int32_t byte = byte_token[static_cast<uint8_t>(c)];
      if (byte >= 0) {
        to->push_back(byte);
      } else {  // one unknown for the character
        if (v.unknown >= 0) to->push_back(v.unknown);
        break;
      }
    }
  }
}

Tokenizer::Tokenizer(Vocabulary vocabulary) : tables_(std::make_unique<Tables>(std::move(vocabulary))) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  tables_->encode_text(text, &ids);
  return ids;
}

std::vector<int32_t> Tokenizer::encode(const std::vector<Piece>& pieces, bool add_bos) const {
  const Tables& t = *tables_;
  std::vector<int32_t> ids;
  std::string run;
  const auto flush = [&] { t.encode_text(run, &ids), run.clear(); };
  for (const Piece& p : pieces) {
    if (!p.control || t.control.empty()) {
      run += p.text;
      continue;
    }
    for (size_t at = 0; at < p.text.size();) {
      int32_t found = -1;
      size_t bytes = 0;
      if (t.control_begins[static_cast<uint8_t>(p.text[at])])
        for (bytes = std::min(t.longest_control, p.text.size() - at); bytes > 0 && found < 0;
             bytes -= found < 0) {
          const auto it = t.control.find(std::string_view(p.text).substr(at, bytes));
          found = it == t.control.end() ? -1 : it->second;
        }
      if (found < 0) {
        run += p.text[at++];
        continue;
      }
      flush();
      ids.push_back(found), at += bytes;
    }
  }
  flush();
  if (add_bos && t.v.add_bos && t.v.bos >= 0 && (ids.empty() || ids[0] != t.v.bos))
    ids.insert(ids.begin(), t.v.bos);
  return ids;
}

int Tokenizer::size() const { return static_cast<int>(tables_->v.tokens.size()); }
std::string_view Tokenizer::bytes_of(int32_t id) const {
  return id >= 0 && id < size() ? std::string_view(tables_->bytes[static_cast<size_t>(id)])
                                : std::string_view();
}
bool Tokenizer::is_control(int32_t id) const {
  if (id < 0 || id >= size()) return true;
  const Type type = tables_->v.types[static_cast<size_t>(id)];
  return type == Type::control || type == Type::unknown || type == Type::unused;
}
std::string Tokenizer::decode(const std::vector<int32_t>& ids) const {
  std::string out;
  for (const int32_t id : ids)
    if (!is_control(id)) out += bytes_of(id);
  const bool prefixed = tables_->v.kind == Vocabulary::Kind::sentencepiece && tables_->v.dummy_prefix;
  if (prefixed && !out.empty() && out[0] == ' ') out.erase(0, 1);
  return out;
}
std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  for (const auto* map : {&tables_->control, &tables_->text})
    if (const auto it = map->find(token); it != map->end()) return it->second;
  return {};
}
const Vocabulary& Tokenizer::vocabulary() const { return tables_->v; }

std::string first_difference(const Tokenizer& a, const Tokenizer& b) {
  if (a.vocabulary().kind != b.vocabulary().kind) return "one is byte-level BPE, the other SentencePiece";
  const int both = std::min(a.size(), b.size());
  for (int32_t i = 0; i < both; ++i)
    if (a.bytes_of(i) != b.bytes_of(i))
      return fmt::format("token {}: '{}' and '{}'", i, printable(std::string(a.bytes_of(i))),
                         printable(std::string(b.bytes_of(i))));
  const Tokenizer& longer = a.size() > b.size() ? a : b;
  for (int32_t i = both; i < longer.size(); ++i)
    if (longer.vocabulary().types[static_cast<size_t>(i)] == Type::normal)
      return fmt::format("token {}: '{}' and none", i, printable(std::string(longer.bytes_of(i))));
  return "";
}

}  // namespace hedgerow
