// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/core/tensor.h"

#include <sys/mman.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "hedgerow/core/error.h"

namespace hedgerow {

Buffer::Buffer(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  constexpr size_t kHuge = size_t{2} << 20;
  const size_t align = bytes >= kHuge ? kHuge : 64;
  const size_t rounded = (bytes + align - 1) / align * align;
  require(rounded >= bytes, "out of memory: the size asked for does not fit the address space");
  data_ = std::aligned_alloc(align, rounded);
  require(data_ != nullptr, "out of memory: wanted " + std::to_string(bytes) + " bytes");
  // Transparent huge pages are opt-in on most systems; weights and activations gain from fewer TLB misses.
  if (bytes >= kHuge) madvise(data_, rounded, MADV_HUGEPAGE);
  std::memset(data_, 0, rounded);
}

Buffer::~Buffer() {
  if (release_ && data_) {
    release_(data_);
  } else {
    std::free(data_);
  }
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      release_(std::exchange(other.release_, nullptr)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(release_, other.release_);
  return *this;
}

namespace {
// The release function knows no size: it stands in a page in front.
constexpr size_t kFront = 4096;
}  // namespace

Buffer untouched_buffer(size_t bytes) {
  if (bytes == 0) return {};
  require(bytes < SIZE_MAX - kFront, "out of memory: the size asked for does not fit the address space");
  void* base = mmap(nullptr, bytes + kFront, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  require(base != MAP_FAILED, "out of memory: wanted " + std::to_string(bytes) + " bytes");
  *static_cast<size_t*>(base) = bytes + kFront;
  return Buffer(static_cast<char*>(base) + kFront, bytes, [](void* data) {
    void* const front = static_cast<char*>(data) - kFront;
    munmap(front, *static_cast<size_t*>(front));
  });
}

uint16_t f32_to_f16(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  const uint32_t sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to 65536 or more
  if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24, which adding 0.5 in f32 rounds to
    float v;
    std::memcpy(&v, &magnitude, 4);
    v += 0.5f;
    uint32_t bits;
    std::memcpy(&bits, &v, 4);
    return static_cast<uint16_t>(sign | (bits - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

float f16_to_f32(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 31u, mantissa = h & 1023u;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24, exact in f32
    const float f = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -f : f;
  }
  const uint32_t bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23) | (mantissa << 13);
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

float e4m3_to_f32(uint8_t b) {
  const int exponent = (b >> 3) & 15, mantissa = b & 7;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                        : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return b & 0x80 ? -magnitude : magnitude;
}

uint8_t f32_to_e4m3(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  const uint32_t sign = (u >> 24) & 0x80u, magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint8_t>(sign | 0x7fu);
  if (magnitude >= 0x43e00000u) return static_cast<uint8_t>(sign | 0x7eu);  // 448 or more
  if (magnitude < 0x3c800000u) {  // below 2^-6: a multiple of 2^-9, which adding 2^14 in f32 rounds to
    float v;
    std::memcpy(&v, &magnitude, 4);
    v += 16384.0f;
    uint32_t bits;
    std::memcpy(&bits, &v, 4);
    return static_cast<uint8_t>(sign | (bits - 0x46800000u));
  }
  const uint32_t rounded = magnitude + 0x7ffffu + ((magnitude >> 20) & 1u);
  return static_cast<uint8_t>(sign | ((rounded - 0x3c000000u) >> 20));
}

float e4m3_scale(float most) {
  if (!(most > 0)) return 1;
  int exponent;
  const float share = std::frexp(most / 448, &exponent);  // in [0.5, 1)
  return std::ldexp(1.0f, share > 0.5f ? exponent : exponent - 1);
}

}  // namespace hedgerow
