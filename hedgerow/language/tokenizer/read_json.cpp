// SPDX-License-Identifier: Apache-2.0
// Hugging Face's tokenizer.json, of byte-level BPE and of SentencePiece as converted (BPE with byte
// fallback), and the files beside it. What isn't implemented is refused by name.
#include <fmt/format.h>

#include <algorithm>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/tokenizer/read.h"

namespace hedgerow {
namespace {

using nlohmann::json;
using Type = Vocabulary::Type;

[[noreturn]] void wrong(const std::string& where, const std::string& what, const std::string& wanted,
                        const std::string& found) {
  throw Error(fmt::format("{}: {}: wanted {}, found {}", where, what, wanted, printable(found)));
}
std::string type_of(const json& j, const std::string& where) { return json_text(j, "type", "none", where); }

// The parts of a Sequence, or the thing itself.
std::vector<const json*> parts_of(const json* j, const char* list, const std::string& where) {
  if (!j) return {};
  if (type_of(*j, where) != "Sequence") return {j};
  std::vector<const json*> parts;
  const json* all = json_find(*j, list);
  if (!all || !all->is_array() || all->size() > 16)
    wrong(where, list, "a list of at most 16", "something else");
  for (const json& one : *all) parts.push_back(&one);
  return parts;
}

constexpr const char* kLlama3 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kQwen2 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

PreTokenizer read_pre(const json* pre, const std::string& where) {
  std::string seen;
  PreTokenizer found = PreTokenizer::gpt2;
  bool regex = true, any = false;
  for (const json* one : parts_of(pre, "pretokenizers", where)) {
    const std::string type = type_of(*one, where);
    if (type == "ByteLevel") {
      if (json_bool(*one, "add_prefix_space", false, where))
        wrong(where, "ByteLevel.add_prefix_space", "false", "true");
      regex = json_bool(*one, "use_regex", true, where), any = true;
    } else if (type == "Digits") {
      if (!json_bool(*one, "individual_digits", false, where))
        wrong(where, "Digits.individual_digits", "true", "false");
      found = PreTokenizer::smollm;
    } else if (type == "Split") {
      const json* pattern = json_find(*one, "pattern");
      const std::string text = pattern ? json_text(*pattern, "Regex", "", where) : "";
      if (text != kLlama3 && text != kQwen2)
        wrong(where, "pre_tokenizer.Split", "the pattern of Llama 3 or Qwen2", text);
      if (json_text(*one, "behavior", "Isolated", where) != "Isolated" ||
          json_bool(*one, "invert", false, where))
        wrong(where, "pre_tokenizer.Split.behavior", "Isolated", "another");
      found = text == kLlama3 ? PreTokenizer::llama3 : PreTokenizer::qwen2;
    } else {
      wrong(where, "pre_tokenizer", "ByteLevel, Digits or Split", type);
    }
  }
  if (!any) wrong(where, "pre_tokenizer", "one with ByteLevel", "none");
  const bool split = found == PreTokenizer::llama3 || found == PreTokenizer::qwen2;
  if (regex == split)
    wrong(where, "ByteLevel.use_regex", split ? "false behind a Split" : "true", regex ? "true" : "false");
  return found;
}

constexpr const char* kBlockName = "\xe2\x96\x81";

void want_block(const json& j, const char* key, const std::string& what, const std::string& where) {
  if (json_text(j, key, "", where) != kBlockName) wrong(where, what, "U+2581", "something else");
}

// Prepend U+2581 and Replace " ", or a Metaspace: what SentencePiece does before it looks at text.
void read_sentencepiece_prefix(const json* normalizer, const json* pre, Vocabulary* v) {
  using Prefix = Vocabulary::Prefix;
  v->prefix = Prefix::none;
  bool replaces = false;
  for (const json* one : parts_of(normalizer, "normalizers", v->where)) {
    const std::string type = type_of(*one, v->where);
    if (type == "Prepend") {
      want_block(*one, "prepend", "normalizer.Prepend", v->where);
      v->prefix = Prefix::always;
    } else if (type == "Replace") {
      const json* pattern = json_find(*one, "pattern");
      if (!pattern || json_text(*pattern, "String", "", v->where) != " ")
        wrong(v->where, "normalizer.Replace", "one of a space", "another");
      want_block(*one, "content", "normalizer.Replace", v->where);
      replaces = true;
    } else {
      wrong(v->where, "normalizer", "Prepend or Replace", type);
    }
  }
  for (const json* one : parts_of(pre, "pretokenizers", v->where)) {
    const std::string type = type_of(*one, v->where);
    if (type != "Metaspace") wrong(v->where, "pre_tokenizer", "Metaspace or none", type);
    if (v->prefix != Prefix::none) wrong(v->where, "pre_tokenizer", "none behind a Prepend", type);
    want_block(*one, "replacement", "Metaspace.replacement", v->where);
    if (json_bool(*one, "split", true, v->where)) wrong(v->where, "Metaspace.split", "false", "true");
    const std::string scheme = json_text(*one, "prepend_scheme", "always", v->where);
    if (scheme != "always" && scheme != "first" && scheme != "never")
      wrong(v->where, "Metaspace.prepend_scheme", "always, first or never", scheme);
    v->prefix = scheme == "always"  ? Prefix::missing
                : scheme == "first" ? Prefix::first_missing
                                    : Prefix::none;
    replaces = true;
  }
  if (!replaces) wrong(v->where, "normalizer", "a Replace of spaces, or a Metaspace", "neither");
}

// Does a template put a beginning of text, and nothing else, around a text?
bool begins_text(const json* processor, Vocabulary* v) {
  bool begins = false;
  for (const json* one : parts_of(processor, "processors", v->where)) {
    const std::string type = type_of(*one, v->where);
    if (type == "ByteLevel") continue;
    if (type != "TemplateProcessing")
      wrong(v->where, "post_processor", "TemplateProcessing or ByteLevel", type);
    const json* single = json_find(*one, "single");
    if (!single || !single->is_array()) wrong(v->where, "post_processor.single", "a list", "something else");
    bool text = false;
    for (const json& part : *single) {
      const json* token = json_find(part, "SpecialToken");
      text = text || json_find(part, "Sequence");
      if (!token) continue;
      if (text || begins) wrong(v->where, "post_processor.single", "one token before the text", "another");
      const std::string name = json_text(*token, "id", "", v->where);
      const auto it = std::find(v->tokens.begin(), v->tokens.end(), name);
      if (it == v->tokens.end()) wrong(v->where, "post_processor.single", "a token", name);
      v->bos = static_cast<int32_t>(it - v->tokens.begin());
      begins = true;
    }
  }
  return begins;
}

void read_tokens(const json& model, const json* added, Vocabulary* v) {
  const json* vocab = json_find(model, "vocab");
  if (!vocab || !vocab->is_object())
    wrong(v->where, "model.vocab", "tokens and their numbers", "something else");
  // Few numbers may be left out, or a small file would take much memory.
  const size_t most = std::min<size_t>(1u << 22, 2 * (vocab->size() + (added ? added->size() : 0)) + 1024);
  const auto put = [&](const std::string& token, int64_t id, Type type) {
    if (id < 0 || id >= static_cast<int64_t>(most))
      wrong(v->where, "a token's number", fmt::format("0 to {}", most - 1), fmt::format("{}", id));
    const size_t at = static_cast<size_t>(id);
    if (at >= v->tokens.size()) v->tokens.resize(at + 1), v->types.resize(at + 1, Type::unused);
    if (v->types[at] != Type::unused && v->tokens[at] != token)
      wrong(v->where, fmt::format("token {}", id), v->tokens[at], token);
    v->tokens[at] = token, v->types[at] = type;
  };
  for (const auto& [token, id] : vocab->items()) {
    if (!id.is_number_integer()) wrong(v->where, "model.vocab", "whole numbers", id.dump());
    put(token, id.get<int64_t>(), Type::normal);
  }
  if (!added) return;
  if (!added->is_array()) wrong(v->where, "added_tokens", "a list", "something else");
  for (const json& one : *added) {
    const std::string content = json_text(one, "content", "", v->where);
    for (const char* flag : {"lstrip", "rstrip", "single_word"})
      if (json_bool(one, flag, false, v->where))
        wrong(v->where, "added token " + content, std::string(flag) + " false", "true");
    put(content, json_int(one, "id", 0, 1 << 22, 0, v->where),
        json_bool(one, "special", true, v->where) ? Type::control : Type::added);
  }
}

void read_merges(const json& model, Vocabulary* v) {
  const json* merges = json_find(model, "merges");
  if (!merges || !merges->is_array()) wrong(v->where, "model.merges", "a list", "something else");
  for (const json& m : *merges) {
    if (m.is_string())
      v->merges.push_back(m.get<std::string>());
    else if (m.is_array() && m.size() == 2 && m[0].is_string() && m[1].is_string())
      v->merges.push_back(m[0].get<std::string>() + " " + m[1].get<std::string>());
    else
      wrong(v->where, "model.merges", "pairs of tokens", m.dump());
  }
}

}  // namespace

Vocabulary read_tokenizer_json(std::string_view text, std::string_view config, std::string_view generation,
                               const std::string& where) {
  const json all = parse_json(text, where);
  Vocabulary v;
  v.where = where;
  const json* model = json_find(all, "model");
  if (!model) wrong(where, "model", "BPE", "none");
  const std::string type = json_text(*model, "type", "BPE", where);
  if (type != "BPE") wrong(where, "model.type", "BPE", type);
  if (json_find(*model, "dropout")) wrong(where, "model.dropout", "none", "one");
  const bool fallback = json_bool(*model, "byte_fallback", false, where);
  read_tokens(*model, json_find(all, "added_tokens"), &v);
  read_merges(*model, &v);
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const std::string text_of = json_text(*model, affix, "", where); !text_of.empty())
      wrong(where, std::string("model.") + affix, "none", text_of);
  v.ignore_merges = json_bool(*model, "ignore_merges", false, where);
  const json* normalizer = json_find(all, "normalizer");
  if (fallback) {
    v.kind = Vocabulary::Kind::sentencepiece;
    read_sentencepiece_prefix(normalizer, json_find(all, "pre_tokenizer"), &v);
    for (size_t i = 0; i < v.tokens.size(); ++i)
      if (v.types[i] == Type::normal && v.tokens[i].size() == 6 && v.tokens[i].starts_with("<0x"))
        v.types[i] = Type::byte;
  } else {
    v.pre = read_pre(json_find(all, "pre_tokenizer"), where);
    for (const json* one : parts_of(normalizer, "normalizers", where)) {
      const std::string name = type_of(*one, where);
      if (name != "NFC") wrong(where, "normalizer", "NFC or none", name);
      v.nfc = true;
    }
  }
  const std::string unknown = json_text(*model, "unk_token", "", where);
  const auto it = std::find(v.tokens.begin(), v.tokens.end(), unknown);
  if (!unknown.empty() && it != v.tokens.end()) v.unknown = static_cast<int32_t>(it - v.tokens.begin());
  const json* processor = json_find(all, "post_processor");
  v.add_bos = processor ? begins_text(processor, &v) : fallback;
  read_beside(&v, config, generation);
  return v;
}

}  // namespace hedgerow
