// SPDX-License-Identifier: Apache-2.0
// What every parser of foreign bytes is asked to survive. Used by the coverage-guided fuzzers and by
// mutate_test. Only Error may come out; anything else ends the program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "hedgerow/core/error.h"
#include "hedgerow/io/checkpoint.h"
#include "hedgerow/io/gguf.h"
#include "hedgerow/io/image.h"
#include "hedgerow/language/ggml_blocks.h"
#include "hedgerow/language/template/chat_template.h"
#include "hedgerow/language/tokenizer/tokenizer.h"
#include "hedgerow/vision/vit_describe.h"

namespace hedgerow::fuzz {

// A header is read, and every value it points to.
inline void try_safetensors(const uint8_t* data, size_t bytes) try {
  std::vector<float> values;
  for (const TensorEntry& entry : parse_safetensors(data, bytes, bytes, "fuzz")) {
    if (entry.dtype != "F32" && entry.dtype != "F16" && entry.dtype != "BF16") continue;
    values.resize(static_cast<size_t>(entry.count()));
    values_to_f32(entry, data + entry.begin, values.size(), values.data(), "fuzz");
  }
} catch (const Error&) {
}

// One input is a config, a preprocessor config (after a zero byte, if any) and a shard index.
inline void try_config(const uint8_t* data, size_t bytes) {
  const std::string text(reinterpret_cast<const char*>(data), bytes);
  const size_t zero = text.find('\0');
  const std::string second = zero == std::string::npos ? "" : text.substr(zero + 1);
  try {
    describe_vit(text.substr(0, zero), second, "fuzz");
  } catch (const Error&) {
  }
  try {
    parse_shard_index(text, "fuzz");
  } catch (const Error&) {
  }
}

inline void try_picture(const uint8_t* data, size_t bytes) try {
  const Picture p = decode_picture(data, bytes, "fuzz");
  if (p.rgb.size() != static_cast<size_t>(p.width) * p.height * 3) __builtin_trap();
} catch (const Error&) {
}

// A header is read, every tensor lies inside, and each of its rows unpacks.
inline void try_gguf(const uint8_t* data, size_t bytes) try {
  const GgufHeader header = parse_gguf(data, bytes, bytes, "fuzz");
  for (const auto& [name, t] : header.tensors) {
    if (t.begin > t.end || t.end > bytes) __builtin_trap();
    const GgmlType& type = *ggml_type(t.type);
    const Quant quant = quant_of_ggml(t.type);
    const size_t k = static_cast<size_t>(t.shape.back()),
                 groups = quant.bits ? k / static_cast<size_t>(quant.group) : 0;
    QuantRow row;
    row.codes.resize(quant.bits ? k : 0), row.values.resize(quant.bits ? 0 : k);
    row.scales.resize(groups), row.minimums.resize(groups), row.small.resize(groups),
        row.small_min.resize(groups);
    const uint64_t row_bytes = k / static_cast<size_t>(type.block) * static_cast<size_t>(type.bytes);
    for (uint64_t at = t.begin; at < t.end; at += row_bytes)
      unpack_ggml(t.type, data + at, static_cast<int>(k), row);
  }
  header.text("general.architecture", "");
  header.whole("llama.block_count", 1, 1024, 1);
  header.number("llama.attention.layer_norm_rms_epsilon", 0);
  header.texts("tokenizer.ggml.tokens");
  header.numbers("tokenizer.ggml.scores");
} catch (const Error&) {
}

// A template, rendered on a short conversation. Spans must differ in origin and none is empty.
inline void try_template(const uint8_t* data, size_t bytes) try {
  const ChatTemplate chat(std::string(reinterpret_cast<const char*>(data), bytes), "fuzz");
  const std::vector<ChatMessage> messages{{"system", " Be <|brief|>. "},
                                          {"user", "two\nlines, 'quoted'"},
                                          {"assistant", ""},
                                          {"user", "\xe6\x97\xa5\xff"}};
  bool first = true, before = false;
  for (const auto& span : chat.render({.messages = messages, .bos_token = "<s>", .eos_token = "</s>"})) {
    if (span.text.empty() || (!first && span.from_template == before)) __builtin_trap();
    first = false;
    before = span.from_template;
  }
} catch (const Error&) {
}

// A vocabulary put to work: tokens are of the vocabulary, and text of a user has no control token.
inline void use_vocabulary(Vocabulary vocabulary) {
  const Tokenizer tokenizer(std::move(vocabulary));
  const Vocabulary& v = tokenizer.vocabulary();
  for (const int32_t id : tokenizer.encode({{"<s>[INST] <|im_start|>user\n", true}, {" x", false}}, true))
    if (id < 0 || id >= tokenizer.size()) __builtin_trap();
  const std::vector<int32_t> ids =
      tokenizer.encode("the  brown\n\t12 </s><|im_end|> \xe6\x9d\xb1\xff they'll");
  for (const int32_t id : ids) {
    if (id < 0 || id >= tokenizer.size()) __builtin_trap();
    const auto type = v.types[static_cast<size_t>(id)];
    if (id != v.unknown && (type == Vocabulary::Type::control || type == Vocabulary::Type::added))
      __builtin_trap();
  }
  tokenizer.decode(ids);
}

// One input is a tokenizer.json and (after a zero byte, if any) a tokenizer_config.json, which is read as a
// generation_config.json too.
inline void try_tokenizer(const uint8_t* data, size_t bytes) try {
  const std::string text(reinterpret_cast<const char*>(data), bytes);
  const size_t zero = text.find('\0');
  const std::string second = zero == std::string::npos ? "" : text.substr(zero + 1);
  use_vocabulary(read_tokenizer_json(text.substr(0, zero), second, second, "fuzz"));
} catch (const Error&) {
}

inline void try_sentencepiece(const uint8_t* data, size_t bytes) try {
  use_vocabulary(read_sentencepiece({reinterpret_cast<const char*>(data), bytes}, "", "", "fuzz"));
} catch (const Error&) {
}

}  // namespace hedgerow::fuzz
