// SPDX-License-Identifier: Apache-2.0
// select against its definition: exactly the same rows, in every mode, whatever the scores.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/ops/claims.h"

namespace hedgerow::test {
namespace {

class Select : public OpTest {};
HEDGEROW_FOR_EVERY_BACKEND(Select);

enum class Scores { spread, normal, equal, few_values, hostile, zero, negative, far_apart };
constexpr Scores kScores[] = {Scores::spread,  Scores::normal, Scores::equal,    Scores::few_values,
                              Scores::hostile, Scores::zero,   Scores::negative, Scores::far_apart};
constexpr SelectMode kModes[] = {SelectMode::top_k, SelectMode::threshold, SelectMode::quantile,
                                 SelectMode::mass, SelectMode::ats};

double score_of(Scores kind, uint64_t key, uint64_t i) {
  const double u = Rng{7, key}.uniform(2 * i), z = Rng{7, key}.normal(i + 1000);
  constexpr float kHostile[] = {kNan, kInf, -kInf, 0.0f, -0.0f, 1.0f, 1e-42f, 3e38f, -1.0f};
  switch (kind) {
    case Scores::spread:
      return std::exp(z);
    case Scores::normal:
      return z;
    case Scores::equal:
      return 0.25;
    case Scores::few_values:
      return static_cast<int>(4 * u) * 0.25;
    case Scores::hostile:
      return kHostile[static_cast<int>(9 * u)];
    case Scores::zero:
      return i % 2 ? 0.0 : -0.0;
    case Scores::negative:
      return -std::exp(z);
    case Scores::far_apart:  // sums of these are not exact
      return std::exp(10 * z);
  }
  return 0;
}

// A batch, what each of its sequences is cut by, all different, and what was chosen.
struct Choice {
  Batch b;
  Array score, alive, count, floor, samples, threshold, kept, offsets, alive_out;
  Buffer mass_there;
  std::vector<double> mass;
  SelectArgs rule = {};  // mode, special, append, special_competes
  bool floored = false, masked = false;

  explicit Choice(const std::vector<int>& lengths)
      : b(lengths),
        score(Dtype::f32, b.capacity()),
        alive(Dtype::u8, b.capacity()),
        count(Dtype::i32, b.size()),
        floor(Dtype::i32, b.size()),
        samples(Dtype::i32, b.size()),
        threshold(Dtype::f32, b.size()),
        kept(Dtype::i32, b.capacity()),
        offsets(Dtype::i32, b.size() + 1),
        alive_out(Dtype::u8, b.capacity()) {
    for (int i = 0; i < b.size(); ++i) {
      const int n = b.length(i);
      count.set(i, i % 5 == 4 ? -1 : i % 4 == 3 ? n + 5 : n * (i % 4 + 1) / 5);
      floor.set(i, i % 4 == 0 ? 0 : i % 4 == 1 ? 4 : i % 4 == 2 ? n + 1 : -1);
      samples.set(i, i % 5 == 4 ? 1 : i % 2 ? 196 : n / 2 + 1);
      threshold.set(i, i % 3 == 2 ? kNan : 0.25 * (i % 3 + 1));
      mass.push_back(i % 4 == 0 ? 0.7 : i % 4 == 1 ? 1.0 : i % 4 == 2 ? 0.0 : 0.3);
    }
    mass_there = copy_on(*under_test.backend, mass.data(), mass.size() * sizeof mass[0]);
    for (int i = 0; i < b.rows(); ++i) alive.set(i, Rng{3, 2}.uniform(static_cast<uint64_t>(i)) < 0.7);
  }
  Choice(const std::vector<int>& lengths, Scores kind, uint64_t key = 1) : Choice(lengths) {
    for (int i = 0; i < b.rows(); ++i) score.set(i, score_of(kind, key, static_cast<uint64_t>(i)));
  }
  explicit Choice(const std::vector<float>& scores)
      : Choice(std::vector<int>{static_cast<int>(scores.size())}) {
    for (size_t i = 0; i < scores.size(); ++i) score.set(static_cast<int64_t>(i), scores[i]);
  }

