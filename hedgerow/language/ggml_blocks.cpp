// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/ggml_blocks.h"

#include <cstring>

#include "hedgerow/core/error.h"

namespace hedgerow {
namespace {

enum : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBf16 = 30
};

uint16_t half_at(const uint8_t* p) {
  uint16_t v;
  std::memcpy(&v, p, 2);
  return v;
}

// 16 bytes: low nibbles are values 0 .. 15, high nibbles 16 .. 31; fifth bits in a word beside them.
void nibbles(const uint8_t* p, uint32_t fifth, uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = static_cast<uint8_t>((p[j] & 15) | (fifth >> j & 1) << 4);
    codes[j + 16] = static_cast<uint8_t>(p[j] >> 4 | (fifth >> (j + 16) & 1) << 4);
  }
}

void unpack_32(uint32_t type, const uint8_t* p, size_t block, QuantRow& to) {
  uint8_t* codes = to.codes.data() + block * 32;
  to.scales[block] = half_at(p), p += 2;
  if (type == kQ4_1 || type == kQ5_1) to.minimums[block] = half_at(p), p += 2;
  if (type == kQ8_0) {
    for (int j = 0; j < 32; ++j) codes[j] = static_cast<uint8_t>(p[j] + 128);
    return;
  }
  uint32_t fifth = 0;
  if (type == kQ5_0 || type == kQ5_1) std::memcpy(&fifth, p, 4), p += 4;
  nibbles(p, fifth, codes);
}

// Eight 6-bit scales and minimums in 12 bytes.
void unpack_k4_scales(const uint8_t* s, uint8_t* scales, uint8_t* minimums) {
  for (int j = 0; j < 4; ++j) {
    scales[j] = s[j] & 63, minimums[j] = s[j + 4] & 63;
    scales[j + 4] = static_cast<uint8_t>((s[j + 8] & 15) | s[j] >> 6 << 4);
    minimums[j + 4] = static_cast<uint8_t>(s[j + 8] >> 4 | s[j + 4] >> 6 << 4);
  }
}

void unpack_k4(bool five, const uint8_t* p, size_t block, QuantRow& to) {
  uint8_t* codes = to.codes.data() + block * 256;
  to.scales[block] = half_at(p), to.minimums[block] = half_at(p + 2);
  unpack_k4_scales(p + 4, to.small.data() + block * 8, to.small_min.data() + block * 8);
  const uint8_t *high = p + 16, *low = five ? p + 48 : p + 16;
  for (int run = 0; run < 4; ++run, low += 32)  // low nibbles: group 2 run, high: 2 run + 1
    for (int j = 0; j < 32; ++j) {
      const int a = five ? high[j] >> (2 * run) & 1 : 0, b = five ? high[j] >> (2 * run + 1) & 1 : 0;
      codes[run * 64 + j] = static_cast<uint8_t>((low[j] & 15) | a << 4);
      codes[run * 64 + 32 + j] = static_cast<uint8_t>(low[j] >> 4 | b << 4);
    }
}

void unpack_k6(const uint8_t* p, size_t block, QuantRow& to) {
  uint8_t* codes = to.codes.data() + block * 256;
  for (int half = 0; half < 2; ++half) {
    const uint8_t *low = p + half * 64, *high = p + 128 + half * 32;
    uint8_t* out = codes + half * 128;
    for (int l = 0; l < 32; ++l) {
      out[l] = static_cast<uint8_t>((low[l] & 15) | (high[l] & 3) << 4);
      out[l + 32] = static_cast<uint8_t>((low[l + 32] & 15) | (high[l] >> 2 & 3) << 4);
      out[l + 64] = static_cast<uint8_t>(low[l] >> 4 | (high[l] >> 4 & 3) << 4);
      out[l + 96] = static_cast<uint8_t>(low[l + 32] >> 4 | (high[l] >> 6 & 3) << 4);
    }
  }
  std::memcpy(to.small.data() + block * 16, p + 192, 16);
  to.scales[block] = half_at(p + 208);
}

void unpack_values(uint32_t type, const uint8_t* p, int k, float* to) {
  for (int i = 0; i < k; ++i)
    if (type == kF32)
      std::memcpy(to + i, p + 4 * i, 4);
    else
      to[i] = type == kF16 ? f16_to_f32(half_at(p + 2 * i)) : bf16_to_f32(half_at(p + 2 * i));
}

}  // namespace

Quant quant_of_ggml(uint32_t type) {
  switch (type) {
    case kF32:
      return {.values = Dtype::f32};
    case kF16:
      return {.values = Dtype::f16};
    case kBf16:
      return {.values = Dtype::bf16};
    case kQ4_0:
      return {.bits = 4, .group = 32, .scales = Scales::f16, .zero = 8};
    case kQ4_1:
      return {.bits = 4, .group = 32, .scales = Scales::f16_min};
    case kQ5_0:
      return {.bits = 5, .group = 32, .scales = Scales::f16, .zero = 16};
    case kQ5_1:
      return {.bits = 5, .group = 32, .scales = Scales::f16_min};
    case kQ8_0:
      return {.bits = 8, .group = 32, .scales = Scales::f16, .zero = 128};
    case kQ4_K:
      return {.bits = 4, .group = 32, .scales = Scales::k4};
    case kQ5_K:
      return {.bits = 5, .group = 32, .scales = Scales::k4};
    case kQ6_K:
      return {.bits = 6, .group = 16, .scales = Scales::k6, .zero = 32};
    default:
      throw Error("ggml: wanted a known type, found " + std::to_string(type));
  }
}

void unpack_ggml(uint32_t type, const uint8_t* blocks, int k, QuantRow& to) {
  const GgmlType& t = *ggml_type(type);
  if (t.block == 1) return unpack_values(type, blocks, k, to.values.data());
  const size_t count = static_cast<size_t>(k / t.block);
  for (size_t b = 0; b < count; ++b, blocks += t.bytes) {
    if (type == kQ6_K)
      unpack_k6(blocks, b, to);
    else if (type == kQ4_K || type == kQ5_K)
      unpack_k4(type == kQ5_K, blocks, b, to);
    else
      unpack_32(type, blocks, b, to);
  }
}

}  // namespace hedgerow
