// SPDX-License-Identifier: Apache-2.0
// What a run of classify adds up, and its last lines.
#pragma once

#include <cstddef>

#include "hedgerow/vision/classify.h"

namespace hedgerow::cli {

struct Tally {
  size_t done = 0, skipped = 0, judged = 0, right = 0, right5 = 0;
  size_t foreign = 0, emptied = 0;  // pictures that the model may not know; that kept no patch
  double prepare_s = 0, run_s = 0, macs = 0;

  void add(const Classification& result, int truth);
  // On stderr, so that results can be redirected by themselves.
  void print(double elapsed_s, const ClassifierModel& model, const ClassifierOptions& options) const;
};

}  // namespace hedgerow::cli
