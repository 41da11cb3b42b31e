// SPDX-License-Identifier: Apache-2.0
// How an op's work becomes tasks on the pool: even ranges of rows, or of sequences.
#pragma once

#include <algorithm>

#include "hedgerow/kernels/kernels.h"

namespace hedgerow::cpu {

// How many tasks some work is worth: one below 2 us, else pieces of at least 1 us, enough per thread to even
// out.
inline int tasks_for(const Context& on, double work_ns, int64_t most) {
  if (on.threads() == 1 || work_ns < 2000) return most > 0 ? 1 : 0;
  return static_cast<int>(std::min<int64_t>(
      most, std::min<int64_t>(int64_t{8} * on.threads(), static_cast<int64_t>(work_ns / 1000))));
}

// f(begin, end, worker) over [0, n) in even ranges.
template <class F>
void for_ranges(Context& on, int n, double work_ns, F&& f) {
  const int tasks = tasks_for(on, work_ns, n);
  on.run(tasks, [&](int task, int worker) {
    f(static_cast<int>(static_cast<int64_t>(n) * task / tasks),
      static_cast<int>(static_cast<int64_t>(n) * (task + 1) / tasks), worker);
  });
}

// f(sequence, begin, end, worker): every sequence, and where sequences are fewer than threads also ranges of
// [0, n) in steps of `grain`.
template <class F>
void for_sequences(Context& on, int batch, int n, int grain, double work_ns, F&& f) {
  int parts = 1;
  if (on.threads() > 1 && work_ns >= 2000 && batch > 0 && batch < 4 * on.threads())
    parts = std::max(1, std::min((n + grain - 1) / grain, 4 * on.threads() / batch));
  const int steps = (n + grain - 1) / grain;
  const auto at = [&](int part) {
    return static_cast<int>(std::min<int64_t>(n, static_cast<int64_t>(steps) * part / parts * grain));
  };
  const auto piece = [&](int i, int worker) { f(i / parts, at(i % parts), at(i % parts + 1), worker); };
  for_ranges(on, batch * parts, work_ns, [&](int begin, int end, int worker) {
    for (int i = begin; i < end; ++i) piece(i, worker);
  });
}

}  // namespace hedgerow::cpu
