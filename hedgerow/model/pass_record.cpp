// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/model/pass_record.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

namespace hedgerow {
namespace {

float value_at(const Tensor& t, int64_t at) {
  switch (t.dtype) {
    case Dtype::f32:
      return t.as<float>()[at];
    case Dtype::bf16:
      return bf16_to_f32(t.as<uint16_t>()[at]);
    case Dtype::f16:
      return f16_to_f32(t.as<uint16_t>()[at]);
    case Dtype::i32:
      return static_cast<float>(t.as<int32_t>()[at]);
    case Dtype::u8:
      return t.as<uint8_t>()[at];
    case Dtype::e4m3:
      return e4m3_to_f32(t.as<uint8_t>()[at]) * t.scale;
    case Dtype::i8:
      return t.as<int8_t>()[at];
  }
  return 0;
}

// Steps that round, up to and including a place: two in the embedding, eight in a block.
int roundings(const std::string& name, int block) {
  const std::map<std::string, int> inside = {{"qkv", 2},       {"kv", 2},         {"q", 2},
                                             {"attention", 4}, {"proj", 5},       {"block", 8},
                                             {"kept", 8},      {"head_input", 1}, {"logits", 2}};
  const auto at = inside.find(name);
  return 2 + 8 * std::max(block, 0) + (at == inside.end() ? 0 : at->second);
}

}  // namespace

double unit_roundoff(Dtype dtype, int terms) {
  const double sums = 0x1p-24 * std::sqrt(static_cast<double>(std::max(terms, 1)));
  switch (dtype) {
    case Dtype::bf16:
      return 0x1p-8;
    case Dtype::f16:
      return 0x1p-11 + sums;
    case Dtype::e4m3:
      return 0x1p-4;
    case Dtype::i8:
      return 0x1p-7;
    case Dtype::f32:
    case Dtype::i32:
    case Dtype::u8:
      return sums;
  }
  return sums;
}

void PassRecorder::start(int first) {
  first_ = first;
  codes_.clear();
  alive_.clear();
}

Observer PassRecorder::observer() {
  return [this](const Observation& o) { see(o); };
}

void PassRecorder::see(const Observation& o) {
  const size_t n = static_cast<size_t>(o.rows.batch);
  codes_.resize(n);
  alive_.resize(n);
  const bool choice = !std::strcmp(o.name, "choice");
  if (!std::strcmp(o.name, "into")) return;  // where rows went shows in what they become
  for (int i = 0; i < o.rows.batch; ++i) {
    const size_t k = static_cast<size_t>(i);
    PlaceRecord place{.name = o.name, .block = o.block, .dtype = o.value.dtype};
    if (choice) {
      see_choice(o, i, place);
    } else {
      const int begin = o.rows.begin(i), end = o.rows.end(i);
      const bool whole = o.patch && static_cast<size_t>(end - begin) == alive_[k].size();
      place.width = 1;
      for (int axis = 1; axis < o.value.rank; ++axis) place.width *= static_cast<int>(o.value.extents[axis]);
      for (int r = begin; r < end; ++r) {
        if (whole && !alive_[k][static_cast<size_t>(r - begin)]) continue;
        if (o.patch) place.codes.push_back(o.patch[r]);
        for (int c = 0; c < place.width; ++c)
          place.values.push_back(value_at(o.value, r * o.value.strides[0] + c));
      }
      if (o.patch) codes_[k].assign(o.patch + begin, o.patch + end);
    }
    records_[static_cast<size_t>(first_ + i)].places.push_back(std::move(place));
  }
}

// The codes of the rows that go on. Where rows stay in a full grid, the others are dead from here on.
void PassRecorder::see_choice(const Observation& o, int i, PlaceRecord& place) {
  const size_t k = static_cast<size_t>(i);
  if (o.patch) {
    place.codes.assign(o.patch + o.rows.begin(i), o.patch + o.rows.end(i));
    codes_[k] = place.codes;
    return;
  }
  size_t before = 0;  // rows of the sequences before
  for (size_t s = 0; s < k; ++s) before += codes_[s].size();
  alive_[k].assign(codes_[k].size(), 0);
  for (int r = o.rows.begin(i); r < o.rows.end(i); ++r) {
    const int32_t kept = o.value.as<int32_t>()[r];
    if (kept < 0) continue;  // a fused row, which has no place yet
    const size_t at = static_cast<size_t>(kept) - before;
    alive_[k][at] = 1;
    place.codes.push_back(codes_[k][at]);
  }
}

namespace {

// Pairs of rows with one code; rows without a place of their own pair by order, as far as both have some.
struct Matched {
  std::vector<std::pair<size_t, size_t>> pairs;
  int only_a = 0, only_b = 0;
};
Matched match_rows(const PlaceRecord& a, const PlaceRecord& b) {
  Matched m;
  if (a.codes.empty() || b.codes.empty()) {
    const auto rows = [](const PlaceRecord& p) {
      return p.width > 0 ? p.values.size() / static_cast<size_t>(p.width) : p.codes.size();
    };
    const size_t both = std::min(rows(a), rows(b));
    for (size_t r = 0; r < both; ++r) m.pairs.emplace_back(r, r);
    m.only_a = static_cast<int>(rows(a) - both), m.only_b = static_cast<int>(rows(b) - both);
    return m;
  }
  std::multimap<int32_t, size_t> left;
  for (size_t r = 0; r < b.codes.size(); ++r) left.emplace(b.codes[r], r);
  for (size_t r = 0; r < a.codes.size(); ++r) {
    const auto at = left.lower_bound(a.codes[r]);  // equal keys stay in order
    if (at == left.end() || at->first != a.codes[r]) {
      m.only_a += a.codes[r] != 0;
      continue;
    }
    m.pairs.emplace_back(r, at->second);
    left.erase(at);
  }
  for (const auto& [code, row] : left) m.only_b += code != 0;
  return m;
}

PlaceDifference compare_place(const PlaceRecord& a, const PlaceRecord& b, const CompareHow& how) {
  PlaceDifference d{.name = a.name, .block = a.block, .is_choice = a.name == "choice"};
  const Matched m = match_rows(a, b);
  d.rows = static_cast<int>(m.pairs.size());
  d.only_a = m.only_a, d.only_b = m.only_b;
  if (d.is_choice) return d;
  const int width = std::min(a.width, b.width);
  for (const auto& [ra, rb] : m.pairs)
    for (int c = 0; c < width; ++c) {
      const double x = static_cast<double>(
                       a.values[ra * static_cast<size_t>(a.width) + static_cast<size_t>(c)]),
                   y = static_cast<double>(
                       b.values[rb * static_cast<size_t>(b.width) + static_cast<size_t>(c)]);
      const bool same = std::isnan(x) ? std::isnan(y) : x == y;
      const double gap = same ? 0 : std::fabs(x - y);
      d.most = std::isnan(gap) ? std::numeric_limits<double>::infinity() : std::max(d.most, gap);
      if (std::isfinite(x) && std::isfinite(y))
        d.magnitude = std::max({d.magnitude, std::fabs(x), std::fabs(y)});
    }
  // Errors of many steps add up like a random walk; the largest of some thousand values lies four deviations
  // out.
  constexpr double kTail = 4;
  d.bound = how.tolerance >= 0
                ? how.tolerance * d.magnitude
                : kTail * how.unit_roundoff * std::sqrt(roundings(a.name, a.block)) * d.magnitude;
  return d;
}

}  // namespace

std::vector<PlaceDifference> compare_records(const SequenceRecord& a, const SequenceRecord& b,
                                             const CompareHow& how) {
  std::vector<PlaceDifference> all;
  size_t next = 0;
  for (const PlaceRecord& place : a.places) {
    const auto same = [&](const PlaceRecord& p) { return p.name == place.name && p.block == place.block; };
    const auto found = std::find_if(b.places.begin() + static_cast<int64_t>(next), b.places.end(), same);
    if (found == b.places.end()) continue;
    next = static_cast<size_t>(found - b.places.begin()) + 1;
    all.push_back(compare_place(place, *found, how));
  }
  return all;
}

}  // namespace hedgerow
