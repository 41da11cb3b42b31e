// SPDX-License-Identifier: Apache-2.0
// What every op must keep, whatever it computes: it agrees with its definition within a derived bound, writes
// nothing but its output, and gives the same bits again, on any number of threads and to every sequence
// alone.
//
// kUnit is the rounding of one f32 operation; sum_steps(n) is how many additions in a row the longest chain
// over n values may have anywhere.
#pragma once

#include <initializer_list>

#include "tests/ops/harness.h"

namespace hedgerow::test {

constexpr double kUnit = 0x1p-24;
inline double sum_steps(int64_t n) { return static_cast<double>(n) / 16 + 24; }
// What storing `v` may cost.
inline double rounding(Dtype to, double v) {
  switch (to) {
    case Dtype::bf16:
      return 0x1p-8 * std::fabs(v);
    case Dtype::f16:
      return 0x1p-11 * std::fabs(v) + 0x1p-25;
    case Dtype::e4m3:
      return 0x1p-4 * std::fabs(v);
    default:
      return kUnit * std::fabs(v);
  }
}

// A packed batch, with offsets on both sides. There is room for more rows than live ones: ops must read
// offsets, not extents.
class Batch {
 public:
  explicit Batch(const std::vector<int>& lengths, int spare = 3)
      : spare_(spare),
        offsets_(Dtype::i32, static_cast<int64_t>(lengths.size()) + 1),
        alone_(Dtype::i32, static_cast<int64_t>(lengths.size()), 2) {
    offsets_.set(0, 0);
    for (int n : lengths) {
      alone_.set(2 * size(), 0), alone_.set(2 * size() + 1, n);
      begins_.push_back(rows() + n), longest_ = std::max(longest_, n);
      offsets_.set(size(), rows());
    }
  }
  int size() const { return static_cast<int>(begins_.size()) - 1; }
  int rows() const { return begins_.back(); }
  int capacity() const { return rows() + spare_; }
  int begin(int i) const { return begins_[static_cast<size_t>(i)]; }
  int length(int i) const { return begins_[static_cast<size_t>(i) + 1] - begin(i); }
  int longest() const { return longest_; }
  Part all(Side side) {
    return {.side = side,
            .rows = {.offsets = offsets_.data<int32_t>(side),
                     .batch = size(),
                     .row_capacity = capacity(),
                     .max_len = longest_},
            .first = 0};
  }
  Part alone(Side side, int i) {
    return {.side = side,
            .rows = {.offsets = alone_.data<int32_t>(side) + 2 * i,
                     .batch = 1,
                     .row_capacity = length(i) + spare_,
                     .max_len = length(i)},
            .first = begin(i),
            .sequence = i};
  }
  Ragged ragged() { return all(Side::host).rows; }

