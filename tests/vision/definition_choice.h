// SPDX-License-Identifier: Apache-2.0
// Choosing rows, and judging a choice that somebody else made: could scores within `strain` times their
// bounds have led to it? The least such strain says how far a choice is from the definition's own: 0 the
// same, up to 1 near ties that rounding may decide either way, above 1 wrong.
#pragma once

#include <vector>

#include "hedgerow/kernels/kernels.h"
#include "tests/vision/definition_ops.h"

namespace hedgerow::test {

// SelectArgs for one picture, all of whose rows are alive.
struct Rule {
  SelectMode mode = SelectMode::top_k;
  int special = 1;
  bool special_competes = false;
  int count = 0, floor = 0, samples = 0;
  float threshold = 0;
  double mass = 0;
};

// Rows that stay, ascending; special rows always do.
std::vector<int> choice_by(const Rule& rule, const Rows& score);
double strain_of(const Rule& rule, const Rows& score, const std::vector<int>& kept);

// Who goes into whom. direction: rows of length one; role: 1 source, 2 target, 0 neither.
struct Partners {
  std::vector<int> best;  // [rows] each source's most similar target, -1 where there is none
  Rows similarity;        // [rows, 1]; of rows that are no source anything
};
Partners partners_of(const Rows& direction, const std::vector<uint8_t>& role);
// Of sources that go into others than the most similar; into < 0: does not go.
double strain_of_partners(const Rows& direction, const std::vector<uint8_t>& role,
                          const std::vector<int>& into);

}  // namespace hedgerow::test
