// SPDX-License-Identifier: Apache-2.0
// A run of the engine as its observer saw it: what each picture's rows were at every place, and which choices
// were made, in the terms of the definition.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "hedgerow/model/observer.h"
#include "tests/vision/definition.h"

namespace hedgerow::test {

class ObservedRun {
 public:
  ObservedRun(Layout layout, int special) : layout_(layout), special_(special) {}

  Observer observer() {
    return [this](const Observation& o) { see(o); };
  }
  std::vector<ImposedChoice> choices(int picture, int patches) const;

  // How far a picture's rows at a place are from the definition's, as a share of the bound: at most 1,
  // infinite where rows are others or not numbers. `replace`: the definition goes on with the rows observed.
  double distance(int picture, int patches, const char* place, int block, Rows& rows,
                  const std::vector<int32_t>& code, bool replace) const;
  size_t places() const { return seen_.size(); }

 private:
  struct Seen {
    int width = 0;
    std::vector<float> values;
    std::vector<int32_t> offsets, codes;
  };
  struct Choice {
    int block = 0;
    std::vector<int32_t> offsets, kept;  // [batch + 1], packed
    std::vector<int32_t> before, into;   // offsets and absorbing rows of the rows before; into may be empty
  };
  void see(const Observation& o);
  // In a full grid rows keep their places: where the definition's row of this code stands.
  int place_in_grid(int32_t code, int patches) const {
    return code < 0 ? -code - 1 : special_ + (code >= kFusedRow ? patches + code - kFusedRow : code - 1);
  }

  const Layout layout_;
  const int special_;
  std::map<std::pair<std::string, int>, Seen> seen_;
  std::vector<Choice> choices_;
  std::vector<int32_t> now_, into_;  // offsets of the rows last seen; the last "into"
};

}  // namespace hedgerow::test
