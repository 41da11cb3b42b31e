// SPDX-License-Identifier: Apache-2.0
// The bookkeeping ops against their definitions, and what their checks refuse.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/ops/claims.h"

namespace hedgerow::test {
namespace {

class Roles : public OpTest {};
HEDGEROW_FOR_EVERY_BACKEND(Roles);

TEST_P(Roles, lead_rows_are_the_first_of_each_sequence) {
  for (int special : {1, 2}) {
    Batch b({197, 2, 64, 5});
    Array index(Dtype::i32, 4 * special + 5);
    const auto args = [&](Side side) {
      const Part p = b.all(side);
      return LeadRowsArgs{.rows = p.rows, .special = special, .index = index.vector(p)};
    };
    expect_outputs({{&index, doubles(reference::lead_rows(args(Side::host)))}},
                   [&](Context& on) { lead_rows(on, args(Side::backend)); });
    Array few(Dtype::i32, 3);
    EXPECT_THROW(run([&](Context& on) {
                   const Part p = b.all(Side::backend);
                   lead_rows(on, {.rows = p.rows, .special = special, .index = few.vector(p)});
                 }),
                 Error);
  }
}

// A logarithm in f32 is off by two roundings at most.
TEST_P(Roles, key_bias_is_the_logarithm_of_the_size_and_hides_the_dead) {
  Batch b({197, 0, 5, 64});
  Array size(Dtype::f32, b.capacity()), alive(Dtype::u8, b.capacity()), out(Dtype::f32, b.capacity());
  for (int i = 0; i < b.rows(); ++i) {
    const uint64_t u = static_cast<uint64_t>(i);
    size.set(i, 1 + 30 * Rng{3, 9}.uniform(u)), alive.set(i, Rng{3, 10}.uniform(u) < 0.7);
  }
  for (int which = 1; which < 4; ++which) {
    const auto args = [&](const Part& p) {
      return KeyBiasArgs{.size = which & 1 ? size.vector(p) : Tensor{},
                         .alive = which & 2 ? alive.vector(p) : Tensor{},
                         .out = out.vector(p),
                         .rows = p.rows};
    };
    const auto want = reference::key_bias(args(b.all(Side::host)));
    expect_claims(b, {{&out, want, bounds(want, [](double w) { return std::isinf(w) ? 0 : 4 * kUnit * w; })}},
                  [&](Context& on, const Part& p) { key_bias(on, args(p)); });
  }
}

// Some sequences merge nothing, some all they can; which of the sources merge is scattered.
TEST_P(Roles, tome_halves_and_the_order_after_a_merge_follow_their_definitions) {
  for (int special : {1, 2}) {
    Batch b({197, special, 5, 64, 700, 0, 31});
    std::vector<int> pairs;
    for (int i = 0; i < b.size(); ++i) {
      const int most = std::max(0, b.length(i) - special) / 2;
      pairs.push_back(i % 3 == 0 ? std::min(most, 13) : i % 3 == 1 ? 0 : most);
    }
    Array count(Dtype::i32, pairs), role(Dtype::u8, b.capacity()), source(Dtype::u8, b.capacity());
    const auto halves = [&](Side side) {
      const Part p = b.all(side);
      return TomeRolesArgs{.rows = p.rows,
                           .pairs = count.data<int32_t>(side),
                           .special = special,
                           .role = role.vector(p),
                           .source = source.vector(p)};
    };
    const auto roles = doubles(reference::tome_roles(halves(Side::host)));
    expect_outputs({{&role, roles}, {&source, bounds(roles, [](double r) { return r == 1; })}},
                   [&](Context& on) { tome_roles(on, halves(Side::backend)); });

    Array merging(Dtype::u8, b.capacity()), best(Dtype::i32, b.capacity()), into(Dtype::i32, b.capacity()),
        kept(Dtype::i32, b.capacity()), offsets(Dtype::i32, b.size() + 1);
    for (int i = 0; i < b.size(); ++i) {
      std::vector<std::pair<double, int>> order;
      for (int j = b.begin(i); j < b.begin(i) + b.length(i); ++j) {
        merging.set(j, 0), best.set(j, b.begin(i) + 1);
        if (role.get(j) == 1) order.push_back({Rng{5, 5}.uniform(static_cast<uint64_t>(j)), j});
      }
      std::sort(order.begin(), order.end());
      for (int k = 0; k < pairs[static_cast<size_t>(i)]; ++k)
        merging.set(order[static_cast<size_t>(k)].second, 1);
    }
    const auto order = [&](Side side) {
      const Part p = b.all(side);
      return TomeOrderArgs{.rows = p.rows,
                           .pairs = count.data<int32_t>(side),
                           .special = special,
                           .role = role.vector(p),
                           .merging = merging.vector(p),
                           .best = best.vector(p),
                           .into = into.vector(p),
                           .kept = kept.vector(p),
                           .kept_offsets = offsets.data<int32_t>(side)};
    };
    const reference::TomeOrder want = reference::tome_order(order(Side::host));
    expect_outputs(
        {{&into, doubles(want.into)}, {&kept, doubles(want.kept)}, {&offsets, doubles(want.offsets)}},
        [&](Context& on) { tome_order(on, order(Side::backend)); });
  }
}

TEST_P(Roles, survivors_of_the_merge_are_targets) {
  Batch b({197, 0, 5, 64});
  Array prune(Dtype::u8, b.capacity()), merged(Dtype::u8, b.capacity()), role(Dtype::u8, b.capacity());
  for (int i = 0; i < b.rows(); ++i) {
    const uint64_t u = static_cast<uint64_t>(i);
    const bool survives = Rng{6, 6}.uniform(u) < 0.7;
    prune.set(i, survives), merged.set(i, survives && Rng{6, 7}.uniform(u) < 0.6);
  }
  const auto args = [&](const Part& p) {
    return SurvivorRolesArgs{.rows = p.rows,
                             .survives_prune = prune.vector(p),
                             .survives_merge = merged.vector(p),
                             .role = role.vector(p)};
  };
  expect_claims(b, {{&role, doubles(reference::survivor_roles(args(b.all(Side::host))))}},
                [&](Context& on, const Part& p) { survivor_roles(on, args(p)); });
}

}  // namespace
}  // namespace hedgerow::test
