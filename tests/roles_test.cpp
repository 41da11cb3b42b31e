// SPDX-License-Identifier: Apache-2.0
// The bookkeeping ops against their definitions, and what their checks refuse.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/kernels/reference/reference.h"

namespace hedgerow {
namespace {

struct Rows {
  std::vector<int32_t> offsets{0};
  int longest = 0;
  explicit Rows(const std::vector<int>& lengths) {
    for (int n : lengths) offsets.push_back(offsets.back() + n), longest = std::max(longest, n);
  }
  Ragged view() const {
    return {offsets.data(), static_cast<int>(offsets.size()) - 1, offsets.back(), longest};
  }
  size_t count() const { return static_cast<size_t>(offsets.back()); }
};

template <class T>
Tensor column(std::vector<T>& v, Dtype d) {
  return vector_view(v.data(), d, static_cast<int64_t>(v.size()));
}

TEST(Roles, leading_rows) {
  const Rows rows({5, 2, 64});
  Context on(find_backend(), 1);
  for (int special : {1, 2}) {
    std::vector<int32_t> index(3 * static_cast<size_t>(special), -7);
    const LeadRowsArgs args{.rows = rows.view(), .special = special, .index = column(index, Dtype::i32)};
    lead_rows(on, args);
    EXPECT_EQ(index, reference::lead_rows(args));
  }
  std::vector<int32_t> few(2);
  EXPECT_THROW(lead_rows(on, {.rows = rows.view(), .special = 1, .index = column(few, Dtype::i32)}), Error);
}

TEST(Roles, key_bias_is_the_logarithm_of_the_size_and_hides_the_dead) {
  const Rows rows({5, 0, 64});
  Context on(find_backend(), 1);
  std::vector<float> size(rows.count()), out(rows.count());
  std::vector<uint8_t> alive(rows.count());
  const Rng rng{1, 1};
  for (size_t i = 0; i < size.size(); ++i)
    size[i] = static_cast<float>(1 + 9 * rng.uniform(i)), alive[i] = i % 3 != 1;
  for (int which = 1; which < 4; ++which) {
    const KeyBiasArgs args{.size = which & 1 ? column(size, Dtype::f32) : Tensor{},
                           .alive = which & 2 ? column(alive, Dtype::u8) : Tensor{},
                           .out = column(out, Dtype::f32),
                           .rows = rows.view()};
    key_bias(on, args);
    const std::vector<double> want = reference::key_bias(args);
    for (size_t i = 0; i < want.size(); ++i) {
      if (std::isinf(want[i]))
        EXPECT_EQ(out[i], -INFINITY);
      else
        EXPECT_NEAR(out[i], want[i], 3e-7);
    }
  }
}

TEST(Roles, tome_halves_and_order) {
  Context on(find_backend(), 1);
  for (int special : {1, 2}) {
    const Rows rows({197, special, 5, 64, 0, 31});
    const size_t n = rows.count();
    std::vector<int32_t> pairs, best(n), into(n), kept(n), offsets(7);
    for (int i = 0; i < 6; ++i) {
      const int most = std::max(0, rows.view().length(i) - special) / 2;
      pairs.push_back(i % 3 == 0 ? std::min(most, 13) : i % 3 == 1 ? 0 : most);
    }
    std::vector<uint8_t> role(n), source(n);
    const TomeRolesArgs halves{.rows = rows.view(),
                               .pairs = pairs.data(),
                               .special = special,
                               .role = column(role, Dtype::u8),
                               .source = column(source, Dtype::u8)};
    tome_roles(on, halves);
    EXPECT_EQ(role, reference::tome_roles(halves));
    for (size_t i = 0; i < n; ++i) EXPECT_EQ(source[i], role[i] == 1), best[i] = static_cast<int32_t>(i / 2);
    for (int s = 0; s < 6; ++s) {  // the last pairs[s] sources merge
      int left = pairs[static_cast<size_t>(s)];
      for (int r = rows.view().end(s) - 1; r >= rows.view().begin(s); --r)
        source[static_cast<size_t>(r)] = role[static_cast<size_t>(r)] == 1 && left-- > 0;
    }
    const TomeOrderArgs order{.rows = rows.view(),
                              .pairs = pairs.data(),
                              .special = special,
                              .role = column(role, Dtype::u8),
                              .merging = column(source, Dtype::u8),
                              .best = column(best, Dtype::i32),
                              .into = column(into, Dtype::i32),
                              .kept = column(kept, Dtype::i32),
                              .kept_offsets = offsets.data()};
    const reference::TomeOrder want = reference::tome_order(order);
    tome_order(on, order);
    EXPECT_EQ(into, want.into);
    EXPECT_EQ(offsets, want.offsets);
    kept.resize(want.kept.size());
    EXPECT_EQ(kept, want.kept);
  }
}

TEST(Roles, survivors_of_the_merge_are_targets) {
  const Rows rows({5, 0, 64});
  Context on(find_backend(), 1);
  std::vector<uint8_t> prune(rows.count()), merged(rows.count()), role(rows.count());
  for (size_t i = 0; i < prune.size(); ++i) prune[i] = i % 4 != 3, merged[i] = prune[i] && i % 3 != 1;
  const SurvivorRolesArgs args{.rows = rows.view(),
                               .survives_prune = column(prune, Dtype::u8),
                               .survives_merge = column(merged, Dtype::u8),
                               .role = column(role, Dtype::u8)};
  survivor_roles(on, args);
  EXPECT_EQ(role, reference::survivor_roles(args));
}

TEST(E4m3, rounds_to_nearest_even_and_back) {
  std::vector<float> values;  // all that are not negative, ascending
  for (int b = 0; b < 0x7f; ++b) {
    const float f = e4m3_to_f32(static_cast<uint8_t>(b));
    EXPECT_EQ(f32_to_e4m3(f), b);
    EXPECT_EQ(f32_to_e4m3(-f), b | 0x80);
    EXPECT_EQ(e4m3_to_f32(static_cast<uint8_t>(b | 0x80)), -f);
    if (!values.empty()) {
      EXPECT_GT(f, values.back());
      const float between = 0.5f * (f + values.back());
      EXPECT_EQ(f32_to_e4m3(between), b % 2 ? b - 1 : b);  // halfway: to even
      EXPECT_EQ(f32_to_e4m3(std::nextafter(between, 0.0f)), b - 1);
      EXPECT_EQ(f32_to_e4m3(std::nextafter(between, 500.0f)), b);
    }
    values.push_back(f);
  }
  EXPECT_EQ(values[1], 0x1p-9f);
  EXPECT_EQ(values.back(), 448.0f);
  for (const float large : {449.0f, 1e30f, INFINITY}) EXPECT_EQ(f32_to_e4m3(large), 0x7e);
  EXPECT_TRUE(std::isnan(e4m3_to_f32(0x7f)) && std::isnan(e4m3_to_f32(f32_to_e4m3(NAN))));
}

TEST(E4m3, scale_is_the_least_power_of_two_that_fits) {
  EXPECT_EQ(e4m3_scale(448), 1.0f);
  EXPECT_EQ(e4m3_scale(449), 2.0f);
  EXPECT_EQ(e4m3_scale(224), 0.5f);
  EXPECT_EQ(e4m3_scale(225), 1.0f);
  EXPECT_EQ(e4m3_scale(0), 1.0f);
}

TEST(Half, rounds_to_nearest_even_and_back) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const float f = f16_to_f32(static_cast<uint16_t>(h));
    if (std::isnan(f)) continue;
    EXPECT_EQ(f32_to_f16(f), h);
  }
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(1.00048828125f), 0x3c00);  // halfway to 1.0009765625: to even
  EXPECT_EQ(f32_to_f16(1.00146484375f), 0x3c02);
  EXPECT_EQ(f32_to_f16(2.98023223876953125e-8f), 0x0000);  // half of the smallest
  EXPECT_EQ(f32_to_f16(3.0e-8f), 0x0001);
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(NAN))));
}

}  // namespace
}  // namespace hedgerow
