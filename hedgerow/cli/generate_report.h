// SPDX-License-Identifier: Apache-2.0
// What `generate` says of a generation: as JSON, and as lines for people.
#pragma once

#include <string>

#include "hedgerow/cli/language_flags.h"

namespace hedgerow::cli {

struct GenerateReport {
  const OpenLanguage& lm;
  const Generated& generated;
  std::string text, tree;
  uint64_t seed = 0;
  bool raw = false;
  double load = 0, total = 0;

  std::string json() const;
  std::string text_stats() const;
};

}  // namespace hedgerow::cli
