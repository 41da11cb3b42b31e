// SPDX-License-Identifier: Apache-2.0
// Position embeddings at another resolution, as torch.nn.functional.interpolate computes them.
#pragma once

#include <vector>

#include "hedgerow/vision/vit.h"

namespace hedgerow {

// parameters.pos_embed for a grid of grid_h x grid_w patches: [special + grid_h * grid_w, dim]. Special rows
// are copied, patch rows are resampled with the filter of the checkpoint's lineage (config.resample,
// config.antialias_positions).
std::vector<float> resample_positions(const VitParameters& parameters, int grid_h, int grid_w);

// "bicubic with antialiasing", ...
std::string describe_resampling(const VitConfig& config);

}  // namespace hedgerow
