// SPDX-License-Identifier: Apache-2.0
// The pool: every task once, under many tiny jobs, after parking, and from several pools at a time.
#include "hedgerow/core/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"

namespace hedgerow {
namespace {

void expect_each_task_once(Pool& pool, int tasks) {
  std::vector<std::atomic<int>> calls(static_cast<size_t>(tasks));
  std::atomic<bool> workers_in_range{true};
  pool.run(tasks, [&](int task, int worker) {
    calls[static_cast<size_t>(task)].fetch_add(1, std::memory_order_relaxed);
    if (worker < 0 || worker >= pool.threads()) workers_in_range = false;
  });
  EXPECT_TRUE(workers_in_range);
  for (const auto& c : calls) ASSERT_EQ(c.load(), 1) << tasks << " tasks";
}

TEST(Pool, runs_every_task_once) {
  for (int threads : {1, 2, 3, 5}) {
    Pool pool(threads);
    for (int tasks : {0, 1, 2, 3, 7, 64, 1001}) expect_each_task_once(pool, tasks);
  }
}

TEST(Pool, loses_nothing_of_many_tiny_jobs) {
  Pool pool(2);
  int64_t plain = 0;  // written by tasks of one job after another: run() orders them
  std::atomic<int64_t> sum{0};
  const double end_s = now_s() + 2;  // where other work holds the processors a job may take a time slice
  for (int job = 0; job < 20000 && now_s() < end_s; ++job) {
    pool.run(2, [&](int task, int) { sum.fetch_add(task + 1, std::memory_order_relaxed); });
    plain += sum.load(std::memory_order_relaxed);
    ASSERT_EQ(sum.load(), 3 * (job + 1));
  }
  EXPECT_GT(plain, 0);
}

TEST(Pool, wakes_after_parking) {
  Pool pool(3);
  for (int i = 0; i < 12; ++i) {
    std::this_thread::sleep_for(
        std::chrono::microseconds(i % 3 == 0 ? 100 : 4000));  // around the time it parks
    expect_each_task_once(pool, 3 + i);
  }
}

TEST(Pool, stops_whether_idle_or_parked) {
  for (int i = 0; i < 50; ++i) Pool pool(3);
  Pool parked(3);
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

TEST(Pool, works_beside_other_pools) {
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c)
    callers.emplace_back([] {
      Pool pool(2);
      for (int job = 0; job < 50; ++job) expect_each_task_once(pool, 5);
    });
  for (auto& t : callers) t.join();
}

// Counts of entering and leaving, and who is inside.
std::atomic<int> entered{0}, left_again{0};
thread_local bool inside = false;
const Presence kCounted{[]() noexcept { inside = true, ++entered; },
                        []() noexcept { inside = false, ++left_again; }};

TEST(Pool, threads_are_present_at_every_task_and_leave_before_they_rest) {
  entered = 0, left_again = 0;
  {
    Pool pool(3);
    std::atomic<int> absent{0};
    for (int job = 0; job < 20; ++job) {
      pool.run(
          64, [&](int, int) { absent += !inside; }, kCounted);
      EXPECT_FALSE(inside) << "the caller is back in its own code";
      EXPECT_EQ(absent.load(), 0);
      if (job % 7 == 6) std::this_thread::sleep_for(std::chrono::milliseconds(4));  // workers park
    }
    pool.run(
        1, [&](int, int) { absent += !inside; }, kCounted);
    EXPECT_EQ(absent.load(), 0);
    EXPECT_GE(entered.load(), 21);  // the caller each time
    std::atomic<int> strangers{0};
    pool.run(64, [&](int, int) { strangers += inside; });
    EXPECT_EQ(strangers.load(), 0);
  }
  EXPECT_EQ(entered.load(), left_again.load());
}

TEST(Pool, refuses_impossible_counts) {
  EXPECT_THROW(Pool(0), Error);
  EXPECT_THROW(Pool(-3), Error);
  EXPECT_THROW(Pool(5000), Error);
}

}  // namespace
}  // namespace hedgerow
