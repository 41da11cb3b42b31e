// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/cli/overlay_files.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <set>
#include <utility>

#include "hedgerow/cli/output.h"
#include "hedgerow/core/error.h"
#include "hedgerow/vision/overlay.h"

namespace hedgerow::cli {
namespace fs = std::filesystem;

OverlayFiles::OverlayFiles(const std::string& folder, const std::vector<PictureRequest>& pictures) {
  std::error_code fault;
  fs::create_directories(folder, fault);
  require(!fault && fs::is_directory(folder, fault),
          "--overlay: " + folder + " is not a folder that can be made");
  std::set<std::pair<dev_t, ino_t>> inputs;
  struct stat at {};
  for (const PictureRequest& p : pictures)
    if (::stat(p.path.c_str(), &at) == 0) inputs.emplace(at.st_dev, at.st_ino);
  std::set<std::string> used;
  for (const PictureRequest& p : pictures) {
    const std::string stem = fs::path(p.path).stem().string();
    std::string name = stem;
    for (int n = 2; !used.insert(name).second; ++n) name = fmt::format("{}-{}", stem, n);
    const std::string& path = paths_.emplace_back((fs::path(folder) / (name + ".png")).string());
    const bool input = ::stat(path.c_str(), &at) == 0 && inputs.count({at.st_dev, at.st_ino}) > 0;
    require(!input, fmt::format("--overlay: {} is one of the pictures: wanted another folder", path));
    require(may_write(path, is_overlay_file),
            fmt::format("--overlay: {} is there and no overlay: wanted another folder", path));
  }
}

void OverlayFiles::write(size_t picture, const Picture& overlay) const {
  const std::string& path = paths_.at(picture);
  const std::vector<uint8_t> png = encode_overlay(overlay, path);
  write_whole(path, {reinterpret_cast<const char*>(png.data()), png.size()}, is_overlay_file);
}

}  // namespace hedgerow::cli