 private:
  std::vector<int> begins_{0};
  int longest_ = 0, spare_;
  Array offsets_, alone_;
};

// Lengths at which vectors, tiles and blocks end badly, and batches that mix them; widths that do.
inline std::vector<std::vector<int>> awkward_batches() {
  std::vector<std::vector<int>> batches = {{}, {0, 0}, {5, 0, 1, 64, 17}, {257, 3, 33, 0, 8, 100, 1}};
  for (int n : {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 257}) batches.push_back({n});
  return batches;
}
// Every awkward batch at a middling width, every awkward width at one batch, and one that threads share.
template <class F>
void over_shapes(F&& f) {
  for (const auto& lengths : awkward_batches()) {
    Batch b(lengths);
    f(b, 33);
  }
  for (int dim : {1, 2, 7, 8, 15, 16, 17, 33, 64, 65, 100, 129, 192, 768, 1024}) {
    Batch b({5, 0, 3});
    f(b, dim);
  }
  Batch b({197, 40, 197});
  f(b, 384);
}

// |got - want| within bound, for every value; NaN and infinities only where wanted.
inline testing::AssertionResult near(const std::vector<double>& got, const std::vector<double>& want,
                                     const std::vector<double>& bound, int64_t cols = 1) {
  if (got.size() != want.size() || bound.size() != want.size())
    return testing::AssertionFailure()
           << got.size() << " values, not " << want.size() << "; " << bound.size() << " bounds";
  size_t wrong = 0, first = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const bool right = std::isnan(want[i]) ? std::isnan(got[i])
                                           : got[i] == want[i] || std::fabs(got[i] - want[i]) <= bound[i];
    if (!right && wrong++ == 0) first = i;
  }
  if (wrong == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << wrong << " of " << got.size() << " wrong, first at row "
                                     << first / static_cast<size_t>(cols) << " col "
                                     << first % static_cast<size_t>(cols) << ": got " << got[first]
                                     << ", wanted " << want[first] << " within " << bound[first];
}
inline bool same_bits(const double* a, const double* b, size_t n) {
  return std::memcmp(a, b, n * sizeof *a) == 0;
}
// A bound for each wanted value.
template <class F>
std::vector<double> bounds(const std::vector<double>& want, F&& f) {
  std::vector<double> b;
  for (double w : want) b.push_back(f(w));
  return b;
}
template <class T>
std::vector<double> doubles(const std::vector<T>& v) {
  return {v.begin(), v.end()};
}

// An output and what it should hold: so many rows as there are values wanted. No bounds: exactly these. Rows
// behind them, up to `room`, the op may use on its way.
struct Output {
  Array* array;
  std::vector<double> want, bound = {};
  int64_t room = 0;
  int64_t live() const { return static_cast<int64_t>(want.size()) / array->cols(); }
};

template <class Op>
void queue_all(std::vector<Output>& outputs, Op&& op, int threads, Size size) {
  for (Output& o : outputs) o.array->restore();
  run(op, threads, size);
  for (Output& o : outputs) o.array->pull(), o.array->restore(o.live(), o.room);
}

// What op(on) leaves in the outputs, with several threads too; a second run, on a device.
template <class Op>
void expect_outputs(std::vector<Output> outputs, Op&& op, Size size = {},
                    const std::vector<int>& threads = {2, 3}) {
  std::vector<std::vector<uint8_t>> once;
  queue_all(outputs, op, 1, size);
  for (Output& o : outputs) {
    if (o.bound.empty()) o.bound.resize(o.want.size());
    EXPECT_TRUE(near(o.array->values(o.live()), o.want, o.bound, o.array->cols()));
    EXPECT_TRUE(o.array->untouched_behind(o.live()));
    once.push_back(o.array->bytes());
  }
  for (int t : threads) {
    queue_all(outputs, op, t, size);
    for (size_t i = 0; i < outputs.size(); ++i)
      EXPECT_TRUE(outputs[i].array->bytes() == once[i]) << "other bits with " << t << " threads";
  }
}

// The same of op(on, part of the batch), and that every sequence alone, in its own place, leaves the bits it
// has in the batch. The last goes first: writing behind the live rows shows.
template <class Op>
void expect_claims(Batch& b, std::vector<Output> outputs, Op&& op, Size size = {},
                   const std::vector<int>& threads = {2, 3}) {
  size.max_len = b.longest();
  expect_outputs(
      outputs, [&](Context& on) { op(on, b.all(Side::backend)); }, size, threads);
  if (!under_test.fixed) return;
  std::vector<std::vector<uint8_t>> together;
  for (const Output& o : outputs) together.push_back(o.array->bytes());
  queue_all(
      outputs,
      [&](Context& on) {
        for (int i = b.size() - 1; i >= 0; --i) op(on, b.alone(Side::backend, i));
      },
      1, size);
  for (size_t i = 0; i < outputs.size(); ++i)
    EXPECT_TRUE(outputs[i].array->bytes() == together[i]) << "a sequence has other bits alone";
}

}  // namespace hedgerow::test
