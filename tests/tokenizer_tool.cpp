// SPDX-License-Identifier: Apache-2.0
// Tokens for the comparison script in tests/python: reads one JSON value a line.
//
//   "text"                                            a user's text
//   [{"text": "...", "control": true}, ...]           pieces, with a beginning of text where the model wants
//   one
//
// Answers {"ids": [...], "text": the ids decoded} or {"error": "..."} a line. `tokenizer_tool VOCABULARY
// --speed FILE` tells how fast the file's text becomes tokens.
#include <fmt/format.h>

#include <iostream>

#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"
#include "hedgerow/io/file.h"
#include "hedgerow/io/gguf.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/tokenizer/tokenizer.h"

namespace hedgerow {
namespace {

Vocabulary open_vocabulary(const std::string& path) {
  if (is_folder(path)) return read_vocabulary(path);
  if (is_gguf(path)) return read_gguf_vocabulary(gguf_vocabulary(read_gguf(File(path))));
  return read_sentencepiece(read_file(path, 64u << 20), "", "", path);
}

nlohmann::json answer(const Tokenizer& tokenizer, const std::string& line) try {
  const nlohmann::json asked = parse_json(line, "line");
  std::vector<Tokenizer::Piece> pieces;
  if (asked.is_array())
    for (const nlohmann::json& p : asked) pieces.push_back({p.at("text"), p.at("control")});
  const std::vector<int32_t> ids =
      asked.is_array() ? tokenizer.encode(pieces, true) : tokenizer.encode(asked.get<std::string>());
  return {{"ids", ids}, {"text", tokenizer.decode(ids)}};
} catch (const Error& e) {
  return {{"error", e.what()}};
}

void measure(const Tokenizer& tokenizer, const std::string& path) {
  const std::string text = read_file(path, 1u << 30);
  double best = 1e9;
  size_t tokens = 0;
  for (int i = 0; i < 5; ++i) {
    const double begin = now_s();
    tokens = tokenizer.encode(text).size();
    best = std::min(best, now_s() - begin);
  }
  fmt::print("{} bytes, {} tokens, best of 5: {:.3f} s, {:.2f} MB/s\n", text.size(), tokens, best,
             static_cast<double>(text.size()) * 1e-6 / best);
}

}  // namespace
}  // namespace hedgerow

int main(int argc, char** argv) try {
  if (argc != 2 && !(argc == 4 && std::string(argv[2]) == "--speed")) {
    std::cerr << "wanted: tokenizer_tool VOCABULARY [--speed FILE]\n";
    return 2;
  }
  const double begin = hedgerow::now_s();
  const hedgerow::Tokenizer tokenizer(hedgerow::open_vocabulary(argv[1]));
  if (argc == 4) {
    fmt::print("{} tokens loaded in {:.3f} s; ", tokenizer.size(), hedgerow::now_s() - begin);
    hedgerow::measure(tokenizer, argv[3]);
    return 0;
  }
  for (std::string line; std::getline(std::cin, line);)
    std::cout
        << hedgerow::answer(tokenizer, line).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)
        << '\n';
  return 0;
} catch (const hedgerow::Error& e) {
  std::cerr << e.what() << '\n';
  return 1;
}
