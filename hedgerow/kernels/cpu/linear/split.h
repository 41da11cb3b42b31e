// SPDX-License-Identifier: Apache-2.0
// How a linear op is cut into tasks. Plain arithmetic, no intrinsics: compiled once, with baseline flags.
//
// The cut never changes a bit of the result, so it is chosen for speed alone. Cutting by panels reads each
// weight once and suits few rows; cutting by rows balances to one row and suits many. A task's fixed cost is
// copying its rows of x next to each other, so no task gets fewer than three panels if that can be helped.
#pragma once

#include "hedgerow/kernels/cpu/level.h"

namespace hedgerow::cpu {

struct LinearSplit {
  int row_parts, panel_parts;
};

inline LinearSplit linear_split(const LinearArgs& args, const Level& level, int threads) {
  constexpr int64_t kTaskWork = 1 << 16;  // products below which a task is not worth handing over: about 1 us
  constexpr int64_t kSmaller = 16;  // more tasks than threads must be larger: a stolen one loses its cache
  constexpr int64_t kXBytes = 640 << 10;  // rows of x that stay in a core's L2 beside a panel of weights
  constexpr int kRowsPerTask = 48;        // enough that the weights' way from L3 is free
  const int64_t rows = args.rows.rows(), k = args.w->k;
  const int panels = static_cast<int>((args.w->n + static_cast<int64_t>(level.panel(args.w->dtype)) - 1) /
                                      level.panel(args.w->dtype));
  if (rows <= 0 || panels <= 0) return {0, 0};
  const int64_t most = rows * panels * level.panel(args.w->dtype) * (k > 0 ? k : 1) / kTaskWork;
  if (threads <= 1 || most < 2) return {1, 1};
  if (most < threads) threads = static_cast<int>(most);

  if (rows * k * bytes_of(args.w->dtype) <= kXBytes) {
    for (int each = 4; each >= 1; --each) {
      const int parts = threads * each;
      if (panels % parts == 0 && panels / parts >= 3 && (each == 1 || parts <= most / kSmaller))
        return {1, parts};
    }
    if (panels % threads == 0) return {1, threads};
    if (panels >= 16 * threads) return {1, 4 * threads};
  }
  if (rows >= 8 * threads) {
    const int64_t each = rows / (static_cast<int64_t>(kRowsPerTask) * threads);
    return {threads * static_cast<int>(each < 1 ? 1 : each > 8 ? 8 : each), 1};
  }
  // Few rows and a number of panels that does not divide: small equal pieces in both directions.
  const int row_parts = static_cast<int>(rows < threads ? rows : threads), pieces = 4 * threads / row_parts;
  return {row_parts, panels < pieces ? panels : pieces};
}

inline int linear_tasks(const LinearArgs& args, const Level& level, int threads) {
  const LinearSplit s = linear_split(args, level, threads);
  return s.row_parts * s.panel_parts;
}

// Part `task` of linear_tasks(args, level, threads). Parts are disjoint, cover everything, and differ in size
// by at most one row and one panel.
inline LinearTile linear_tile(const LinearArgs& args, const Level& level, int threads, int task) {
  const LinearSplit s = linear_split(args, level, threads);
  const int64_t rows = args.rows.rows(), r = task / s.panel_parts, p = task % s.panel_parts;
  const int64_t panels =
      (args.w->n + static_cast<int64_t>(level.panel(args.w->dtype)) - 1) / level.panel(args.w->dtype);
  return {static_cast<int>(rows * r / s.row_parts), static_cast<int>(rows * (r + 1) / s.row_parts),
          static_cast<int>(panels * p / s.panel_parts), static_cast<int>(panels * (p + 1) / s.panel_parts)};
}

}  // namespace hedgerow::cpu
