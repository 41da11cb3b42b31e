// SPDX-License-Identifier: Apache-2.0
// Labels for pictures, half of each picture's patches dropped after four blocks: classify MODEL PICTURE...
#include <hedgerow/core/error.h>
#include <hedgerow/vision/classify.h>

#include <cstdio>

int main(int argc, char** argv) try {
  hedgerow::require(argc > 2, "usage: classify MODEL PICTURE...");

  // The model is const once loaded: threads share it, each with a Classifier of its own.
  const auto model = hedgerow::load_classifier_model(argv[1]);
  hedgerow::ClassifierOptions options;
  options.prune.method = hedgerow::PruneMethod::threshold_l2;
  options.prune.budget.keep = 0.5;
  hedgerow::Classifier classifier(model, options);

  std::vector<hedgerow::PictureRequest> requests(argc - 2);
  for (int i = 2; i < argc; ++i) requests[i - 2].path = argv[i];
  requests[0].keep = 0.9;  // any picture may have a rate of its own

  for (const auto& result : classifier.classify(requests)) {
    if (!result.error.empty()) {
      std::printf("skipped: %s\n", result.error.c_str());
      continue;
    }
    const auto& best = result.top.at(0);
    std::printf("%s: %s (%.1f %%), %d rows left block 3\n", result.path.c_str(),
                model->label(best.index).c_str(), 100 * best.p, result.kept.at(3));
  }
} catch (const std::exception& e) {
  std::fprintf(stderr, "classify: %s\n", e.what());
  return 1;
}
