// SPDX-License-Identifier: Apache-2.0
// Files of prompts: JSON lines with a known field, BIG-Bench-Hard's files, or plain text, a prompt a line.
#pragma once

#include <string>
#include <vector>

namespace hedgerow::cli {

struct PromptSet {
  std::string name;  // of the file
  std::vector<std::string> prompts;
};
// The fields prompt, question, problem, input, text or the first of turns. Error naming the line.
PromptSet read_prompts(const std::string& path);

}  // namespace hedgerow::cli
