// SPDX-License-Identifier: Apache-2.0
// Definitions: making, moving and marking rows (ops/rows.h).
#include "hedgerow/kernels/reference/values.h"

namespace hedgerow::reference {

std::vector<double> patchify(const PatchifyArgs& a) {
  std::vector<double> out;
  for (int image = 0; image < a.rows.batch; ++image) {
    const int height = a.heights[image], width = a.widths[image];
    out.insert(out.end(), static_cast<size_t>(a.special) * 3 * a.patch * a.patch, 0.0);
    for (int gy = 0; gy < height / a.patch; ++gy)
      for (int gx = 0; gx < width / a.patch; ++gx)
        for (int channel = 0; channel < 3; ++channel)
          for (int y = 0; y < a.patch; ++y)
            for (int x = 0; x < a.patch; ++x)
              out.push_back(
                  a.images[image][(static_cast<int64_t>(channel) * height + gy * a.patch + y) * width +
                                  gx * a.patch + x]);
  }
  return out;
}

std::vector<double> gather(const GatherArgs& a) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    const int64_t from = static_cast<int64_t>(value(a.index, i));
    append(out, from < 0 ? std::vector<double>(row(a.out, i).size(), 0.0) : row(a.x, from));
  }
  return out;
}

std::vector<double> scatter(const ScatterArgs& a) {
  std::vector<double> out = rows_of(a.out, a.out.extents[0]);
  for (int i = 0; i < a.rows.rows(); ++i) {
    const int64_t to = static_cast<int64_t>(value(a.index, i));
    const std::vector<double> x = row(a.x, i);
    if (to >= 0) std::copy(x.begin(), x.end(), out.begin() + to * static_cast<int64_t>(x.size()));
  }
  return out;
}

std::vector<int32_t> lead_rows(const LeadRowsArgs& a) {
  std::vector<int32_t> index;
  for (int s = 0; s < a.rows.batch; ++s)
    for (int t = 0; t < a.special; ++t) index.push_back(a.rows.begin(s) + t);
  return index;
}

std::vector<double> key_bias(const KeyBiasArgs& a) {
  std::vector<double> bias;
  for (int j = 0; j < a.rows.rows(); ++j) {
    const bool alive = !a.alive || a.alive.as<uint8_t>()[j];
    const double size = a.size ? static_cast<double>(a.size.as<float>()[j]) : 1.0;
    bias.push_back(alive ? std::log(size) : -INFINITY);
  }
  return bias;
}

}  // namespace hedgerow::reference
