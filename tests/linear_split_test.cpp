// SPDX-License-Identifier: Apache-2.0
// How a product is cut into tasks on a CPU: every row and every panel of weights belongs to one, and no cut
// changes a bit.
#include "hedgerow/kernels/cpu/level.h"
#include "hedgerow/kernels/cpu/linear/split.h"
#include "tests/ops/linear_problem.h"

namespace hedgerow::test {
namespace {

class LinearSplit : public OpTest {
 protected:
  void SetUp() override {
    OpTest::SetUp();
    level = cpu::level_named(under_test.backend->name);
    if (!level && !IsSkipped()) GTEST_SKIP() << under_test.backend->name << " is not a CPU's";
  }
  const cpu::Level* level = nullptr;
};
HEDGEROW_FOR_EVERY_BACKEND(LinearSplit);

TEST_P(LinearSplit, covers_every_row_and_panel_once) {
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

// Any cut into tiles at all, in any order.
TEST_P(LinearSplit, changes_no_bit) {
  for (Dtype in : matrices())
    for (LinearShape shape :
         {LinearShape{.rows = 97, .n = 205, .k = 192, .act = Activation::gelu_erf},
          LinearShape{.rows = 20, .n = 192, .k = 192}, LinearShape{.rows = 1, .n = 1000, .k = 300},
          LinearShape{.rows = 300, .n = 12, .k = 100}, LinearShape{.rows = 10, .n = 40, .k = 70001}}) {
      shape.in = shape.out = in, shape.gap = 7;
      LinearProblem p(shape);
      const LinearArgs args = p.args(p.batch.all(Side::backend));
      run([&](Context& on) { linear(on, args); });
      p.out.pull();
      const std::vector<uint8_t> whole = p.out.bytes();
      p.out.restore();
      p.out.matrix(p.batch.all(Side::backend));  // as it was
      const Buffer scratch(level->linear_scratch_bytes());
      const int panels = (shape.n + level->panel(in) - 1) / level->panel(in);
      for (int high = shape.rows, i = 0; high > 0; ++i) {
        const int low = std::max(0, high - 1 - static_cast<int>(Rng{5, 6}.bits(i) % 33));
        for (int left = 0; left < panels;) {
          const int right = std::min(panels, left + 1 + static_cast<int>(Rng{7, 8}.bits(left + i) % 3));
          level->linear(args, {low, high, left, right}, scratch.as());
          left = right;
        }
        high = low;
      }
      p.out.pull();
      EXPECT_TRUE(p.out.bytes() == whole) << shape;
    }
}

}  // namespace
}  // namespace hedgerow::test
