// SPDX-License-Identifier: Apache-2.0
// What classify shows: a picture's result as text or as one JSON line, a progress bar, files that appear
// whole or not at all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hedgerow/vision/classify.h"

namespace hedgerow::cli {

struct ShownFields {
  bool logits = false;
  int truth = -1;                   // the right class, where known
  const VitTrace* trace = nullptr;  // kept patches, stage by stage
};

std::string as_json(const Classification& result, const ClassifierModel& model, const ShownFields& fields);
std::string as_text(const Classification& result, const ClassifierModel& model, const ShownFields& fields);

// "197 x4, 99 x7, 1"
std::string runs_text(const std::vector<int32_t>& values);

// Draws on stderr when that is a terminal, the job is long and stdout is not in the way.
class Progress {
 public:
  Progress(size_t total, bool wanted);
  ~Progress();
  void show(size_t done);

 private:
  void clear();
  size_t total_;
  bool on_;
  double begin_s_, shown_s_ = 0;
};

// Writes through a file beside it, which then takes the name.
void write_png_whole(const std::string& path, const Picture& picture);
void write_text_whole(const std::string& path, const std::string& text);

}  // namespace hedgerow::cli
