// SPDX-License-Identifier: Apache-2.0
// How a product is cut into tasks: every row and every panel of weights belongs to one.
#include <gtest/gtest.h>

#include "hedgerow/kernels/cpu/level.h"
#include "hedgerow/kernels/cpu/linear/split.h"
#include "hedgerow/kernels/kernels.h"

namespace hedgerow {
namespace {

class LinearSplit : public testing::TestWithParam<const Backend*> {};

TEST_P(LinearSplit, covers_every_row_and_panel_once) {
  const cpu::Level* level = cpu::level_named(GetParam()->name);
  if (!level) GTEST_SKIP() << GetParam()->name << " is no level that runs here";
  for (int rows : {0, 1, 2, 14, 20, 99, 197, 1576})
    for (int n : {1, 2, 12, 33, 192, 576, 1000, 3072})
      for (int k : {1, 192, 768, 3072})
        for (int threads : {1, 2, 3, 16, 64}) {
          const int32_t offsets[] = {0, rows};
          PackedLinear w;
          w.n = n, w.k = k;
          LinearArgs args;
          args.w = &w, args.rows = {offsets, 1, rows, rows};
          const int panels = (n + level->panel(w.dtype) - 1) / level->panel(w.dtype);
          std::vector<int> times(static_cast<size_t>(rows) * panels);
          const int tasks = cpu::linear_tasks(args, *level, threads);
          ASSERT_LE(tasks, 16 * threads);
          for (int t = 0; t < tasks; ++t) {
            const cpu::LinearTile part = cpu::linear_tile(args, *level, threads, t);
            for (int r = part.row_begin; r < part.row_end; ++r)
              for (int c = part.panel_begin; c < part.panel_end; ++c)
                ++times[static_cast<size_t>(r) * panels + c];
          }
          for (int count : times) ASSERT_EQ(count, 1) << rows << " " << n << " " << k << " " << threads;
        }
}
INSTANTIATE_TEST_SUITE_P(Levels, LinearSplit, testing::ValuesIn(all_backends()),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace hedgerow
