// SPDX-License-Identifier: Apache-2.0
// What an observer saw of a pass, kept sequence by sequence, and where two such records part. It is how one
// finds out why a logit differs: rows are matched by their sequence and by what they stand for, so that the
// two passes may differ in device, dtype, level, layout, batch and threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hedgerow/model/observer.h"

namespace hedgerow {

// One place of one sequence: values of the rows that are alive, as f32, under the codes of what they stand
// for.
struct PlaceRecord {
  std::string name;
  int block = 0;
  Dtype dtype = Dtype::f32;
  int width = 0;                    // values a row
  std::vector<int32_t> codes = {};  // [rows]; empty where rows are no tokens
  std::vector<float> values = {};   // [rows, width]
};
struct SequenceRecord {
  std::vector<PlaceRecord> places;  // in the order of the pass
};

class PassRecorder {
 public:
  explicit PassRecorder(int sequences) : records_(static_cast<size_t>(sequences)) {}
  // The next pass runs sequences first, first + 1, ...
  void start(int first);
  // To hand to a pass; lives no longer than this.
  Observer observer();
  const std::vector<SequenceRecord>& records() const { return records_; }

 private:
  void see(const Observation& o);
  void see_choice(const Observation& o, int i, PlaceRecord& place);

  std::vector<SequenceRecord> records_;
  int first_ = 0;
  // Of the rows last seen, for choices that say only where they stood; and which of them are alive (full
  // grid).
  std::vector<std::vector<int32_t>> codes_;
  std::vector<std::vector<uint8_t>> alive_;
};

// A place of one sequence in two records.
struct PlaceDifference {
  std::string name;
  int block = 0;
  int rows = 0;                // matched
  int only_a = 0, only_b = 0;  // not matched
  double most = 0;             // largest |a - b|; infinity where one is not a number
  double magnitude = 0;        // largest |a| and |b|
  double bound = 0;            // what rounding explains
  bool is_choice = false;      // rows are a set: only_a and only_b are what differs
  bool parts() const { return only_a + only_b > 0 || !(most <= bound); }
};

struct CompareHow {
  double unit_roundoff = 0;  // of the coarser pass; 0: their bits must be equal
  double tolerance = -1;     // instead of the derived bound, as a share of the place's magnitude
};
// In the order of the pass; places that one of them does not have are left out.
std::vector<PlaceDifference> compare_records(const SequenceRecord& a, const SequenceRecord& b,
                                             const CompareHow& how);

// Half the distance of two neighbouring values around 1, and for f32 what sums of `terms` in another order
// may add.
double unit_roundoff(Dtype dtype, int terms);

}  // namespace hedgerow
