// SPDX-License-Identifier: Apache-2.0
// A model's folder: which of its files hold the vocabulary, and where texts begin and end.
#include <algorithm>

#include "hedgerow/core/error.h"
#include "hedgerow/io/file.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/tokenizer/read.h"

namespace hedgerow {

using nlohmann::json;

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
  if (!config.empty()) {
    const json c = parse_json(config, v->where + " (tokenizer_config.json)");
    if (const int32_t id = id_of(json_find(c, "bos_token")); id >= 0) v->bos = id;
    v->add_bos = json_bool(c, "add_bos_token", v->add_bos && v->bos >= 0, v->where);
    if (json_bool(c, "add_eos_token", false, v->where))
      throw Error(v->where + " (tokenizer_config.json): \"add_eos_token\" should be false, found true");
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
  std::string config = beside("tokenizer_config.json");
  if (config.empty()) config = beside("special_tokens_map.json");
  const std::string generation = beside("generation_config.json");
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
