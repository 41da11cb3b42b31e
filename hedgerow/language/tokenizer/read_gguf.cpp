// SPDX-License-Identifier: Apache-2.0
// The vocabulary inside a GGUF file.
#include <fmt/format.h>

#include <algorithm>

#include "hedgerow/core/error.h"
#include "hedgerow/io/gguf.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/tokenizer/read.h"
#include "hedgerow/language/tokenizer/tokenizer.h"

namespace hedgerow {
namespace {

PreTokenizer pre_of(const GgufVocabulary& g) {
  if (g.pre == "gpt-2" || g.pre == "gpt2") return PreTokenizer::gpt2;
  if (g.pre == "llama-bpe" || g.pre == "llama3" || g.pre == "llama-v3") return PreTokenizer::llama3;
  if (g.pre == "qwen2") return PreTokenizer::qwen2;
  if (g.pre == "smollm") return PreTokenizer::smollm;
  throw Error(fmt::format("{}: tokenizer.ggml.pre: wanted gpt-2, llama-bpe, qwen2 or smollm, found '{}'",
                          g.where, printable(g.pre)));
}

}  // namespace

GgufVocabulary gguf_vocabulary(const GgufHeader& h) {
  const std::string prefix = "tokenizer.ggml.";
  GgufVocabulary g;
  g.where = h.where;
  g.model = h.text(prefix + "model", ""), g.pre = h.text(prefix + "pre", "default");
  g.tokens = h.texts(prefix + "tokens"), g.merges = h.texts(prefix + "merges");
  g.scores = h.numbers(prefix + "scores"), g.types = h.numbers(prefix + "token_type");
  const auto id = [&](const char* key) { return h.whole(prefix + key, 0, 1 << 22, -1); };
  g.bos = id("bos_token_id"), g.eos = id("eos_token_id"), g.eot = id("eot_token_id"),
  g.unknown = id("unknown_token_id");
  if (h.has(prefix + "add_bos_token")) g.add_bos = h.flag(prefix + "add_bos_token", false);
  if (h.has(prefix + "add_space_prefix")) g.add_space_prefix = h.flag(prefix + "add_space_prefix", true);
  return g;
}

Vocabulary read_gguf_vocabulary(const GgufVocabulary& g) {
  Vocabulary v;
  v.where = g.where;
  if (g.model == "gpt2") {
    v.kind = Vocabulary::Kind::byte_bpe, v.pre = pre_of(g), v.merges = g.merges;
    v.nfc = false;  // llama.cpp composes nothing; what it decodes is what was given
    v.ignore_merges = v.pre == PreTokenizer::llama3;
  } else if (g.model == "llama") {
    v.kind = Vocabulary::Kind::sentencepiece;
    v.prefix = g.add_space_prefix.value_or(true) ? Vocabulary::Prefix::always : Vocabulary::Prefix::none;
    v.scores.assign(g.scores.begin(), g.scores.end());
  } else {
    throw Error(fmt::format("{}: tokenizer.ggml.model: wanted gpt2 or llama, found '{}'", g.where,
                            printable(g.model)));
  }
  v.tokens = g.tokens;
  if (!g.types.empty() && g.types.size() != g.tokens.size())
    throw Error(fmt::format("{}: tokenizer.ggml.token_type: wanted {} types, found {}", g.where,
                            g.tokens.size(), g.types.size()));
  using Type = Vocabulary::Type;
  for (size_t i = 0; i < g.tokens.size(); ++i) {
    const double type = g.types.empty() ? 1 : g.types[i];
    constexpr Type kTypes[] = {Type::normal, Type::normal, Type::unknown, Type::control,
                               Type::added,  Type::unused, Type::byte};
    if (!(type >= 0 && type <= 6))
      throw Error(fmt::format("{}: tokenizer.ggml.token_type: wanted 0 to 6, found {}", g.where, type));
    v.types.push_back(kTypes[static_cast<int>(type)]);
  }
  for (const int64_t id : {g.bos, g.eos, g.eot, g.unknown})
    if (id < -1 || id >= static_cast<int64_t>(g.tokens.size()))
      throw Error(fmt::format("{}: a token's number: wanted one of {} tokens, found {}", g.where,
                              g.tokens.size(), id));
  v.bos = static_cast<int32_t>(g.bos), v.unknown = static_cast<int32_t>(g.unknown);
  v.add_bos = g.add_bos.value_or(v.kind == Vocabulary::Kind::sentencepiece || v.pre == PreTokenizer::llama3);
  for (const int64_t id : {g.eos, g.eot})
    if (id >= 0) v.end_of_text.push_back(static_cast<int32_t>(id));
  add_known_ends(&v);
  return v;
}

void add_known_ends(Vocabulary* v) {
  for (const char* name :
       {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>", "<|end|>", "<|eom_id|>"}) {
    const auto it = std::find(v->tokens.begin(), v->tokens.end(), name);
    if (it == v->tokens.end()) continue;
    const auto id = static_cast<int32_t>(it - v->tokens.begin());
    const bool control = v->types[static_cast<size_t>(id)] == Vocabulary::Type::control;
    if (control && std::find(v->end_of_text.begin(), v->end_of_text.end(), id) == v->end_of_text.end())
      v->end_of_text.push_back(id);
  }
}

}  // namespace hedgerow
