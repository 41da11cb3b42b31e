// SPDX-License-Identifier: Apache-2.0
// What the user names on the command line, as lists of pictures: files, folders, lists, request files, label
// files.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "hedgerow/vision/classify.h"

namespace hedgerow::cli {

// Files stay as they are; a folder stands for the JPEG and PNG files in it and below, sorted; @FILE and
// FILE.txt name a list with one path a line, relative to the list. Overlays in a folder are left out and
// counted, so that a second run sees the pictures that the first one saw. Error when a folder or list does
// not exist.
std::vector<PictureRequest> find_pictures(const std::vector<std::string>& paths, int* overlays);

// JSON lines: {"path": "a.jpg", "keep": 0.5, "threshold": 12.5, "size": 384}; all but path optional; relative
// to the file.
std::vector<PictureRequest> read_requests(const std::string& file);

// The right answers, from a CSV of file name and class index, with or without a header; "#" opens a comment.
class Labels {
 public:
  Labels() = default;
  Labels(const std::string& file, int classes);
  bool empty() const { return index_.empty(); }
  // The longest tail of `path` that the file names, else its bare name if that is named once; -1: not named.
  int find(const std::string& path) const;

 private:
  std::map<std::string, int> index_, by_name_;
};

}  // namespace hedgerow::cli
