// SPDX-License-Identifier: Apache-2.0
// What classify shows: a picture's result as text or as one JSON line, a progress bar, files that appear
// whole or not at all.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hedgerow/vision/classify.h"

namespace hedgerow::cli {

struct ShownFields {
  bool logits = false;
  int truth = -1;                   // the right class, where known
  const VitTrace* trace = nullptr;  // kept patches, stage by stage
  PruneMethod method = PruneMethod::none;
  std::string note;  // what is worth saying of this picture
};

std::string as_json(const Classification& result, const ClassifierModel& model, const ShownFields& fields);
std::string as_text(const Classification& result, const ClassifierModel& model, const ShownFields& fields);

// How many of a picture's rows besides the special ones reach the last block.
int rows_left(const Classification& result, const ClassifierModel& model);

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

// "1 picture", "2 pictures"
std::string counted(size_t n, const char* what);

// A file of ours may take the place of older ones of its kind, and of nothing else.
using IsOurs = bool (*)(const std::string& path);
bool may_write(const std::string& path, IsOurs is_ours);
// Writes through a new file beside it, which then takes the name. Error unless it may.
void write_whole(const std::string& path, std::string_view bytes, IsOurs is_ours);

// Reports of the bench commands: JSON objects that name their machine.
void check_report_file(const std::string& path);  // before there is something to lose
void write_report(const std::string& path, const std::string& json);

}  // namespace hedgerow::cli
