// SPDX-License-Identifier: Apache-2.0
// Hugging Face's tokenizer.json, of byte-level BPE and of SentencePiece as converted (BPE with byte
// fallback), and the files beside it. What isn't implemented is refused by name.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "hedgerow/core/error.h"
#include "hedgerow/io/file.h"
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

// Prepend U+2581 and Replace " ": what SentencePiece does before it looks at text.
void read_sentencepiece_normalizer(const json* normalizer, Vocabulary* v) {
  v->dummy_prefix = false;
  for (const json* one : parts_of(normalizer, "normalizers", v->where)) {
    const std::string type = type_of(*one, v->where);
    if (type == "Prepend")
      v->dummy_prefix = true;
    else if (type != "Replace")
      wrong(v->where, "normalizer", "Prepend or Replace", type);
  }
}

void read_tokens(const json& model, const json* added, Vocabulary* v) {
  const json* vocab = json_find(model, "vocab");
  if (!vocab || !vocab->is_object())
    wrong(v->where, "model.vocab", "tokens and their numbers", "something else");
  const auto put = [&](const std::string& token, int64_t id, Type type) {
    if (id < 0 || id >= (1 << 22)) wrong(v->where, "a token's number", "0 to 4194303", fmt::format("{}", id));
    const size_t at = static_cast<size_t>(id);
    if (at >= v->tokens.size()) v->tokens.resize(at + 1), v->types.resize(at + 1, Type::unused);
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
  v.ignore_merges = json_bool(*model, "ignore_merges", false, where);
  const json* normalizer = json_find(all, "normalizer");
  if (fallback) {
    v.kind = Vocabulary::Kind::sentencepiece;
    read_sentencepiece_normalizer(normalizer, &v);
    // The best merge of a piece is its score.
    v.scores.assign(v.tokens.size(), -1e9f);
    std::unordered_map<std::string, size_t> place;
    for (size_t i = 0; i < v.tokens.size(); ++i) place.emplace(v.tokens[i], i);
    for (size_t rank = v.merges.size(); rank-- > 0;) {
      std::string joined = v.merges[rank];
      joined.erase(std::min(joined.find(' ', 1), joined.size()), 1);
      if (const auto it = place.find(joined); it != place.end())
        v.scores[it->second] = -static_cast<float>(rank);
    }
    v.merges.clear();
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
  read_beside(&v, config, generation);
  return v;
}

void read_beside(Vocabulary* v, std::string_view config, std::string_view generation) {
  const auto id_of = [&](const json* name) {
    if (!name) return -1;
    const std::string text = name->is_string()   ? name->get<std::string>()
                             : name->is_object() ? json_text(*name, "content", "", v->where)
                                                 : "";
    const auto it = std::find(v->tokens.begin(), v->tokens.end(), text);
    return text.empty() || it == v->tokens.end() ? -1 : static_cast<int32_t>(it - v->tokens.begin());
  };
  const auto ends = [&](int64_t id) {
    if (id >= 0 && id < static_cast<int64_t>(v->tokens.size()) &&
        std::find(v->end_of_text.begin(), v->end_of_text.end(), id) == v->end_of_text.end())
      v->end_of_text.push_back(static_cast<int32_t>(id));
  };
  v->add_bos = v->kind == Vocabulary::Kind::sentencepiece;
  if (!config.empty()) {
    const json c = parse_json(config, v->where + " (tokenizer_config.json)");
    if (const int32_t id = id_of(json_find(c, "bos_token")); id >= 0) v->bos = id;
    v->add_bos = json_bool(c, "add_bos_token", v->add_bos && v->bos >= 0, v->where);
    ends(id_of(json_find(c, "eos_token")));
  }
  if (!generation.empty()) {
    const json g = parse_json(generation, v->where + " (generation_config.json)");
    if (const json* e = json_find(g, "eos_token_id")) {
      if (e->is_number_integer()) ends(e->get<int64_t>());
      if (e->is_array())
        for (const json& one : *e)
          if (one.is_number_integer()) ends(one.get<int64_t>());
    }
    if (v->bos < 0) v->bos = static_cast<int32_t>(json_int(g, "bos_token_id", 0, 1 << 22, -1, v->where));
  }
  add_known_ends(v);
}

Vocabulary read_vocabulary(const std::string& folder) {
  constexpr uint64_t kMost = 64u << 20;
  const auto beside = [&](const char* name) {
    const std::string path = folder + "/" + name;
    return is_file(path) ? read_file(path, kMost) : std::string();
  };
  const std::string config = beside("tokenizer_config.json"), generation = beside("generation_config.json");
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    const std::string path = folder + "/" + name;
    if (!is_file(path)) continue;
    const std::string bytes = read_file(path, kMost);
    return name == std::string("tokenizer.json") ? read_tokenizer_json(bytes, config, generation, path)
                                                 : read_sentencepiece(bytes, config, generation, path);
  }
  throw Error(folder + ": wanted tokenizer.json or tokenizer.model, found neither");
}

}  // namespace hedgerow
