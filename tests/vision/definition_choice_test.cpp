// SPDX-License-Identifier: Apache-2.0
// How a choice that somebody else made is judged: the rule's own choice strains nothing, a swap of near ties
// as much as they are apart, a swap of others too much, whatever the rule.
#include "tests/vision/definition_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "hedgerow/core/rng.h"

namespace hedgerow::test {
namespace {

constexpr int kRows = 24;

// One special row, then patches of scores between 1 and 3, each off by at most a thousandth.
Rows scores() {
  Rows s(kRows, 1);
  for (int i = 0; i < kRows; ++i) {
    s.row(i)[0] = 1 + 2 * Rng{4, 4}.uniform(static_cast<uint64_t>(i));
    s.off(i)[0] = 1e-3;
  }
  return s;
}

std::vector<Rule> rules() {
  return {{.mode = SelectMode::top_k, .count = 9},
          {.mode = SelectMode::top_k, .special_competes = true, .count = 9},
          {.mode = SelectMode::threshold, .threshold = 2},
          {.mode = SelectMode::threshold, .floor = 15, .threshold = 2.5f},
          {.mode = SelectMode::quantile, .mass = 0.4},
          {.mode = SelectMode::mass, .mass = 0.5},
          {.mode = SelectMode::ats, .samples = 12}};
}

std::vector<int> dropped(const std::vector<int>& kept) {
  std::vector<int> out;
  for (int i = 0; i < kRows; ++i)
    if (std::find(kept.begin(), kept.end(), i) == kept.end()) out.push_back(i);
  return out;
}

std::vector<int> swapped(std::vector<int> kept, int out, int in) {
  *std::find(kept.begin(), kept.end(), out) = in;
  std::sort(kept.begin(), kept.end());
  return kept;
}

TEST(Choice, of_the_rule_itself_strains_nothing) {
  const Rows score = scores();
  for (const Rule& rule : rules()) EXPECT_EQ(strain_of(rule, score, choice_by(rule, score)), 0);
}

TEST(Choice, of_other_rows_strains_too_much) {
  const Rows score = scores();
  for (const Rule& rule : rules()) {
    if (rule.mode == SelectMode::ats) continue;  // what follows asks of ATS what it does not promise
    const std::vector<int> kept = choice_by(rule, score);
    for (int in : dropped(kept))
      for (size_t i = 1; i < kept.size(); ++i)
        EXPECT_GT(strain_of(rule, score, swapped(kept, kept[i], in)), 1)
            << static_cast<int>(rule.mode) << " " << kept[i] << " for " << in;
    std::vector<int> fewer = kept, no_special(kept.begin() + 1, kept.end());
    fewer.pop_back();
    EXPECT_GT(strain_of(rule, score, fewer), 1);
    EXPECT_GT(strain_of(rule, score, no_special), 1);
  }
}

TEST(Choice, between_near_ties_strains_as_much_as_they_are_apart) {
  for (const Rule& rule : rules()) {
    if (rule.mode == SelectMode::threshold && rule.floor == 0) continue;  // asks of each row alone
    if (rule.mode == SelectMode::ats) continue;
    Rows score = scores();
    const std::vector<int> kept = choice_by(rule, score);
    const auto by_score = [&](int a, int b) { return score.row(a)[0] < score.row(b)[0]; };
    const std::vector<int> out = dropped(kept);
    const int last = *std::min_element(kept.begin() + 1, kept.end(), by_score);
    const int next = *std::max_element(out.begin(), out.end(), by_score);
    score.row(next)[0] = score.row(last)[0] - 0.9e-3;  // both together may be off by 2e-3
    const std::vector<int> other = swapped(choice_by(rule, score), last, next);
    EXPECT_EQ(strain_of(rule, score, other), 0.5) << static_cast<int>(rule.mode);
    score.row(next)[0] = score.row(last)[0] - 3e-3;
    EXPECT_EQ(strain_of(rule, score, other), 2) << static_cast<int>(rule.mode);
  }
}

TEST(Choice, by_sampling_takes_the_nearest_to_every_height) {
  const Rows score = scores();
  const Rule rule{.mode = SelectMode::ats, .samples = 12};
  const std::vector<int> kept = choice_by(rule, score);
  EXPECT_LT(kept.size(), size_t{kRows});
  for (size_t i = 1; i < kept.size(); ++i) {
    std::vector<int> fewer = kept;
    fewer.erase(fewer.begin() + static_cast<int64_t>(i));
    EXPECT_GT(strain_of(rule, score, fewer), 1) << "without " << kept[i];
  }
  int refused = 0;
  for (int in : dropped(kept)) {
    std::vector<int> more = kept;
    more.insert(std::lower_bound(more.begin(), more.end(), in), in);
    refused += strain_of(rule, score, more) > 1;
  }
  EXPECT_EQ(refused, static_cast<int>(dropped(kept).size()));
}

TEST(Partners, other_than_the_most_similar_strain_by_their_distance) {
  const double angle[] = {0, 0.1, 0.101, 1.5, 3};
  Rows direction(5, 2);
  for (int i = 0; i < 5; ++i) {
    direction.row(i)[0] = std::cos(angle[i]), direction.row(i)[1] = std::sin(angle[i]);
    direction.off(i)[0] = 1e-4;
  }
  const std::vector<uint8_t> role = {1, 2, 2, 2, 0};
  EXPECT_EQ(partners_of(direction, role).best, (std::vector<int>{1, -1, -1, -1, -1}));
  EXPECT_EQ(strain_of_partners(direction, role, {1, -1, -1, -1, -1}), 0);
  EXPECT_LE(strain_of_partners(direction, role, {2, -1, -1, -1, -1}), 1);
  EXPECT_GT(strain_of_partners(direction, role, {3, -1, -1, -1, -1}), 1);
  EXPECT_EQ(strain_of_partners(direction, role, {4, -1, -1, -1, -1}), INFINITY);
}

}  // namespace
}  // namespace hedgerow::test
