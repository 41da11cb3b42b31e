// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "hedgerow/io/json.h"
#include "hedgerow/language/tokenizer/tables.h"

namespace hedgerow {

using Type = Vocabulary::Type;

Tokenizer::Tokenizer(Vocabulary vocabulary) : tables_(std::make_unique<Tables>(std::move(vocabulary))) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  tables_->encode_text(text, true, &ids);
  return ids;
}

std::vector<int32_t> Tokenizer::encode(const std::vector<Piece>& pieces, bool add_bos) const {
  const Tables& t = *tables_;
  std::vector<int32_t> ids;
  std::string run;
  const auto flush = [&] { t.encode_text(run, ids.empty(), &ids), run.clear(); };
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
  const bool prefixed =
      tables_->v.kind == Vocabulary::Kind::sentencepiece && tables_->v.prefix != Vocabulary::Prefix::none;
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
