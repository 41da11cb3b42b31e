// SPDX-License-Identifier: Apache-2.0
// The levels of levels.def: which of them run here, and their kernels.
#include <cstring>

#include "hedgerow/kernels/cpu/level.h"

namespace hedgerow::cpu {

// The compiler's check covers the processor and the operating system's saving of the wide registers.
#define supports(feature) __builtin_cpu_supports(#feature)
#define HEDGEROW_CPU_LEVEL(name, flags, description, weights, condition, presence) \
  bool has_##name() {                                                              \
    static const bool has = condition;                                             \
    return has;                                                                    \
  }
#include "hedgerow/kernels/cpu/levels.def"
#undef HEDGEROW_CPU_LEVEL
#undef supports

namespace {

// Only the levels that run here are filled: even filling is code built for that level.
struct Levels {
  Level level[kLevels] = {};
  Levels() {
#define HEDGEROW_CPU_LEVEL(id, flags, description, weights, condition, presence) \
  if (has_##id()) {                                                              \
    fill_linear_##id(level[k_##id]);                                             \
    fill_quant_##id(level[k_##id]);                                              \
    fill_cache_##id(level[k_##id]);                                              \
    fill_attention_##id(level[k_##id]);                                          \
    fill_rows_##id(level[k_##id]);                                               \
    fill_match_##id(level[k_##id]);                                              \
    fill_peak_##id(level[k_##id]);                                               \
    level[k_##id].name = #id;                                                    \
  }
#include "hedgerow/kernels/cpu/levels.def"
#undef HEDGEROW_CPU_LEVEL
  }
};

}  // namespace

const Level& level_at(int index) {
  static const Levels levels;
  return levels.level[index];
}

// Rows and the residual stream are widened to f32 wherever they are computed with.
#define HEDGEROW_CPU_LEVEL(name, flags, description, weights_, condition, presence) \
  const Traits& traits_of_##name() {                                                \
    static constexpr Traits traits{.weights = weights_,                             \
                                   .rows = {Dtype::f32, Dtype::bf16},               \
                                   .residual = Dtype::f32,                          \
                                   .codes = true,                                   \
                                   .converts = true};                               \
    return traits;                                                                  \
  }
#include "hedgerow/kernels/cpu/levels.def"
#undef HEDGEROW_CPU_LEVEL

const Level* level_named(const char* name) {
  for (int i = 0; i < kLevels; ++i)
    if (level_at(i).name && !std::strcmp(level_at(i).name, name)) return &level_at(i);
  return nullptr;
}

}  // namespace hedgerow::cpu