  SelectArgs args(Side side) {
    const Part p = b.all(side);
    SelectArgs a = rule;
    a.score = score.vector(p), a.rows = p.rows;
    if (masked) a.alive = alive.vector(p);
    a.count = count.data<int32_t>(side), a.samples = samples.data<int32_t>(side);
    a.threshold = threshold.data<float>(side);
    a.mass = side == Side::host ? mass.data() : mass_there.as<double>();
    if (floored) a.floor = floor.data<int32_t>(side);
    a.kept = kept.vector(p), a.kept_offsets = offsets.data<int32_t>(side);
    a.alive_out = alive_out.vector(p);
    return a;
  }
  void expect_definition(const std::vector<int>& threads = {}) {
    const reference::Selected want = reference::select(args(Side::host));
    expect_outputs(
        {{&kept, doubles(want.kept), {}, b.rows()},
         {&offsets, doubles(want.offsets)},
         {&alive_out, doubles(want.alive)}},
        [&](Context& on) { select(on, args(Side::backend)); }, {.max_len = b.longest()}, threads);
  }
  // The rows kept of a batch of one sequence.
  std::vector<int> kept_rows() {
    run([&](Context& on) { select(on, args(Side::backend)); }, 1, {.max_len = b.longest()});
    kept.pull(), offsets.pull();
    std::vector<int> rows;
    for (int64_t i = 0; i < offsets.get(1); ++i) rows.push_back(static_cast<int>(kept.get(i)));
    return rows;
  }
};

// Every mode, and of special rows, appended rows, floors and masks every mixture.
void expect_every_rule(Choice& c) {
  for (SelectMode mode : kModes)
    for (int variant = 0; variant < 16; ++variant) {
      SCOPED_TRACE("mode " + std::to_string(static_cast<int>(mode)) + " variant " + std::to_string(variant));
      c.floored = variant & 4, c.masked = variant & 8;
      c.rule.mode = mode, c.rule.special = variant & 1 ? 2 : 1, c.rule.append = variant >> 1 & 1;
      c.rule.special_competes = mode == SelectMode::top_k && c.floored;
      c.expect_definition(variant == 15 ? std::vector<int>{3} : std::vector<int>{});
    }
}

TEST_P(Select, keeps_what_its_definition_keeps_at_every_length_and_of_every_kind_of_score) {
  for (const auto& lengths : awkward_batches())
    for (Scores kind : kScores) {
      SCOPED_TRACE("scores " + std::to_string(static_cast<int>(kind)) + ", " +
                   std::to_string(lengths.size()) + " sequences");
      Choice c(lengths, kind);
      expect_every_rule(c);
    }
}

TEST_P(Select, keeps_what_its_definition_keeps_of_long_and_of_many_sequences) {
  for (const auto& lengths : {std::vector<int>{197, 1, 0, 64, 577, 2, 100, 785, 3}, std::vector<int>(300, 21),
                              std::vector<int>(32, 197), std::vector<int>{40, 2500, 1024}})
    for (Scores kind : {Scores::spread, Scores::hostile, Scores::far_apart}) {
      Choice c(lengths, kind, 4);
      for (SelectMode mode : kModes) {
        c.rule.mode = mode, c.rule.append = 1;
        c.floored = c.masked = kind == Scores::far_apart;
        SCOPED_TRACE("mode " + std::to_string(static_cast<int>(mode)) + " scores " +
                     std::to_string(static_cast<int>(kind)));
        c.expect_definition({2, 3});
      }
    }
}

TEST_P(Select, ties_go_to_the_lower_index_and_nan_is_last) {
  Choice c(std::vector<float>{9, 2, kNan, 2, 3, 2, -kInf});
  const auto kept = [&](int count) {
    c.count.set(0, count);
    return c.kept_rows();
  };
  EXPECT_EQ(kept(2), (std::vector<int>{0, 1, 4}));
  EXPECT_EQ(kept(3), (std::vector<int>{0, 1, 3, 4}));
  EXPECT_EQ(kept(5), (std::vector<int>{0, 1, 3, 4, 5, 6}));
  c.rule.append = 1;
  EXPECT_EQ(kept(1), (std::vector<int>{0, 4, -1}));
  EXPECT_EQ(kept(6), (std::vector<int>{0, 1, 2, 3, 4, 5, 6}));  // nothing dropped, nothing appended
}

// The weakest is never chosen, enough heights choose all others, and one height chooses the strongest.
TEST_P(Select, ats_keeps_what_a_hand_would) {
  Choice c(std::vector<float>{9, 0.1f, 0.2f, 0.3f, 0.15f, 0.25f});
  c.rule.mode = SelectMode::ats;
  const auto kept = [&](int samples) {
    c.samples.set(0, samples);
    return c.kept_rows();
  };
  EXPECT_EQ(kept(1000), (std::vector<int>{0, 2, 3, 4, 5}));
  EXPECT_EQ(kept(1), (std::vector<int>{0, 3}));
  EXPECT_EQ(kept(2), (std::vector<int>{0, 3, 4}));  // the lowest non-zero height and 1
}

TEST_P(Select, a_masked_layout_keeps_what_a_packed_one_keeps) {
  Choice full({40}, Scores::spread, 9);
  full.masked = true;
  std::vector<float> scores;
  std::vector<int> place;
  for (int i = 0; i < 40; ++i) {
    full.alive.set(i, i == 0 || i % 3 != 1);
    if (full.alive.get(i)) scores.push_back(static_cast<float>(full.score.get(i))), place.push_back(i);
  }
  Choice packed(scores);
  full.count.set(0, packed.count.get(0)), full.samples.set(0, packed.samples.get(0));
  for (SelectMode mode : kModes) {
    full.rule.mode = packed.rule.mode = mode;
    std::vector<int> back;
    for (int i : packed.kept_rows()) back.push_back(place[static_cast<size_t>(i)]);
    EXPECT_EQ(full.kept_rows(), back) << static_cast<int>(mode);
  }
}

}  // namespace
}  // namespace hedgerow::test
