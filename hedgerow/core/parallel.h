// SPDX-License-Identifier: Apache-2.0
// Pool: a few threads that spin between calls, so that a fork and join costs well under a microsecond, and
// park when nothing has come for a while.
//
// Which worker runs a task never changes the task's result; so a run's result does not depend on the thread
// count.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace hedgerow {

// What a thread must do before the first task of a kind of work, and when it turns to another kind or rests:
// a level of instructions may have state of its own in each thread. The null object does nothing.
struct Presence {
  void (*enter)() noexcept;
  void (*leave)() noexcept;
};
extern const Presence kNoPresence;

class Pool {
 public:
  explicit Pool(int threads);  // 1 or more; the calling thread is one of them
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(lanes_.size()); }

  // The pool is this caller's while it lives; throws Error where another has it. For those who share a pool:
  // a few nanoseconds.
  class Turn {
   public:
    explicit Turn(Pool& pool) : pool_(pool) {
      if (pool.taken_.exchange(true, std::memory_order_acquire)) [[unlikely]]
        refuse();
    }
    ~Turn() { pool_.taken_.store(false, std::memory_order_release); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    [[noreturn]] static void refuse();
    Pool& pool_;
  };

  // Calls f(task, worker) once for each task in [0, tasks) and returns when all are done; worker < threads().
  // A worker starts on its own contiguous share (the rows it had last time are still in its cache), then
  // helps the others. One caller at a time; f must not throw and must not call run(). Every thread has
  // entered `presence` before its first task; workers stay until they park, stop or work under another one,
  // the caller leaves before run() returns.
  template <class F>
  void run(int tasks, F&& f, const Presence& presence = kNoPresence) {
    const Visit visit(presence);
    if (threads() == 1 || tasks <= 1) {
      for (int t = 0; t < tasks; ++t) f(t, 0);
      return;
    }
    using Fn = std::remove_reference_t<F>;
    fork({[](void* p, int task, int worker) { (*static_cast<Fn*>(p))(task, worker); },
          const_cast<void*>(static_cast<const void*>(&f)), &presence, tasks});
  }

 private:
  struct Job {
    void (*call)(void*, int task, int worker) = nullptr;
    void* state = nullptr;
    const Presence* presence = &kNoPresence;
    int tasks = 0;
  };
  // The caller's presence.
  class Visit {
   public:
    explicit Visit(const Presence& p) : here_(&p) {
      if (here_ != &kNoPresence) here_->enter();
    }
    ~Visit() {
      if (here_ != &kNoPresence) here_->leave();
    }
    Visit(const Visit&) = delete;

   private:
    const Presence* here_;
  };
  struct alignas(64) Lane {
    std::atomic<int> next{0};  // next unclaimed task of this worker's share
    int end = 0;
  };

  void fork(Job job);
  void work(int worker);
  void worker_loop(int worker);

  std::vector<Lane> lanes_;
  std::vector<std::thread> workers_;
  Job job_;
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<int> unfinished_{0};
  alignas(64) std::atomic<int> parked_{0};
  std::atomic<bool> stop_{false};
  std::atomic<bool> taken_{false};
};

}  // namespace hedgerow
