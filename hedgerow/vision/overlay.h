// SPDX-License-Identifier: Apache-2.0
// A picture of what pruning did: one panel for the picture, one per stage. Patches that are gone are dark and
// grey; patches that were merged share one tint and lose the gaps between them; patches that live are as they
// were.
#pragma once

#include <string>
#include <vector>

#include "hedgerow/io/image.h"
#include "hedgerow/vision/preprocess.h"
#include "hedgerow/vision/vit.h"

namespace hedgerow {

// What the network sees of a picture, before the normalisation.
Picture picture_seen(const Picture& picture, Preprocess how);

// An overlay as a PNG that says what it is, and whether a file is such a PNG. Only such a file may be
// replaced by an overlay.
std::vector<uint8_t> encode_overlay(const Picture& overlay, const std::string& where);
bool is_overlay_file(const std::string& path);

// Pixels of one patch in the panels of a grid, so that every panel is about the same size.
int overlay_cell(int grid_columns);

// `shown` is what the network saw, grid_columns * cell x grid_rows * cell pixels. `trace` holds the stages of
// a run; `image` is the picture's place in its batch; `caption` stands above the first panel.
Picture draw_overlay(const Picture& shown, int grid_rows, int grid_columns, int cell, const VitTrace& trace,
                     int image, const std::string& caption);

}  // namespace hedgerow
