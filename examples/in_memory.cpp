// SPDX-License-Identifier: Apache-2.0
// Pictures in memory, and which of their patches lived: in_memory MODEL PICTURE
#include <hedgerow/core/error.h>
#include <hedgerow/vision/classify.h>

#include <cstdio>
#include <fstream>
#include <iterator>

int main(int argc, char** argv) try {
  hedgerow::require(argc == 3, "usage: in_memory MODEL PICTURE");

  // JPEG or PNG bytes, from wherever they come, to rows of 8-bit RGB. A camera's frames would start here.
  std::ifstream file(argv[2], std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  const hedgerow::Picture picture =
      hedgerow::decode_picture(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), argv[2]);

  // As many patches as hold 80 % of the summed scores, eight at least: a number of its own for each picture.
  hedgerow::ClassifierOptions options;
  options.prune.method = hedgerow::PruneMethod::threshold_l2;
  options.prune.rule = hedgerow::KeepRule::mass;
  options.prune.budget.mass = 0.8;
  options.prune.budget.floor = 8;
  hedgerow::Classifier classifier(hedgerow::load_classifier_model(argv[1]), options);

  hedgerow::PictureRequest request;  // the pixels must outlive the call
  request.rgb = picture.rgb.data();
  request.width = picture.width;
  request.height = picture.height;
  hedgerow::VitTrace trace;
  const hedgerow::Classification result = classifier.classify({request}, &trace).at(0);
  hedgerow::require(result.error.empty(), result.error);
  std::printf("%s\n", classifier.model().label(result.top.at(0).index).c_str());

  // After the last stage, patch by patch: 0 for a patch that is gone, its own number + 1 where it has a row.
  const auto& where = trace.patch_to.back().at(static_cast<size_t>(result.place));
  for (int row = 0; row < result.grid_rows; ++row, std::printf("\n"))
    for (int column = 0; column < result.grid_columns; ++column)
      std::printf("%c", where.at(static_cast<size_t>(row * result.grid_columns + column)) ? '#' : '.');
} catch (const std::exception& e) {
  std::fprintf(stderr, "in_memory: %s\n", e.what());
  return 1;
}
