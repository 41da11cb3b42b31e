// SPDX-License-Identifier: Apache-2.0
// select against its definition: exactly the same rows, in every mode, whatever the scores.
#include <functional>

#include "hedgerow/kernels/reference/reference.h"
#include "tests/support.h"

namespace hedgerow::test {
namespace {

enum class Scores { spread, equal, few_values, hostile, zero, negative };
constexpr Scores kScores[] = {Scores::spread,  Scores::equal, Scores::few_values,
                              Scores::hostile, Scores::zero,  Scores::negative};
constexpr SelectMode kModes[] = {SelectMode::top_k, SelectMode::threshold, SelectMode::quantile,
                                 SelectMode::mass, SelectMode::ats};

std::vector<float> scores_of(Scores kind, size_t n, uint64_t key) {
  std::vector<float> s(n);
  const Rng rng{7, key};
  for (size_t i = 0; i < n; ++i) {
    const double u = rng.uniform(2 * i), z = rng.normal(i + 1000);
    switch (kind) {
      case Scores::spread:
        s[i] = static_cast<float>(std::exp(z));
        break;
      case Scores::equal:
        s[i] = 0.25f;
        break;
      case Scores::few_values:
        s[i] = static_cast<float>(static_cast<int>(4 * u));
        break;
      case Scores::hostile: {
        const float values[] = {kNan, kInf, -kInf, 0.0f, -0.0f, 1.0f, 1e-42f, 3e38f, -1.0f};
        s[i] = values[static_cast<int>(9 * u)];
        break;
      }
      case Scores::zero:
        s[i] = 0;
        break;
      case Scores::negative:
        s[i] = static_cast<float>(-std::exp(z));
        break;
    }
  }
  return s;
}

class Select : public KernelTest {
 protected:
  struct Rules {  // one entry a sequence, all different
    std::vector<int32_t> count, floor, samples;
    std::vector<float> threshold;
    std::vector<double> mass;
    explicit Rules(const Batch& b) {
      for (int i = 0; i < b.size(); ++i) {
        const int n = b.length(i);
        count.push_back(i % 4 == 3 ? n + 5 : n * (i % 4 + 1) / 5);
        floor.push_back(i % 3 == 0 ? 0 : i % 3 == 1 ? 4 : n + 1);
        samples.push_back(i % 5 == 4 ? 1 : i % 2 ? 196 : n / 2 + 1);
        threshold.push_back(i % 3 == 2 ? kNan : 0.25f * static_cast<float>(i % 3 + 1));
        mass.push_back(i % 4 == 0 ? 0.7 : i % 4 == 1 ? 1.0 : i % 4 == 2 ? 0.0 : 0.3);
      }
    }
  };

  static SelectArgs args_of(const Batch& b, const Rules& r, const std::vector<float>& score,
                            SelectMode mode) {
    SelectArgs a;
    a.score = vector_of(score.data(), b.rows());
    a.rows = b.ragged();
    a.mode = mode;
    a.count = r.count.data();
    a.threshold = r.threshold.data();
    a.mass = r.mass.data();
    a.samples = r.samples.data();
    return a;
  }

  reference::Selected run(SelectArgs a, int threads) {
    const size_t rows = static_cast<size_t>(a.rows.rows());
    Guarded<int32_t> kept(rows), offsets(static_cast<size_t>(a.rows.batch) + 1);
    Guarded<uint8_t> alive(rows);
    a.kept = vector_of(kept.data(), a.rows.row_capacity);
    a.kept_offsets = offsets.data();
    a.alive_out = vector_of(alive.data(), a.rows.row_capacity);
    Context on = context(threads, a.rows.max_len);
    select(on, a);
    EXPECT_TRUE(kept.intact() && offsets.intact() && alive.intact());
    reference::Selected got{kept.values(), offsets.values(), alive.values()};
    got.kept.resize(static_cast<size_t>(got.offsets.back()));
    return got;
  }

  static void expect_same(const reference::Selected& got, const reference::Selected& want) {
    EXPECT_EQ(got.offsets, want.offsets);
    EXPECT_EQ(got.kept, want.kept);
    EXPECT_EQ(got.alive, want.alive);
  }

