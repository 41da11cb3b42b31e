// SPDX-License-Identifier: Apache-2.0
// Files of vocabularies: what lies beside them, and every fault refused by name.
#include <nlohmann/json.hpp>

#include "../loading.h"
#include "hedgerow/language/tokenizer/tokenizer.h"

namespace hedgerow {
namespace {

using nlohmann::json;

json recorded(const std::string& name) { return json::parse(slurp(data_path("tokenizers/" + name))); }
Tokenizer made(const json& file, const std::string& config = "", const std::string& generation = "") {
  return Tokenizer(read_tokenizer_json(file.dump(), config, generation, "f"));
}

TEST(Vocabulary, a_folder_says_where_texts_begin_and_end) {
  const json file = recorded("gpt2.json");
  const Tokenizer plain = made(file);
  EXPECT_FALSE(plain.vocabulary().add_bos);
  const Tokenizer full = made(
      file, R"({"bos_token": {"content": "<|im_start|>"}, "add_bos_token": true, "eos_token": "<|im_end|>"})",
      R"({"eos_token_id": [7, 2]})");
  EXPECT_EQ(full.vocabulary().bos, 1);
  EXPECT_TRUE(full.vocabulary().add_bos);
  for (const int32_t id : {0, 2, 7}) {
    const auto& ends = full.vocabulary().end_of_text;
    EXPECT_EQ(std::count(ends.begin(), ends.end(), id), 1) << id;
  }
  EXPECT_EQ(made(recorded("llama3.json")).vocabulary().bos, 0);
  EXPECT_FALSE(made(recorded("llama3.json"), R"({"add_bos_token": false})").vocabulary().add_bos);
}

TEST(Vocabulary, what_is_not_implemented_is_refused_by_name) {
  struct {
    const char *file, *at, *value, *named;
  } const cases[] = {
      {"gpt2.json", "/model/type", R"("WordPiece")", "WordPiece"},
      {"gpt2.json", "/model/dropout", "0.1", "dropout"},
      {"gpt2.json", "/model/continuing_subword_prefix", R"("##")", "continuing_subword_prefix"},
      {"gpt2.json", "/model/end_of_word_suffix", R"("</w>")", "end_of_word_suffix"},
      {"gpt2.json", "/normalizer", R"({"type": "Lowercase"})", "Lowercase"},
      {"gpt2.json", "/pre_tokenizer", "null", "pre_tokenizer"},
      {"gpt2.json", "/pre_tokenizer/type", R"("Whitespace")", "Whitespace"},
      {"gpt2.json", "/pre_tokenizer/add_prefix_space", "true", "add_prefix_space"},
      {"gpt2.json", "/pre_tokenizer/use_regex", "false", "use_regex"},
      {"gpt2.json", "/added_tokens/0/lstrip", "true", "lstrip"},
      {"gpt2.json", "/added_tokens/0/rstrip", "true", "rstrip"},
      {"gpt2.json", "/added_tokens/0/single_word", "true", "single_word"},
      {"gpt2.json", "/added_tokens/0/id", "9", "token 9"},
      {"gpt2.json", "/added_tokens/0/id", "4000000", "a token's number"},
      {"gpt2.json", "/model/vocab", "[]", "model.vocab"},
      {"gpt2.json", "/model/vocab/!", "-1", "a token's number"},
      {"gpt2.json", "/model/vocab/!", "1.5", "model.vocab"},
      {"gpt2.json", "/model/merges/0", R"("nospace")", "merges"},
      {"gpt2.json", "/model/merges/0", R"(["!", "#"])", "not in the vocabulary"},
      {"gpt2.json", "/model/merges/0", "7", "model.merges"},
      {"llama3.json", "/pre_tokenizer/pretokenizers/0/pattern/Regex", R"(".+")", "pattern"},
      {"llama3.json", "/pre_tokenizer/pretokenizers/0/behavior", R"("Removed")", "behavior"},
      {"llama3.json", "/post_processor/single/0", R"({"Sequence": {"id": "A"}})", ""},
      {"llama3.json", "/post_processor/single/1", R"({"SpecialToken": {"id": "<|im_end|>"}})",
       "post_processor"},
      {"llama3.json", "/post_processor/type", R"("RobertaProcessing")", "RobertaProcessing"},
      {"smollm.json", "/pre_tokenizer/pretokenizers/0/individual_digits", "false", "individual_digits"},
      {"llama2.json", "/normalizer/normalizers/0/prepend", R"("_")", "Prepend"},
      {"llama2.json", "/normalizer/normalizers/1/content", R"("_")", "Replace"},
      {"llama2.json", "/normalizer", "null", "Metaspace"},
      {"metaspace.json", "/pre_tokenizer/split", "true", "split"},
      {"metaspace.json", "/pre_tokenizer/prepend_scheme", R"("last")", "prepend_scheme"},
  };
  for (const auto& c : cases) {
    json file = recorded(c.file);
    file[json::json_pointer(c.at)] = json::parse(c.value);
    if (*c.named == 0)
      EXPECT_FALSE(made(file).vocabulary().add_bos) << c.at;
    else
      EXPECT_ERROR(made(file), c.named) << c.file << c.at << ' ' << c.value;
  }
  EXPECT_ERROR(made(recorded("gpt2.json"), R"({"add_eos_token": true})"), "add_eos_token");
  EXPECT_ERROR(made(recorded("gpt2.json"), "", R"({"bos_token_id": 4000})"), "beginning of text");
}

TEST(Vocabulary, a_sentencepiece_file_cut_anywhere_is_an_error) {
  const std::string whole = slurp(data_path("tokenizers/pieces.model"));
  int errors = 0;
  for (size_t n = 0; n < whole.size(); n += 7) try {
      Tokenizer(read_sentencepiece(std::string_view(whole).substr(0, n), "", "", "f"));
    } catch (const Error&) {
      ++errors;
    }
  EXPECT_EQ(errors, static_cast<int>((whole.size() + 6) / 7));
}

// One more field at the end of a model: a message of `number` with the given bytes.
std::string with_field(int number, const std::string& bytes) {
  return slurp(data_path("tokenizers/pieces.model")) + static_cast<char>(number << 3 | 2) +
         static_cast<char>(bytes.size()) + bytes;
}

TEST(Vocabulary, sentencepiece_models_of_another_kind_are_refused_by_name) {
  const auto open = [](const std::string& bytes) {
    return Tokenizer(read_sentencepiece(bytes, "", "", "f"));
  };
  EXPECT_NO_THROW(open(with_field(2, "\x18\x02")));
  EXPECT_ERROR(open(with_field(2, "\x18\x01")), "model type");
  EXPECT_ERROR(open(with_field(3, std::string("\x12\x01x", 3))), "normalizer");
  EXPECT_ERROR(open(with_field(3, std::string("\x28\x00", 2))), "white space");
  EXPECT_ERROR(open(with_field(1, std::string("\x0a\x01x\x15\x00\x00\x80\x7f", 8))), "finite score");
  EXPECT_ERROR(open(with_field(1, std::string("\x0a\x01x\x18\x09", 5))), "type of 1 to 6");
  EXPECT_ERROR(open(with_field(1, std::string("\x0a\x01x\x18\x06", 5))), "wanted a byte");
}

TEST(Vocabulary, a_gguf_vocabulary_is_checked) {
  GgufVocabulary g{.model = "gpt2",
                   .pre = "gpt-2",
                   .where = "f",
                   .tokens = {"a", "b", "ab"},
                   .merges = {"a b"},
                   .scores = {},
                   .types = {1, 1, 1},
                   .bos = -1,
                   .eos = 2,
                   .eot = -1,
                   .unknown = -1,
                   .add_bos = {},
                   .add_space_prefix = {}};
  const auto open = [](const GgufVocabulary& from) { return Tokenizer(read_gguf_vocabulary(from)); };
  EXPECT_EQ(open(g).encode("abba"), (std::vector<int32_t>{2, 1, 0}));
  EXPECT_ERROR(open(g).encode("abc"), "for byte 99");
  const auto refused = [&](auto change, const char* named) {
    GgufVocabulary other = g;
    change(other);
    EXPECT_ERROR(open(other), named);
  };
  refused([](auto& v) { v.model = "t5"; }, "t5");
  refused([](auto& v) { v.pre = "falcon"; }, "falcon");
  refused([](auto& v) { v.types = {1, 1}; }, "token_type");
  refused([](auto& v) { v.types[0] = NAN; }, "token_type");
  refused([](auto& v) { v.bos = int64_t{1} << 32; }, "a token's number");
  refused([](auto& v) { v.merges = {"b b"}; }, "merges");
  refused([](auto& v) { v.model = "llama", v.scores = {0, 0}; }, "score");
  refused([](auto& v) { v.model = "llama", v.scores = {0, 0, INFINITY}; }, "finite");
}

}  // namespace
}  // namespace hedgerow
