// SPDX-License-Identifier: Apache-2.0
// Tensor: a view (pointer, extents, strides, dtype). Buffer: the owner of memory that views point into.
//
// Code that is compiled once per instruction set sees these as plain aggregates: every accessor is
// force-inlined, so the linker never keeps a copy that an older machine can't run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#define HEDGEROW_INLINE inline __attribute__((always_inline))

namespace hedgerow {

// e4m3: 8 bits of floating point, 448 at most, 3 bits behind the leading one; "fp8" where it has a name. i8:
// whole numbers that scales elsewhere give their meaning.
enum class Dtype : uint8_t { f32, bf16, f16, i32, u8, e4m3, i8 };

HEDGEROW_INLINE constexpr int bytes_of(Dtype d) {
  switch (d) {
    case Dtype::f32:
    case Dtype::i32:
      return 4;
    case Dtype::bf16:
    case Dtype::f16:
      return 2;
    case Dtype::u8:
    case Dtype::e4m3:
    case Dtype::i8:
      return 1;
  }
  return 0;
}
constexpr const char* name_of(Dtype d) {
  constexpr const char* kNames[] = {"f32", "bf16", "f16", "i32", "u8", "fp8", "int8"};
  return kNames[static_cast<int>(d)];
}

// Are values stored as whole numbers or short floats that a scale elsewhere gives their meaning?
HEDGEROW_INLINE constexpr bool is_quantised(Dtype d) { return d == Dtype::e4m3 || d == Dtype::i8; }

// A set of dtypes: what an op may be given.
struct DtypeSet {
  unsigned bits = 0;
  constexpr DtypeSet() = default;
  constexpr DtypeSet(Dtype d) : bits(1u << static_cast<unsigned>(d)) {}
  constexpr DtypeSet(std::initializer_list<Dtype> all) {
    for (Dtype d : all) bits |= 1u << static_cast<unsigned>(d);
  }
  constexpr bool has(Dtype d) const { return bits >> static_cast<unsigned>(d) & 1u; }
  constexpr bool operator==(const DtypeSet&) const = default;
};
constexpr DtypeSet operator|(DtypeSet a, DtypeSet b) {
  a.bits |= b.bits;
  return a;
}
constexpr DtypeSet operator&(DtypeSet a, DtypeSet b) {
  a.bits &= b.bits;
  return a;
}
inline constexpr Dtype kAllDtypes[] = {Dtype::f32, Dtype::bf16, Dtype::f16, Dtype::i32,
                                       Dtype::u8,  Dtype::e4m3, Dtype::i8};

// Non-owning. The last axis is contiguous (stride 1); strides are in elements. data == nullptr means "not
// given".
struct Tensor {
  void* data = nullptr;
  int rank = 0;
  int64_t extents[3] = {0, 0, 0};
  int64_t strides[3] = {0, 0, 0};
  Dtype dtype = Dtype::f32;
  float scale = 1;  // e4m3: the value that a stored 1 stands for, a power of two

  HEDGEROW_INLINE explicit operator bool() const { return data != nullptr; }
  template <class T>
  HEDGEROW_INLINE T* as() const {
    return static_cast<T*>(data);
  }
  // First element of index i along axis 0.
  template <class T>
  HEDGEROW_INLINE T* row(int64_t i) const {
    return static_cast<T*>(data) + i * strides[0];
  }
};

// Dense views: [n], [rows, cols], [rows, heads, head_dim]; `row_stride` in elements, 0 = packed.
HEDGEROW_INLINE Tensor vector_view(const void* p, Dtype d, int64_t n) {
  return {const_cast<void*>(p), 1, {n, 0, 0}, {1, 0, 0}, d};
}
HEDGEROW_INLINE Tensor matrix_view(const void* p, Dtype d, int64_t rows, int64_t cols,
                                   int64_t row_stride = 0) {
  return {const_cast<void*>(p), 2, {rows, cols, 0}, {row_stride ? row_stride : cols, 1, 0}, d};
}
HEDGEROW_INLINE Tensor heads_view(const void* p, Dtype d, int64_t rows, int64_t heads, int64_t head_dim,
                                  int64_t row_stride = 0) {
  return {const_cast<void*>(p),
          3,
          {rows, heads, head_dim},
          {row_stride ? row_stride : heads * head_dim, head_dim, 1},
          d};
}

// e4m3 rows whose stored 1 stands for `scale`.
HEDGEROW_INLINE Tensor e4m3_view(const void* p, float scale, int64_t rows, int64_t cols) {
  return {const_cast<void*>(p), 2, {rows, cols, 0}, {cols, 1, 0}, Dtype::e4m3, scale};
}

// Owns zeroed memory, 64-byte aligned; large blocks ask the system for huge pages. Move-only. Throws Error
// when memory is out.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes);
  // Takes over memory that came from elsewhere (a device); `release` gives it back.
  Buffer(void* data, size_t bytes, void (*release)(void*)) : data_(data), bytes_(bytes), release_(release) {}
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  template <class T = void>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  void (*release_)(void*) = nullptr;  // null: free()
};

// Zeroed memory of which the system gives a page when it is first written: room to grow into without moving.
Buffer untouched_buffer(size_t bytes);

// bfloat16 <-> float, round to nearest even; NaN stays NaN. Plain bits, so that every backend and test
// agrees.
HEDGEROW_INLINE float bf16_to_f32(uint16_t h) {
  const uint32_t u = static_cast<uint32_t>(h) << 16;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}
HEDGEROW_INLINE uint16_t f32_to_bf16(float f) {
  uint32_t u;
  __builtin_memcpy(&u, &f, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
// IEEE half -> float, exact; and back, to nearest even: overflow becomes infinity, NaN stays NaN.
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
// e4m3 -> float, exact; and back, to nearest even: what is larger than 448 becomes 448, NaN stays NaN.
float e4m3_to_f32(uint8_t b);
uint8_t f32_to_e4m3(float f);
// The least power of two of which `most` (finite, not negative) is at most 448 times as much; 1 for 0.
float e4m3_scale(float most);

}  // namespace hedgerow
