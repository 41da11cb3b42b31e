// SPDX-License-Identifier: Apache-2.0
// What a pass over packed rows needs around its ops, whatever the model: memory where they compute, offsets
// that nobody asks for until the end, bounds, recordings, counted multiply-adds, steps on the host, an
// observer.
//
// A pass is a queue of ops. In host memory they run at once; on a device the queue is recorded once per kind
// of run and replayed over batches with other lengths, as long as those fit the recording's bounds.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "hedgerow/kernels/kernels.h"
#include "hedgerow/model/observer.h"

namespace hedgerow {

// What rows cannot exceed behind each layer, and how many are foreseen. [layers] each.
struct RowBounds {
  std::vector<int> most_rows, longest, likely_rows;
};

// Runs of one kind queue the same ops: what differs between them lies in memory that is filled before.
using KindKey = std::array<uint64_t, 12>;

// What one kind of run leaves behind.
struct Recording {
  KindKey key{};
  std::shared_ptr<void> graph;  // null: not recorded
  RowBounds bounds;             // grown where a batch needed more; then it is recorded anew
  // Multiply-adds of ops over the same rows: factor x rows of `slot` (x rows of `other`, unless that is
  // kOne).
  struct Term {
    int slot, other;
    double factor;
  };
  std::vector<Term> terms;
  int slots = 1;  // offsets filled so far; slot 0 is the batch's own
};

class Pass {
 public:
  // Instead of a slot: the rows that lead each sequence, `leading` of them; no factor at all.
  static constexpr int kLeading = -1, kOne = -2;

  // `on` must outlive this. An answer takes `answer_bytes` a sequence; at most `most_slots` offsets are made.
  Pass(Context& on, int max_batch, size_t answer_bytes, int most_slots, int leading);

  // ---- memory where ops compute
  bool on_host() const;
  Buffer allocate(size_t bytes) const;
  // Host memory that copies to and from the device need not wait for.
  Buffer allocate_host(size_t bytes) const;
  // Allocates once.
  void reserve(Buffer& buffer, size_t bytes) const;
  // Queued. `from` of an upload may be reused after wait().
  void upload(void* to, const void* from, size_t bytes);
  void download(void* to, const void* from, size_t bytes);
  void fill(void* to, uint8_t value, size_t bytes);
  // At once, behind all that is queued: for what changes seldom.
  void store(void* to, const void* from, size_t bytes);
  void wait();
  // Waits only where something submitted may still read what is about to change.
  void settle();

  // ---- one run
  void start(int batch);
  // Grows the bounds of `kind` to hold `needed`; what was recorded with smaller ones goes. Sequences have at
  // most `longest` rows.
  void fit(Recording& kind, const RowBounds& needed, int longest, int row_capacity);
  // Queues `body`: at once where `kind` is not to be recorded (or nothing is, here), else by a replay of its
  // recording.
  void run(Recording& kind, bool record, const std::function<void()>& body);
  // Queues the copies of the answers and of every slot's offsets.
  void fetch(const Recording& kind);
  // Waits for them.
  void finish();
  bool submitted() const { return submitted_; }
  size_t nodes(const Recording& kind) const;

  // ---- while queueing
  int new_slot() { return kind_->slots++; }
  int newest_slot() const { return kind_->slots - 1; }
  int32_t* offsets(int slot) const { return offsets_ + static_cast<int64_t>(slot) * (batch_ + 1); }
  float* answers() const { return results_.as<float>(); }
  void count(int slot, double per_row) { count_pairs(slot, kOne, per_row); }
  void count_pairs(int slot, int other, double factor);
  // Something that only the host can do, on rows as the ops queued so far leave them.
  template <class F>
  void host_step(F&& step) {
    wait();
    step();
  }
  // Inside a host step: what lies at `at`, and back. In host memory the bytes themselves, else a copy in
  // `scratch`.
  template <class T>
  T* here(T* at, size_t count, std::vector<char>& scratch) {
    return static_cast<T*>(bytes_here(at, count * sizeof(T), scratch));
  }
  template <class T>
  void put_back(T* at, const T* from, size_t count) {
    if (at != from) store(at, from, count * sizeof(T));
  }
  // Row values as f32, whatever they are stored as; `values` may be used as scratch.
  const float* rows_here(const Tensor& rows, int count, std::vector<float>& values,
                         std::vector<char>& scratch);
  void observe(const Observer& to, const char* name, int block, const Tensor& value, const Ragged& rows,
               const int32_t* patch);

  // ---- after finish()
  const float* answers_here() const { return host_results_.as<float>(); }
  const int32_t* offsets_here(int slot) const;
  int length(int slot, int sequence) const;
  double macs(const Recording& kind, int sequence) const;

 private:
  const Memory& memory() const { return on_.backend().memory; }
  void* bytes_here(void* at, size_t bytes, std::vector<char>& scratch);

  Context& on_;
  const size_t answer_bytes_;
  const int leading_;
  Buffer results_, host_results_;  // answers, then offsets, a slot a step: one copy brings both back
  int32_t* offsets_ = nullptr;
  int batch_ = 0;
  bool waiting_ = false, submitted_ = false;  // waiting: submitted, not yet finished
  Recording* kind_ = nullptr;
  std::vector<char> seen_[3];  // of an observation: values, offsets, patches
};

}  // namespace hedgerow
