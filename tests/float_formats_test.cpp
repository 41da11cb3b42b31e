// SPDX-License-Identifier: Apache-2.0
// Conversions between f32 and the narrow formats: every value there is, and the places between two of them.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "hedgerow/core/tensor.h"

namespace hedgerow {
namespace {

TEST(FloatFormats, e4m3_rounds_to_nearest_even_and_back) {
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

TEST(FloatFormats, e4m3_scale_is_the_least_power_of_two_that_fits) {
  EXPECT_EQ(e4m3_scale(448), 1.0f);
  EXPECT_EQ(e4m3_scale(449), 2.0f);
  EXPECT_EQ(e4m3_scale(224), 0.5f);
  EXPECT_EQ(e4m3_scale(225), 1.0f);
  EXPECT_EQ(e4m3_scale(0), 1.0f);
}

TEST(FloatFormats, f16_rounds_to_nearest_even_and_back) {
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
