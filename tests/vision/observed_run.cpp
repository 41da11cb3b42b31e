// SPDX-License-Identifier: Apache-2.0
#include "tests/vision/observed_run.h"

#include <algorithm>
#include <cmath>

#include "hedgerow/core/error.h"

namespace hedgerow::test {
namespace {

float value(const Tensor& t, int64_t at) {
  if (t.dtype == Dtype::f32) return t.as<float>()[at];
  require(bytes_of(t.dtype) == 2, "observed: wanted rows in f32, bf16 or f16");
  const uint16_t bits = t.as<uint16_t>()[at];
  return t.dtype == Dtype::bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

}  // namespace

void ObservedRun::see(const Observation& o) {
  const std::string name = o.name;
  const std::vector<int32_t> offsets(o.rows.offsets, o.rows.offsets + o.rows.batch + 1);
  const int rows = o.rows.rows();
  if (name == "into" || name == "choice") {
    const int32_t* index = o.value.as<int32_t>();
    std::vector<int32_t> values(index, index + rows);
    if (name == "into") {
      into_ = std::move(values);
      return;
    }
    choices_.push_back({o.block, offsets, std::move(values), now_, std::move(into_)});
    into_.clear();
    return;
  }
  now_ = offsets;
  Seen seen{o.value.rank == 1 ? 1 : static_cast<int>(o.value.extents[1]), {}, offsets, {}};
  for (int i = 0; i < rows; ++i)
    for (int c = 0; c < seen.width; ++c) seen.values.push_back(value(o.value, i * o.value.strides[0] + c));
  if (o.patch) seen.codes.assign(o.patch, o.patch + rows);
  require(seen_.emplace(std::pair(name, o.block), std::move(seen)).second,
          "observed: a place was seen twice");
}

// Packed rows of the batch become rows of the picture; in a full grid, places become ranks among those alive.
std::vector<ImposedChoice> ObservedRun::choices(int picture, int patches) const {
  std::vector<int32_t> alive;
  for (int i = 0; i < special_ + patches; ++i) alive.push_back(i);
  std::vector<ImposedChoice> all;
  const size_t p = static_cast<size_t>(picture);
  for (const Choice& c : choices_) {
    ImposedChoice own{c.block, {}, {}};
    const int32_t begin = c.before[p];
    const int stage = static_cast<int>(all.size());
    const auto rank = [&](int32_t row) {
      if (layout_ != Layout::padded) return row - begin;
      const auto at = std::find(alive.begin(), alive.end(), row - begin);
      require(at != alive.end(), "observed: a choice of a row that was gone");
      return static_cast<int32_t>(at - alive.begin());
    };
    std::vector<int32_t> next;
    for (int32_t i = c.offsets[p]; i < c.offsets[p + 1]; ++i) {
      const int32_t row = c.kept[static_cast<size_t>(i)];
      if (row >= 0) own.kept.push_back(rank(row));
      next.push_back(row >= 0 ? row - begin : place_in_grid(kFusedRow + stage, patches));
    }
    const int32_t end = begin + static_cast<int32_t>(alive.size());  // padding stands behind
    for (int32_t i = begin; !c.into.empty() && i < end; ++i) {
      const int32_t to = c.into[static_cast<size_t>(i)];
      own.into.push_back(to < 0 ? -1 : to - begin);
    }
    alive = std::move(next);
    all.push_back(std::move(own));
  }
  return all;
}

double ObservedRun::distance(int picture, int patches, const char* place, int block, Rows& rows,
                             const std::vector<int32_t>& code, bool replace) const {
  const auto found = seen_.find({place, block});
  if (found == seen_.end()) return INFINITY;
  const Seen& seen = found->second;
  const size_t p = static_cast<size_t>(picture);
  const int count = seen.offsets[p + 1] - seen.offsets[p];
  const bool in_one = count == 1 && seen.width == rows.count * rows.width;  // rows side by side
  double worst = 0;
  for (int i = 0; i < rows.count; ++i) {
    const bool grid = layout_ == Layout::padded && !in_one;
    const int at = in_one ? 0 : grid ? place_in_grid(code[static_cast<size_t>(i)], patches) : i;
    if (at >= count || (!in_one && seen.width != rows.width)) return INFINITY;
    const size_t row = static_cast<size_t>(seen.offsets[p] + at);
    if (!seen.codes.empty() && !in_one) {
      const int32_t own = code[static_cast<size_t>(i)];
      if (seen.codes[row] != (own >= kFusedRow ? 0 : own)) return INFINITY;
    }
    const float* values =
        seen.values.data() + row * static_cast<size_t>(seen.width) + (in_one ? i * rows.width : 0);
    for (int c = 0; c < rows.width; ++c) {
      if (rows.off(i)[c] == INFINITY) continue;  // holds anything
      const double off = std::fabs(values[c] - rows.row(i)[c]);
      worst = std::max(worst, off == 0 ? 0 : off <= 0x1p1000 ? off / rows.off(i)[c] : INFINITY);
      if (replace) rows.row(i)[c] = values[c], rows.off(i)[c] = 0;
    }
  }
  const bool exact = layout_ == Layout::ragged;
  return exact && !in_one && count != rows.count ? INFINITY : worst;
}

}  // namespace hedgerow::test
