// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/core/parallel.h"

#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"

namespace hedgerow {
namespace {

// Long enough to bridge the serial gaps inside a forward pass, short enough that an idle worker does not take
// a core from whoever decodes the next picture.
constexpr double kSpin_s = 3e-4;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

size_t checked(int threads) {
  require(threads >= 1 && threads <= 1024, "threads: wanted 1 to 1024, found " + std::to_string(threads));
  return static_cast<size_t>(threads);
}

}  // namespace

const Presence kNoPresence{[]() noexcept {}, []() noexcept {}};

Pool::Pool(int threads) : lanes_(checked(threads)) {
  for (int w = 1; w < threads; ++w) workers_.emplace_back([this, w] { worker_loop(w); });
}

Pool::~Pool() {
  stop_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (auto& t : workers_) t.join();
}

void Pool::Turn::refuse() {
  throw Error(
      "pool: wanted one caller at a time, found another at work: concurrent callers bring pools of their "
      "own");
}

void Pool::fork(Job job) {
  const int n = threads();
  job_ = job;
  for (int w = 0; w < n; ++w) {
    lanes_[w].end = static_cast<int>(static_cast<int64_t>(job.tasks) * (w + 1) / n);
    lanes_[w].next.store(static_cast<int>(static_cast<int64_t>(job.tasks) * w / n),
                         std::memory_order_relaxed);
  }
  unfinished_.store(n - 1, std::memory_order_relaxed);
  // Sequentially consistent on both sides: either the worker sees the new epoch before it parks, or we see it
  // parked.
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  if (parked_.load(std::memory_order_seq_cst) > 0) epoch_.notify_all();
  work(0);
  // A worker that lost its processor may take milliseconds: sleep after a while instead of spinning on it.
  // (Sleep, not yield: some schedulers charge a yield against the thread's future, and it then starves for
  // seconds.)
  int left;
  for (int spins = 0; (left = unfinished_.load(std::memory_order_acquire)) != 0; ++spins) {
    relax();
    if (spins > 20000) unfinished_.wait(left, std::memory_order_acquire);
  }
}

void Pool::work(int worker) {
  const int n = threads();
  for (int i = 0; i < n; ++i) {
    Lane& lane = lanes_[(worker + i) % n];
    for (;;) {
      // Look before claiming: an exhausted lane is only read, so its line stays shared.
      if (lane.next.load(std::memory_order_relaxed) >= lane.end) break;
      const int t = lane.next.fetch_add(1, std::memory_order_relaxed);
      if (t >= lane.end) break;
      job_.call(job_.state, t, worker);
    }
  }
}

void Pool::worker_loop(int worker) {
  uint32_t seen = 0;
  const Presence* present = &kNoPresence;
  const auto turn_to = [&](const Presence* next) {
    if (present == next) return;
    present->leave();
    next->enter();
    present = next;
  };
  for (;;) {
    double idle_since = 0;
    for (int spins = 1; epoch_.load(std::memory_order_acquire) == seen; ++spins) {
      relax();
      if (spins % 1024 != 0) continue;
      const double now = now_s();
      if (idle_since == 0) idle_since = now;
      if (now - idle_since < kSpin_s) continue;
      turn_to(&kNoPresence);
      parked_.fetch_add(1, std::memory_order_seq_cst);
      epoch_.wait(seen, std::memory_order_seq_cst);
      parked_.fetch_sub(1, std::memory_order_relaxed);
      idle_since = 0;
    }
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return turn_to(&kNoPresence);
    turn_to(job_.presence);
    work(worker);
    if (unfinished_.fetch_sub(1, std::memory_order_release) == 1) unfinished_.notify_one();
  }
}

}  // namespace hedgerow
