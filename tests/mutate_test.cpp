// SPDX-License-Identifier: Apache-2.0
// Ten thousand damaged inputs a parser, the same ones every time. What comes out is a value or an Error; run
// under the sanitizers this is the everyday form of script/fuzz.
#include "fuzz/targets.h"
#include "loading.h"

namespace hedgerow {
namespace {

constexpr int kInputs = 10000;

// Seed `i` with one to eight changes: a bit, a byte, a stretch copied, dropped or repeated, or the end cut
// off.
std::string mutated(const std::vector<std::string>& seeds, uint64_t i) {
  const Rng rng{7, i};
  uint64_t draw = 0;
  const auto below = [&](size_t n) { return n == 0 ? 0 : static_cast<size_t>(rng.bits(draw++) % n); };
  std::string s = seeds[below(seeds.size())];
  for (size_t changes = 1 + below(8); changes > 0 && !s.empty(); --changes) {
    const size_t at = below(s.size()), n = 1 + below(std::min<size_t>(32, s.size() - at));
    switch (below(7)) {
      case 0:
        s[at] = static_cast<char>(s[at] ^ (1 << below(8)));
        break;
      case 1:
        s[at] = static_cast<char>(below(256));
        break;
      case 2:
        s.insert(below(s.size()), s.substr(at, n));
        break;
      case 3:
        s.erase(at, n);
        break;
      case 4:
        s.replace(at, n, std::string(n, below(2) ? '\xff' : '\0'));
        break;
      case 5:
        s[at] = "0123456789-[]{}\",:e."[below(20)];
        break;
      case 6:
        if (below(8) == 0) s.resize(at);
        break;
    }
  }
  return s;
}

// Makes the checksums of a PNG's chunks right again, so that what is inside them is read.
std::string sealed(std::string png) {
  for (size_t at = 8; at + 12 <= png.size();) {
    size_t length = 0;
    for (size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<uint8_t>(png[at + i]);
    if (length > png.size() - at - 12) break;
    uint32_t crc = ~0u;
    for (size_t i = at + 4; i < at + 8 + length; ++i) {
      crc ^= static_cast<uint8_t>(png[i]);
      for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    for (size_t i = 0; i < 4; ++i) png[at + 8 + length + i] = static_cast<char>(~crc >> (24 - 8 * i));
    at += 12 + length;
  }
  return png;
}

template <class F>
void survive(const std::vector<std::string>& seeds, F&& parse) {
  for (const std::string& seed : seeds) parse(bytes_of(seed), seed.size());
  for (uint64_t i = 0; i < kInputs; ++i) {
    const std::string input = mutated(seeds, i);
    parse(bytes_of(input), input.size());
  }
}

std::vector<std::string> seeds(std::initializer_list<const char*> names) {
  std::vector<std::string> out;
  for (const char* name : names) out.push_back(slurp(data_path(name)));
  return out;
}

TEST(Mutate, damaged_safetensors_end_in_an_error_or_a_value) {
  survive(seeds({"small.safetensors"}), fuzz::try_safetensors);
}

TEST(Mutate, damaged_configs_end_in_an_error_or_a_value) {
  std::vector<std::string> s = seeds({"timm_config.json", "huggingface_config.json", "shard_index.json"});
  s.push_back(s[1] + '\0' + slurp(data_path("huggingface_preprocessor.json")));
  survive(s, fuzz::try_config);
}

TEST(Mutate, damaged_jpegs_end_in_an_error_or_a_value) {
  survive(seeds({"rgb420.jpg", "rgb444.jpg", "progressive.jpg", "restarts.jpg", "grey.jpg", "cmyk.jpg",
                 "turned5.jpg"}),
          fuzz::try_picture);
}

TEST(Mutate, damaged_pngs_end_in_an_error_or_a_value) {
  survive(seeds({"rgb.png", "grey.png", "alpha.png", "grey_alpha.png", "one_bit.png", "palette.png",
                 "key.png", "interlaced.png", "turned2.png"}),
          [](const uint8_t* data, size_t bytes) {
            fuzz::try_picture(data, bytes);
            const std::string whole = sealed(std::string(reinterpret_cast<const char*>(data), bytes));
            fuzz::try_picture(bytes_of(whole), whole.size());
          });
}

TEST(Mutate, damaged_gguf_files_end_in_an_error_or_a_value) {
  survive(seeds({"small.gguf"}), fuzz::try_gguf);
}

TEST(Mutate, Template) {
  survive(seeds({"templates/chatml.jinja", "templates/llama2.jinja", "templates/llama3.1.jinja",
                 "templates/zephyr.jinja", "templates/qwen2.5.jinja", "templates/everything.jinja"}),
          fuzz::try_template);
}

TEST(Mutate, damaged_tokenizer_files_end_in_an_error_or_a_vocabulary) {
  std::vector<std::string> s =
      seeds({"tokenizers/gpt2.json", "tokenizers/llama3.json", "tokenizers/qwen2.json",
             "tokenizers/smollm.json", "tokenizers/llama2.json", "tokenizers/metaspace.json"});
  s.push_back(s[0] + '\0' +
              R"({"bos_token": "<|im_start|>", "add_bos_token": true, "eos_token_id": [0, 2]})");
  survive(s, fuzz::try_tokenizer);
}

TEST(Mutate, damaged_sentencepiece_models_end_in_an_error_or_a_vocabulary) {
  survive(seeds({"tokenizers/pieces.model", "tokenizers/unused.model"}), fuzz::try_sentencepiece);
}

}  // namespace
}  // namespace hedgerow
