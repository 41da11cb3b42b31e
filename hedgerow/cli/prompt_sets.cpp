// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/cli/prompt_sets.h"

#include <fmt/format.h>

#include "hedgerow/core/error.h"
#include "hedgerow/io/file.h"
#include "hedgerow/io/json.h"

namespace hedgerow::cli {
namespace {

std::string prompt_of(const nlohmann::json& j, const std::string& where) {
  for (const char* field : {"prompt", "question", "problem", "input", "text"})
    if (const nlohmann::json* v = json_find(j, field); v && v->is_string()) return v->get<std::string>();
  if (const nlohmann::json* turns = json_find(j, "turns");
      turns && turns->is_array() && !turns->empty() && (*turns)[0].is_string())
    return (*turns)[0].get<std::string>();
  throw Error(where +
              ": wanted a field prompt, question, problem, input, text or turns with text, found none");
}

}  // namespace

PromptSet read_prompts(const std::string& path) {
  PromptSet set;
  const size_t slash = path.find_last_of('/');
  set.name = path.substr(slash == std::string::npos ? 0 : slash + 1);
  set.name = set.name.substr(0, set.name.find_last_of('.'));
  const std::string text = read_file(path, 64u << 20);
  if (path.ends_with(".json")) {
    const nlohmann::json all = parse_json(text, path);
    const nlohmann::json* list = all.is_array() ? &all : json_find(all, "examples");
    if (!list || !list->is_array()) throw Error(path + ": wanted a list, or examples, found something else");
    for (const nlohmann::json& one : *list) set.prompts.push_back(prompt_of(one, path));
  } else {
    int number = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      const std::string line = text.substr(at, end - at);
      at = end + 1, ++number;
      if (line.empty()) continue;
      const std::string where = fmt::format("{}:{}", path, number);
      set.prompts.push_back(path.ends_with(".jsonl") ? prompt_of(parse_json(line, where), where) : line);
    }
  }
  if (set.prompts.empty()) throw Error(path + ": wanted prompts, found none");
  return set;
}

}  // namespace hedgerow::cli
