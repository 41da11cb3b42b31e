// SPDX-License-Identifier: Apache-2.0
// Where the overlays of a run go. They never take the place of anything but older overlays: that is looked at
// for every picture before the first one runs, and again when a file takes its name.
#pragma once

#include <string>
#include <vector>

#include "hedgerow/vision/classify.h"

namespace hedgerow::cli {

class OverlayFiles {
 public:
  // Files are named after the pictures; two of the same name get a number. Makes the folder. Error where a
  // file would replace one of the pictures (known by device and inode, so through any link) or anything else
  // that is no overlay.
  OverlayFiles(const std::string& folder, const std::vector<PictureRequest>& pictures);

  void write(size_t picture, const Picture& overlay) const;

 private:
  std::vector<std::string> paths_;  // one a picture
};

}  // namespace hedgerow::cli
