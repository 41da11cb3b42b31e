// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/model/pass.h"

#include <algorithm>
#include <cstring>

namespace hedgerow {

Pass::Pass(Context& on, int max_batch, size_t answer_bytes, int most_slots, int leading)
    : on_(on), answer_bytes_(answer_bytes), leading_(leading) {
  const size_t b = static_cast<size_t>(max_batch);
  const size_t bytes = b * answer_bytes + static_cast<size_t>(most_slots) * (b + 1) * sizeof(int32_t);
  results_ = allocate(bytes);
  host_results_ = allocate_host(bytes);
}

bool Pass::on_host() const { return on_.backend().host; }
Buffer Pass::allocate(size_t bytes) const { return memory().allocate(bytes); }
Buffer Pass::allocate_host(size_t bytes) const { return memory().allocate_host(bytes); }
void Pass::reserve(Buffer& buffer, size_t bytes) const {
  if (!buffer) buffer = allocate(bytes);
}

void Pass::upload(void* to, const void* from, size_t bytes) {
  if (bytes > 0) memory().upload(on_, to, from, bytes);
}
void Pass::download(void* to, const void* from, size_t bytes) {
  if (bytes > 0) memory().download(on_, to, from, bytes);
}
void Pass::fill(void* to, uint8_t value, size_t bytes) { memory().fill(on_, to, value, bytes); }
void Pass::store(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  wait();
  memory().store(to, from, bytes);
}
void Pass::wait() { memory().wait(on_); }
void Pass::settle() {
  if (waiting_) wait();
}

void Pass::start(int batch) {
  batch_ = batch;
  offsets_ = reinterpret_cast<int32_t*>(results_.as<char>() + static_cast<size_t>(batch) * answer_bytes_);
}

// Bounds are rounded up, so that a little more does not mean recording anew.
void Pass::fit(Recording& kind, const RowBounds& needed, int longest, int row_capacity) {
  const auto up = [](int value, int step) { return (value + step - 1) / step * step; };
  constexpr int kLengthStep = 16, kRowSteps = 16;
  RowBounds& has = kind.bounds;
  const size_t layers = needed.longest.size();
  bool fits = has.longest.size() == layers;
  for (size_t b = 0; fits && b < layers; ++b)
    fits = needed.longest[b] <= has.longest[b] && needed.most_rows[b] <= has.most_rows[b];
  if (fits) return;
  has.longest.resize(layers, 0);
  has.most_rows.resize(layers, 0);
  has.likely_rows = needed.likely_rows;
  const int row_step = std::max(kLengthStep, row_capacity / kRowSteps);
  for (size_t b = 0; b < layers; ++b) {
    has.longest[b] = std::min(longest, std::max(has.longest[b], up(needed.longest[b], kLengthStep)));
    has.most_rows[b] =
        std::min(batch_ * has.longest[b], std::max(has.most_rows[b], up(needed.most_rows[b], row_step)));
  }
  if (kind.graph) settle();  // replays of what goes now
  kind.graph.reset();
}

void Pass::run(Recording& kind, bool record, const std::function<void()>& body) {
  kind_ = &kind;
  const auto queue = [&] {
    kind.slots = 1;
    kind.terms.clear();
    body();
  };
  if (!memory().records || !record) {
    queue();
  } else {
    if (!kind.graph) {
      queue();  // once as it is: what kernels set up at first use must not be part of a recording
      wait();
      kind.graph = memory().record(on_, queue);
    }
    memory().replay(on_, kind.graph);
  }
}

void Pass::fetch(const Recording& kind) {
  waiting_ = submitted_ = true;
  download(host_results_.as(), results_.as(),
           static_cast<size_t>(batch_) * answer_bytes_ +
               static_cast<size_t>(kind.slots) * static_cast<size_t>(batch_ + 1) * sizeof(int32_t));
}

void Pass::finish() {
  wait();
  waiting_ = false;
}

size_t Pass::nodes(const Recording& kind) const { return memory().nodes(kind.graph); }

// Ops over the same rows add up here, so that a sequence's sum has few terms however deep the model is.
void Pass::count_pairs(int slot, int other, double factor) {
  for (Recording::Term& same : kind_->terms) {
    if (same.slot != slot || same.other != other) continue;
    same.factor += factor;
    return;
  }
  kind_->terms.push_back({slot, other, factor});
}

void* Pass::bytes_here(void* at, size_t bytes, std::vector<char>& scratch) {
  if (on_host()) return at;
  scratch.resize(bytes);
  download(scratch.data(), at, bytes);
  wait();
  return scratch.data();
}

const float* Pass::rows_here(const Tensor& rows, int count, std::vector<float>& values,
                             std::vector<char>& scratch) {
  const size_t n = static_cast<size_t>(count) * static_cast<size_t>(rows.extents[1]);
  if (rows.dtype == Dtype::f32) return here(rows.as<float>(), n, scratch);
  const uint16_t* stored = here(rows.as<uint16_t>(), n, scratch);
  values.resize(n);
  for (size_t i = 0; i < n; ++i)
    values[i] = rows.dtype == Dtype::f16 ? f16_to_f32(stored[i]) : bf16_to_f32(stored[i]);
  return values.data();
}

void Pass::observe(const Observer& to, const char* name, int block, const Tensor& value, const Ragged& rows,
                   const int32_t* patch) {
  Ragged seen = rows;
  seen.offsets = here(const_cast<int32_t*>(rows.offsets), static_cast<size_t>(rows.batch) + 1, seen_[1]);
  const size_t count = static_cast<size_t>(seen.rows());
  Tensor there = value;
  // Whole strides are brought over, but for the last row's: a view into wider rows stays one.
  int64_t last = 1;
  for (int axis = 1; axis < value.rank; ++axis) last *= value.extents[axis];
  const size_t bytes =
      count == 0 ? 0
                 : static_cast<size_t>((static_cast<int64_t>(count) - 1) * value.strides[0] + last) *
                       static_cast<size_t>(bytes_of(value.dtype));
  there.data = bytes_here(value.data, bytes, seen_[0]);
  if (patch) patch = here(const_cast<int32_t*>(patch), count, seen_[2]);
  to({name, block, there, seen, patch});
}

const int32_t* Pass::offsets_here(int slot) const {
  const char* first = host_results_.as<char>() + static_cast<size_t>(batch_) * answer_bytes_;
  return reinterpret_cast<const int32_t*>(first) + static_cast<int64_t>(slot) * (batch_ + 1);
}
int Pass::length(int slot, int sequence) const {
  if (slot == kLeading) return leading_;
  const int32_t* at = offsets_here(slot) + sequence;
  return at[1] - at[0];
}
double Pass::macs(const Recording& kind, int sequence) const {
  double sum = 0;
  for (const Recording::Term& t : kind.terms)
    sum += t.factor * length(t.slot, sequence) * (t.other == kOne ? 1 : length(t.other, sequence));
  return sum;
}

}  // namespace hedgerow
