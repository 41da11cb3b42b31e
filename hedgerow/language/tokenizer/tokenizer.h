// SPDX-License-Identifier: Apache-2.0
// Text to tokens and back: byte-level BPE (Radford et al. 2019, as Hugging Face's `tokenizers` runs it) and
// SentencePiece BPE (Kudo and Richardson 2018), whichever file the vocabulary came in.
//
// Text of a user never becomes a control or added token; text of a chat template may. Bytes that are no UTF-8
// stay what they are, there and back. SentencePiece has no way to tell U+2581 from a space: it comes back as
// one, here as there.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hedgerow {

struct GgufHeader;

// How byte-level BPE cuts text into words before it merges.
enum class PreTokenizer : uint8_t { gpt2, llama3, qwen2, smollm };

// What a file says of its vocabulary.
struct Vocabulary {
  enum class Kind : uint8_t { byte_bpe, sentencepiece };
  enum class Type : uint8_t { normal, unknown, control, added, unused, byte };
  Kind kind = Kind::byte_bpe;
  std::string where;
  std::vector<std::string> tokens;  // as the format spells them: byte-level letters, or U+2581 for spaces
  std::vector<Type> types;          // [tokens]
  std::vector<float> scores;        // sentencepiece without merges: [tokens]
  std::vector<std::string> merges;  // "a b", best first
  PreTokenizer pre = PreTokenizer::gpt2;
  bool nfc = false;            // text is composed first (NFC)
  bool ignore_merges = false;  // a word that is a token is that token
  // sentencepiece: a space in front of text; of all, of what has none, of that where nothing stands before it
  enum class Prefix : uint8_t { none, always, missing, first_missing };
  Prefix prefix = Prefix::always;
  bool squeeze_spaces = false;  // sentencepiece: runs of spaces become one, none at the ends
  int32_t bos = -1, unknown = -1;
  bool add_bos = false;
  std::vector<int32_t> end_of_text;  // generation stops at any of these
};

// GGUF's tokenizer keys, as text and numbers.
struct GgufVocabulary {
  std::string model, pre, where;
  std::vector<std::string> tokens, merges;
  std::vector<double> scores, types;
  int64_t bos = -1, eos = -1, eot = -1, unknown = -1;
  std::optional<bool> add_bos, add_space_prefix;
};
// What a file's header says under tokenizer.ggml.
GgufVocabulary gguf_vocabulary(const GgufHeader& header);
// Error naming what is not implemented (another model or pre-tokenizer).
Vocabulary read_gguf_vocabulary(const GgufVocabulary& from);
// tokenizer.json; and beside it, each empty where there is none, tokenizer_config.json,
// generation_config.json.
Vocabulary read_tokenizer_json(std::string_view text, std::string_view config, std::string_view generation,
                               const std::string& where);
// A SentencePiece .model; the same beside it.
Vocabulary read_sentencepiece(std::string_view bytes, std::string_view config, std::string_view generation,
                              const std::string& where);
// A model's folder: tokenizer.json, else tokenizer.model.
Vocabulary read_vocabulary(const std::string& folder);

class Tokenizer {
 public:
  // Error unless the vocabulary can be used as it is.
  explicit Tokenizer(Vocabulary vocabulary);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  // Without a beginning of text.
  std::vector<int32_t> encode(std::string_view text) const;
  // A beginning of text first, if the model wants one and the text has none, once. `control`: control and
  // added tokens are recognised. Neighbouring stretches without such a token between them are one text.
  struct Piece {
    std::string text;
    bool control = false;
  };
  std::vector<int32_t> encode(const std::vector<Piece>& pieces, bool add_bos) const;

  int size() const;
  // What a token stands for in text; of a control token, its name.
  std::string_view bytes_of(int32_t id) const;
  bool is_control(int32_t id) const;
  // Control tokens are left out; the space that was put in front of the text goes again.
  std::string decode(const std::vector<int32_t>& ids) const;
  std::optional<int32_t> id_of(std::string_view token) const;  // as bytes_of() says it
  const Vocabulary& vocabulary() const;

 private:
  struct Tables;
  std::unique_ptr<Tables> tables_;
};

// Where two vocabularies part, as text for a message; empty where they agree, but for tokens at the end that
// one of them lacks and that no text becomes.
std::string first_difference(const Tokenizer& a, const Tokenizer& b);

}  // namespace hedgerow
