// SPDX-License-Identifier: Apache-2.0
// The bookkeeping ops against their definitions.
#include <algorithm>

#include "hedgerow/kernels/reference/reference.h"
#include "tests/cuda/twin.h"

namespace hedgerow::cuda::test {
namespace {

template <class T>
std::vector<double> doubles(const std::vector<T>& v) {
  return {v.begin(), v.end()};
}

void leads(int special) {
  Batch rows({197, 2, 64, 5});
  Twin index(Dtype::i32, rows.lengths.size() * static_cast<size_t>(special) + 5);
  const auto args = [&](bool on) {
    return LeadRowsArgs{.rows = rows.view(on),
                        .special = special,
                        .index = vector_view(index.at(on), Dtype::i32, static_cast<int64_t>(index.count))};
  };
  queued(lead_rows(nullptr, args(true)), "lead_rows");
  index.pull();
  close(index, doubles(reference::lead_rows(args(false))), 0, "lead_rows");
}

void biases(bool sized, bool masked) {
  Batch rows({197, 0, 5, 64});
  const size_t n = static_cast<size_t>(rows.capacity());
  Twin size(Dtype::f32, n), alive(Dtype::u8, n), out(Dtype::f32, n);
  const Rng rng{3, 9};
  for (size_t i = 0; i < n; ++i)
    size.set(i, static_cast<float>(1 + 30 * rng.uniform(i))), alive.set(i, rng.uniform(i + n) < 0.7);
  size.push(), alive.push(), out.fill(kNan);
  const auto args = [&](bool on) {
    const int64_t count = static_cast<int64_t>(n);
    return KeyBiasArgs{.size = sized ? vector_view(size.at(on), Dtype::f32, count) : Tensor{},
                       .alive = masked ? vector_view(alive.at(on), Dtype::u8, count) : Tensor{},
                       .out = vector_view(out.at(on), Dtype::f32, count),
                       .rows = rows.view(on)};
  };
  queued(key_bias(nullptr, args(true)), "key_bias");
  out.pull();
  const std::vector<double> want = reference::key_bias(args(false));
  size_t wrong = 0;
  for (size_t i = 0; i < want.size(); ++i)
    wrong += std::isinf(want[i]) ? out.get(i) != want[i] : std::fabs(out.get(i) - want[i]) > 1e-6;
  tally.check(wrong == 0, "key_bias: " + std::to_string(wrong) + " values are off");
  untouched(out, want.size(), "key_bias");
}

// ToMe's halves and the order after a merge; some sequences merge nothing, some all they can.
void tome(int special) {
  Batch rows({197, special, 5, 64, 700, 0, 31});
  const size_t n = static_cast<size_t>(rows.capacity()), batch = rows.lengths.size();
  Twin pairs(Dtype::i32, batch), role(Dtype::u8, n), source(Dtype::u8, n), best(Dtype::i32, n),
      into(Dtype::i32, n), kept(Dtype::i32, n), kept_offsets(Dtype::i32, batch + 1);
  for (size_t i = 0; i < batch; ++i) {
    const int most = std::max(0, rows.lengths[i] - special) / 2;
    pairs.set(i, static_cast<float>(i % 3 == 0 ? std::min(most, 13) : i % 3 == 1 ? 0 : most));
  }
  pairs.push();
  const auto column = [&](Twin& t, bool on) {
    return vector_view(t.at(on), t.dtype, static_cast<int64_t>(n));
  };
  const auto halves = [&](bool on) {
    return TomeRolesArgs{.rows = rows.view(on),
                         .pairs = static_cast<const int32_t*>(pairs.at(on)),
                         .special = special,
                         .role = column(role, on),
                         .source = column(source, on)};
  };
  queued(tome_roles(nullptr, halves(true)), "tome_roles");
  role.pull(), source.pull();
  const std::vector<uint8_t> want = reference::tome_roles(halves(false));
  close(role, doubles(want), 0, "tome_roles");
  // The first pairs[i] sources in a scattered order merge.
  const Rng rng{5, 5};
  for (size_t i = 0, at = 0; i < batch; at += static_cast<size_t>(rows.lengths[i++])) {
    std::vector<std::pair<double, size_t>> order;
    for (size_t j = at; j < at + static_cast<size_t>(rows.lengths[i]); ++j) {
      tally.check(source.get(j) == (want[j] == 1), "tome_roles: source");
      source.set(j, 0);
      best.set(j, static_cast<float>(at + 1));
      if (want[j] == 1) order.push_back({rng.uniform(j), j});
    }
    std::sort(order.begin(), order.end());
    for (int p = 0; p < static_cast<int>(pairs.get(i)); ++p)
      source.set(order[static_cast<size_t>(p)].second, 1);
  }
  source.push(), best.push();
  const auto order = [&](bool on) {
    return TomeOrderArgs{.rows = rows.view(on),
                         .pairs = static_cast<const int32_t*>(pairs.at(on)),
                         .special = special,
                         .role = column(role, on),
                         .merging = column(source, on),
                         .best = column(best, on),
                         .into = column(into, on),
                         .kept = column(kept, on),
                         .kept_offsets = static_cast<int32_t*>(kept_offsets.at(on))};
  };
  const reference::TomeOrder after = reference::tome_order(order(false));
  queued(tome_order(nullptr, order(true)), "tome_order");
  into.pull(), kept.pull(), kept_offsets.pull();
  close(into, doubles(after.into), 0, "tome_order: into");
  close(kept, doubles(after.kept), 0, "tome_order: kept");
  close(kept_offsets, doubles(after.offsets), 0, "tome_order: offsets");
}

void survivors() {
  Batch rows({197, 0, 5, 64});
  const size_t n = static_cast<size_t>(rows.capacity());
  Twin prune(Dtype::u8, n), merged(Dtype::u8, n), role(Dtype::u8, n);
  const Rng rng{6, 6};
  for (size_t i = 0; i < n; ++i) {
    const bool survives = rng.uniform(i) < 0.7;
    prune.set(i, survives), merged.set(i, survives && rng.uniform(i + n) < 0.6);
  }
  prune.push(), merged.push();
  const auto args = [&](bool on) {
    const auto column = [&](Twin& t) { return vector_view(t.at(on), Dtype::u8, static_cast<int64_t>(n)); };
    return SurvivorRolesArgs{.rows = rows.view(on),
                             .survives_prune = column(prune),
                             .survives_merge = column(merged),
                             .role = column(role)};
  };
  queued(survivor_roles(nullptr, args(true)), "survivor_roles");
  role.pull();
  close(role, doubles(reference::survivor_roles(args(false))), 0, "survivor_roles");
}

}  // namespace

void test_roles() {
  for (int special : {1, 2}) leads(special), tome(special);
  biases(true, false), biases(false, true), biases(true, true);
  survivors();
}

}  // namespace hedgerow::cuda::test
