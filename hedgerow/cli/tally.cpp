// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/cli/tally.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "hedgerow/cli/output.h"
#include "hedgerow/vision/methods.h"

namespace hedgerow::cli {

void Tally::add(const Classification& r, int truth) {
  ++done;
  macs += r.macs;
  if (truth < 0) return;
  ++judged;
  const auto best = top_classes(r.logits.data(), static_cast<int>(r.logits.size()), 5);
  right += best[0].index == truth;
  right5 += std::any_of(best.begin(), best.end(), [truth](const TopClass& t) { return t.index == truth; });
}

void Tally::print(double elapsed_s, const ClassifierModel& model, const ClassifierOptions& options) const {
  if (done > 0) {
    const double n = static_cast<double>(done);
    const bool fuses = traits_of(options.prune.method).fuses_dropped;
    fmt::print(stderr,
               "rows: those leaving each block, CLS{}{} counted; the last block finishes only the {}\n",
               model.config.distilled ? ", the distillation token" : "", fuses ? " and the fused row" : "",
               model.config.distilled ? "two that are read" : "one that is read");
    if (judged > 0)
      fmt::print(stderr, "top-1 {:.2f} %, top-5 {:.2f} % of {} with a label\n",
                 100.0 * static_cast<double>(right) / static_cast<double>(judged),
                 100.0 * static_cast<double>(right5) / static_cast<double>(judged),
                 counted(judged, "picture"));
    fmt::print(stderr,
               "{} in {:.2f} s: {:.1f} pictures/s; reading alone {:.1f}, computing alone {:.1f}; {:.3g} G "
               "multiply-adds each ({}, {}, {})\n",
               counted(done, "picture"), elapsed_s, n / elapsed_s,
               (n + static_cast<double>(skipped)) / prepare_s, n / run_s, macs / n * 1e-9,
               model.backend->name, name_of(model.dtype),
               counted(static_cast<size_t>(options.threads), "thread"));
    if (foreign > 0)
      fmt::print(stderr, "hedgerow: note: {} of {} may show nothing that {} knows; --model names another\n",
                 foreign, counted(done, "picture"), model.path);
    if (emptied > 0)
      fmt::print(
          stderr,
          "hedgerow: note: {} of {} kept no patch: no score reaches the threshold; hedgerow info MODEL "
          "PICTURE shows their scale\n",
          emptied, counted(done, "picture"));
  }
  if (skipped > 0) fmt::print(stderr, "{} skipped\n", counted(skipped, "picture"));
}

}  // namespace hedgerow::cli