  void check(const Batch& b, const std::vector<float>& score, const std::vector<uint8_t>& alive) {
    const Rules rules(b);
    for (SelectMode mode : kModes)
      for (int variant = 0; variant < 16; ++variant) {
        SelectArgs a = args_of(b, rules, score, mode);
        a.special = variant & 1 ? 2 : 1;
        a.append = variant >> 1 & 1;
        if (variant & 4) a.floor = rules.floor.data();
        if (variant & 8) a.alive = vector_of(alive.data(), b.rows());
        a.special_competes = mode == SelectMode::top_k && (variant & 4);
        const reference::Selected want = reference::select(a);
        SCOPED_TRACE("mode " + std::to_string(static_cast<int>(mode)) + " variant " +
                     std::to_string(variant));
        expect_same(run(a, 1), want);
        if (variant == 15) expect_same(run(a, 3), want);
      }
  }
};

TEST_F(Select, EveryModeEveryLengthEveryKindOfScore) {
  for (const auto& lengths : awkward_batches()) {
    const Batch b(lengths);
    std::vector<uint8_t> alive(static_cast<size_t>(b.rows()) + 1);
    for (size_t i = 0; i < alive.size(); ++i) alive[i] = Rng{3, 2}.uniform(i) < 0.7;
    for (Scores kind : kScores) {
      SCOPED_TRACE("scores " + std::to_string(static_cast<int>(kind)) + " rows " + std::to_string(b.rows()));
      check(b, scores_of(kind, static_cast<size_t>(b.rows()) + 1, 1), alive);
    }
  }
}

TEST_F(Select, LargeBatchOnThreads) {
  const Batch b(std::vector<int>(32, 197));
  const Rules rules(b);
  const auto score = scores_of(Scores::spread, 32 * 197, 4);
  for (SelectMode mode : kModes) {
    const SelectArgs a = args_of(b, rules, score, mode);
    const reference::Selected want = reference::select(a);
    for (int threads : {1, 2, 3}) expect_same(run(a, threads), want);
  }
}

TEST_F(Select, TiesGoToTheLowerIndexAndNanIsLast) {
  const Batch b({7});
  const std::vector<float> score = {9, 2, kNan, 2, 3, 2, -kInf};
  SelectArgs a;
  a.score = vector_of(score.data(), 7);
  a.rows = b.ragged();
  const auto kept = [&](int count) {
    const int32_t n = count;
    a.count = &n;
    return run(a, 1).kept;
  };
  EXPECT_EQ(kept(2), (std::vector<int32_t>{0, 1, 4}));
  EXPECT_EQ(kept(3), (std::vector<int32_t>{0, 1, 3, 4}));
  EXPECT_EQ(kept(5), (std::vector<int32_t>{0, 1, 3, 4, 5, 6}));
  a.append = 1;
  EXPECT_EQ(kept(1), (std::vector<int32_t>{0, 4, -1}));
  EXPECT_EQ(kept(6), (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6}));  // nothing dropped, nothing appended
}

// The weakest is never chosen, enough heights choose all others, and one height chooses the strongest.
TEST_F(Select, AtsByHand) {
  const Batch b({6});
  const std::vector<float> score = {9, 0.1f, 0.2f, 0.3f, 0.15f, 0.25f};
  SelectArgs a;
  a.score = vector_of(score.data(), 6);
  a.rows = b.ragged();
  a.mode = SelectMode::ats;
  const auto kept = [&](int samples) {
    const int32_t n = samples;
    a.samples = &n;
    return run(a, 1).kept;
  };
  EXPECT_EQ(kept(1000), (std::vector<int32_t>{0, 2, 3, 4, 5}));
  EXPECT_EQ(kept(1), (std::vector<int32_t>{0, 3}));
  EXPECT_EQ(kept(2), (std::vector<int32_t>{0, 3, 4}));  // the lowest non-zero height and 1
}

TEST_F(Select, AMaskedLayoutKeepsWhatAPackedOneKeeps) {
  const auto score = scores_of(Scores::spread, 40, 9);
  std::vector<float> packed;
  std::vector<uint8_t> alive(40);
  std::vector<int32_t> place;
  for (int i = 0; i < 40; ++i) {
    alive[static_cast<size_t>(i)] = i == 0 || i % 3 != 1;
    if (!alive[static_cast<size_t>(i)]) continue;
    packed.push_back(score[static_cast<size_t>(i)]);
    place.push_back(i);
  }
  const Batch full({40}), live({static_cast<int>(packed.size())});
  const Rules rules(live);
  for (SelectMode mode : kModes) {
    SelectArgs a = args_of(full, rules, score, mode), p = args_of(live, rules, packed, mode);
    a.alive = vector_of(alive.data(), 40);
    std::vector<int32_t> back;
    for (int32_t i : run(p, 1).kept) back.push_back(place[static_cast<size_t>(i)]);
    EXPECT_EQ(run(a, 1).kept, back) << static_cast<int>(mode);
  }
}

}  // namespace
}  // namespace hedgerow::test
