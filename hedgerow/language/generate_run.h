// SPDX-License-Identifier: Apache-2.0
// What one generation holds while it runs: shared by the parts of Generator.
#pragma once

#include "hedgerow/language/generate.h"

namespace hedgerow {

struct Generator::Run {
  const GenerateOptions& how;
  const OnToken& on_token;
  Sampler sampler;
  Policy policy;
  Generated out;
  std::vector<int32_t> text;  // prompt and what was generated; the last one is not in the target's cache
  TokenTree tree;
  std::vector<double> estimate;  // of each node: the chance that it is accepted
  bool done = false;
  int most_nodes = 1;  // that the target's pass has room for
  int deepest = 0;     // no deeper than what can still become text
};

}  // namespace hedgerow
