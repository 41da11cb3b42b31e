// SPDX-License-Identifier: Apache-2.0
// Flags that several commands share, and their way into the library's options. CLI11 checks the form of each
// value; what only makes sense together (a keep rate and a method that has one) is checked here, in one line
// that names the flag.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "hedgerow/vision/classify.h"

namespace hedgerow::cli {

inline constexpr const char* kDefaultModel = "hedgerow-vit-mini";

struct ModelFlags {
  std::string model = kDefaultModel, dtype, device = "cpu";
  int size = 0;
  std::vector<float> mean, std;
  int resize = 0;
  std::string crop, interpolation;

  void add_to(CLI::App& command);
  ModelOptions options() const;
};

struct PruneFlags {
  std::string method = "none", keep, diffrate, layout = "ragged";
  double keep_final = 0, threshold = 0, quantile = 0, mass = 0;
  int floor = 0, merge_r = 13, after = 4;
  uint64_t seed = 0;

  void add_to(CLI::App& command);
  // `per_picture_threshold`: some pictures bring their own.
  Prune prune(const CLI::App& command, bool per_picture_threshold = false) const;
  // What --keep-final means to this model: sets the rate of `prune`, and of pictures of another size than the
  // model's.
  void solve_final(const ClassifierModel& model, Prune* prune, std::vector<PictureRequest>* pictures) const;
  Layout layout_value() const;
};

int default_threads();
// "0.5" or "0.3:0.7". Error naming `where`.
void parse_keep(const std::string& text, const std::string& where, PruneBudget* budget);
Dtype parse_dtype(const std::string& text);
// What --device names, as find_backend() takes it.
std::string kernels_of(const std::string& device);
void add_device_flag(CLI::App& command, std::string* device);
Layout parse_layout(const std::string& text);
const char* name_of(Layout layout);

}  // namespace hedgerow::cli
