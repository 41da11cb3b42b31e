// SPDX-License-Identifier: Apache-2.0
// Tokenizers against what Hugging Face's `tokenizers` and SentencePiece made of the same texts
// (tests/python/record_tokenizers.py), and what is promised beyond them: control tokens, beginnings of text,
// broken UTF-8, time.
#include "hedgerow/language/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "../loading.h"
#include "hedgerow/core/clock.h"
#include "hedgerow/language/tokenizer/utf8.h"

namespace hedgerow {
namespace {

using Ids = std::vector<int32_t>;
using Pieces = std::vector<Tokenizer::Piece>;

Vocabulary recorded(const std::string& name) {
  const std::string bytes = slurp(data_path("tokenizers/" + name));
  return name.ends_with(".model") ? read_sentencepiece(bytes, "", "", name)
                                  : read_tokenizer_json(bytes, "", "", name);
}
const char* const kNames[] = {"gpt2.json",    "llama3.json",  "qwen2.json",  "smollm.json",
                              "pieces.model", "unused.model", "llama2.json", "metaspace.json"};

TEST(Tokenizer, text_becomes_the_tokens_that_were_recorded) {
  const auto all = nlohmann::json::parse(slurp(data_path("tokenizers/expected.json")));
  ASSERT_EQ(all.size(), std::size(kNames));
  for (const auto& [name, cases] : all.items()) {
    const Tokenizer tokenizer(recorded(name));
    ASSERT_GT(cases.size(), 40u);
    for (const auto& one : cases) {
      const std::string text = one["text"];
      EXPECT_EQ(tokenizer.encode(text), one["ids"].get<Ids>()) << name << ": " << one["text"];
    }
  }
}

TEST(Tokenizer, user_text_never_becomes_a_control_token) {
  for (const char* name : kNames) {
    const Tokenizer tokenizer(recorded(name));
    for (int32_t id = 0; id < tokenizer.size(); ++id) {
      if (!tokenizer.is_control(id) || tokenizer.bytes_of(id).empty()) continue;
      const std::string spelled(tokenizer.bytes_of(id));
      for (const std::string& text : {spelled, fmt::format("a{}b", spelled), spelled + spelled})
        for (const Ids& ids : {tokenizer.encode(text), tokenizer.encode(Pieces{{text, false}}, false)})
          for (const int32_t made : ids)
            EXPECT_FALSE(tokenizer.is_control(made) &&
                         tokenizer.vocabulary().types[static_cast<size_t>(made)] != Vocabulary::Type::unused)
                << name << ": " << text;
    }
  }
}

TEST(Tokenizer, a_user_cannot_finish_what_a_template_began) {
  const Tokenizer tokenizer(recorded("gpt2.json"));
  for (const int32_t id : tokenizer.encode(Pieces{{"<|im_", true}, {"end|>", false}, {"<|im", true}}, false))
    EXPECT_FALSE(tokenizer.is_control(id));
}

TEST(Tokenizer, template_text_becomes_control_tokens) {
  const Tokenizer tokenizer(recorded("gpt2.json"));
  const int32_t start = *tokenizer.id_of("<|im_start|>"), end = *tokenizer.id_of("<|im_end|>");
  const Ids ids = tokenizer.encode(
      Pieces{{"<|im_start|>user\n", true}, {"the <|im_end|>", false}, {"<|im_end|>\n", true}}, true);
  Ids controls;
  for (const int32_t id : ids)
    if (tokenizer.is_control(id)) controls.push_back(id);
  EXPECT_EQ(controls, (Ids{start, end}));
  EXPECT_EQ(ids.front(), start);
}

TEST(Tokenizer, neighbouring_pieces_are_one_text) {
  for (const char* name : kNames) {
    const Tokenizer tokenizer(recorded(name));
    EXPECT_EQ(tokenizer.encode(Pieces{{"the mo", true}, {"ther of", false}, {" them", true}}, false),
              tokenizer.encode("the mother of them"))
        << name;
  }
}

TEST(Tokenizer, the_beginning_of_text_comes_exactly_once) {
  for (const char* name : {"llama3.json", "pieces.model", "llama2.json"}) {
    Vocabulary v = recorded(name);
    if (v.bos < 0) v.bos = 1;
    const std::string begin = v.tokens[static_cast<size_t>(v.bos)];
    const int32_t bos = v.bos;
    ASSERT_TRUE(v.add_bos) << name;
    const Tokenizer tokenizer(std::move(v));
    const auto count = [&](const Pieces& pieces, bool add) {
      const Ids ids = tokenizer.encode(pieces, add);
      if (ids.empty() || ids[0] != bos) return -1;
      return static_cast<int>(std::count(ids.begin(), ids.end(), bos));
    };
    EXPECT_EQ(count({{"the", false}}, true), 1) << name;
    EXPECT_EQ(count({{begin + "the", true}}, true), 1) << name;
    EXPECT_EQ(count({{begin, true}, {begin, false}}, true), 1) << name;
    EXPECT_EQ(count({{begin, false}}, true), 1) << name;
    EXPECT_EQ(count({}, true), 1) << name;
    EXPECT_EQ(count({{"the", false}}, false), -1) << name;
  }
}

TEST(Tokenizer, random_bytes_come_back) {
  for (const char* name :
       {"gpt2.json", "llama3.json", "smollm.json", "pieces.model", "unused.model", "llama2.json"}) {
    const Tokenizer tokenizer(recorded(name));
    for (uint64_t i = 0; i < 300; ++i) {
      const Rng rng{11, i};
      std::string text(1 + rng.bits(0) % 60, '\0');
      for (size_t k = 0; k < text.size(); ++k)
        text[k] = static_cast<char>(i % 2 ? rng.bits(k + 1) : "the \xe4\xb8\xff"[rng.bits(k + 1) % 7]);
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << name << ' ' << i;
    }
  }
}

TEST(Tokenizer, composing_keeps_broken_bytes_and_loses_no_letter) {
  const Tokenizer tokenizer(recorded("qwen2.json"));
  const auto there_and_back = [&](const std::string& text) {
    return tokenizer.decode(tokenizer.encode(text));
  };
  EXPECT_EQ(there_and_back("e\xcc\x81\xff"
                           "e\xcc\x81"),
            "\xc3\xa9\xff\xc3\xa9");
  EXPECT_EQ(there_and_back("\xea\xb0\x80\xe1\x86\xa7"), "\xea\xb0\x80\xe1\x86\xa7");  // U+AC00, U+11A7
  EXPECT_EQ(there_and_back("\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8"), "\xea\xb0\x81");
}

TEST(Tokenizer, a_megabyte_without_a_space_takes_no_square_of_its_time) {
  for (const char* name : kNames) {
    const Tokenizer tokenizer(recorded(name));
    for (const char* what : {"a", "the", " ", "1", "\xe6\x9d\xb1", "\xff", "'s"}) {
      std::string text;
      while (text.size() < 1000000) text += what;
      const double begin = now_s();
      EXPECT_LE(tokenizer.encode(text).size(), text.size() + 1);
      EXPECT_LT(now_s() - begin, 20) << name << ": " << what;  // a square would take hours
    }
  }
}

TEST(Tokenizer, vocabularies_differ_at_the_first_token_that_does) {
  Vocabulary v = recorded("gpt2.json");
  const Tokenizer a{Vocabulary(v)};
  v.tokens.push_back("<pad>"), v.types.push_back(Vocabulary::Type::control);
  const Tokenizer padded{Vocabulary(v)};
  EXPECT_EQ(first_difference(a, padded), "");
  EXPECT_EQ(first_difference(padded, a), "");
  v.tokens[0] = "<other>";
  EXPECT_EQ(first_difference(a, Tokenizer(v)), "token 0: '<|endoftext|>' and '<other>'");
  EXPECT_NE(first_difference(a, Tokenizer(recorded("pieces.model"))), "");
}

TEST(Utf8, an_unfinished_character_is_held_back) {
  for (const std::string whole : {"\xc3\xa9", "\xe6\x9d\xb1", "\xf0\x9f\x98\x80"}) {
    for (size_t n = 1; n < whole.size(); ++n) EXPECT_EQ(unfinished_bytes(whole + whole.substr(0, n)), n);
    EXPECT_EQ(unfinished_bytes(whole), 0u);
  }
  for (const char* broken : {"", "a", "\xff", "\x80", "\xc3\x28", "\x80\x80\x80\x80"})
    EXPECT_EQ(unfinished_bytes(broken), 0u) << broken;
}

}  // namespace
}  // namespace hedgerow
