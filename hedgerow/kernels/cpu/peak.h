// SPDX-License-Identifier: Apache-2.0
// How fast can this machine multiply and add? A loop of independent multiply-adds with everything in
// registers, once per instruction-set level, so that a benchmark can print the share of the peak measured
// right beside its own figure.
#pragma once

#include <cstdint>
#include <cstring>

#include "hedgerow/core/tensor.h"

namespace hedgerow::cpu {

// Runs `rounds` rounds on the calling thread and returns the floating-point operations done (a multiply-add
// is two). Dtype::bf16 is dpbf16 where the level has it, else the f32 loop: such a level widens and
// multiplies in f32.
#define HEDGEROW_DECLARE_PEAK(level) double peak_##level(Dtype dtype, int64_t rounds) noexcept;
HEDGEROW_DECLARE_PEAK(scalar)
HEDGEROW_DECLARE_PEAK(avx2)
HEDGEROW_DECLARE_PEAK(avx512)
HEDGEROW_DECLARE_PEAK(avx512bf16)
#undef HEDGEROW_DECLARE_PEAK

using PeakLoop = double (*)(Dtype, int64_t) noexcept;

// The loop of a CPU level, by the name its backend has; null for another backend. The caller makes sure that
// it runs here.
inline PeakLoop peak_loop(const char* level) {
  if (!std::strcmp(level, "scalar")) return peak_scalar;
  if (!std::strcmp(level, "avx2")) return peak_avx2;
  if (!std::strcmp(level, "avx512")) return peak_avx512;
  if (!std::strcmp(level, "avx512bf16")) return peak_avx512bf16;
  return nullptr;
}

}  // namespace hedgerow::cpu
