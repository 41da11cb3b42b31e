// SPDX-License-Identifier: Apache-2.0
// SentencePiece's model file: a protocol buffer of pieces, how they were trained and how text is normalised.
#include <fmt/format.h>

#include <cstring>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/tokenizer/read.h"

namespace hedgerow {
namespace {

using Type = Vocabulary::Type;

// Fields of one message: f(number, value of a varint, bytes of a stretch or of 4 fixed bytes).
class Message {
 public:
  Message(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}
  template <class F>
  void each(F&& f) {
    while (at_ < bytes_.size()) {
      const uint64_t tag = varint();
      const uint64_t number = tag >> 3;
      switch (tag & 7) {
        case 0:
          f(number, varint(), std::string_view());
          break;
        case 1:
          f(number, uint64_t{0}, stretch(8));
          break;
        case 2:
          f(number, uint64_t{0}, stretch(varint()));
          break;
        case 5:
          f(number, uint64_t{0}, stretch(4));
          break;
        default:
          throw Error(fmt::format("{}: wanted a SentencePiece model, found a field of kind {} (at byte {})",
                                  where_, tag & 7, at_));
      }
    }
  }

 private:
  uint64_t varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto b = static_cast<uint8_t>(stretch(1)[0]);
      v |= uint64_t{b & 0x7fu} << shift;
      if (b < 0x80) return v;
    }
    throw Error(fmt::format("{}: wanted a SentencePiece model, found a number without an end (at byte {})",
                            where_, at_));
  }
  std::string_view stretch(uint64_t n) {
    if (n > bytes_.size() - at_)
      throw Error(
          fmt::format("{}: wanted {} bytes, found {} (at byte {})", where_, n, bytes_.size() - at_, at_));
    at_ += n;
    return bytes_.substr(at_ - n, n);
  }
  std::string_view bytes_;
  const std::string& where_;
  size_t at_ = 0;
};

}  // namespace

Vocabulary read_sentencepiece(std::string_view bytes, std::string_view config, std::string_view generation,
                              const std::string& where) {
  Vocabulary v;
  v.where = where, v.kind = Vocabulary::Kind::sentencepiece, v.squeeze_spaces = true;
  uint64_t model_type = 1, unknown = 0, bos = 1, eos = 2;
  std::string rules;
  bool map = false;
  Message(bytes, where).each([&](uint64_t field, uint64_t, std::string_view part) {
    if (field == 1) {
      std::string piece;
      float score = 0;
      uint64_t type = 1;
      Message(part, where).each([&](uint64_t f, uint64_t number, std::string_view text) {
        if (f == 1) piece = text;
        if (f == 2 && text.size() == 4) std::memcpy(&score, text.data(), 4);
        if (f == 3) type = number;
      });
      constexpr Type kTypes[] = {Type::normal, Type::normal, Type::unknown, Type::control,
                                 Type::added,  Type::unused, Type::byte};
      if (type < 1 || type > 6)
        throw Error(
            fmt::format("{}: piece {}: wanted a type of 1 to 6, found {}", where, v.tokens.size(), type));
      v.tokens.push_back(piece), v.scores.push_back(score), v.types.push_back(kTypes[type]);
    }
    if (field == 2)
      Message(part, where).each([&](uint64_t f, uint64_t number, std::string_view) {
        if (f == 3) model_type = number;
        if (f == 40) unknown = number;
        if (f == 41) bos = number;
        if (f == 42) eos = number;
      });
    if (field == 3)
      Message(part, where).each([&](uint64_t f, uint64_t number, std::string_view text) {
        if (f == 1) rules = text;
        if (f == 2) map = !text.empty();
        if (f == 3) v.prefix = number != 0 ? Vocabulary::Prefix::always : Vocabulary::Prefix::none;
        if (f == 4) v.squeeze_spaces = number != 0;
        if (f == 5 && number == 0)
          throw Error(where + ": normalizer: wanted escaped white space, found none");
      });
  });
  if (model_type != 2)
    throw Error(fmt::format("{}: model type: wanted BPE (2), found {}", where, model_type));
  if (map) throw Error(fmt::format("{}: normalizer: wanted identity, found {}", where, printable(rules)));
  v.unknown = static_cast<int32_t>(std::min<uint64_t>(unknown, 1 << 22));
  if (bos < v.tokens.size()) v.bos = static_cast<int32_t>(bos);
  if (eos < v.tokens.size()) v.end_of_text.push_back(static_cast<int32_t>(eos));
  v.add_bos = true;
  read_beside(&v, config, generation);
  return v;
}

}  // namespace hedgerow
