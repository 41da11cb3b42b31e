// SPDX-License-Identifier: Apache-2.0
// What a packed row stands for, as the number that travels with it: p + 1 for patch p, -(t + 1) for special
// row t (CLS, distillation), 0 for rows that have no place of their own (fused rows, padding).
#pragma once

#include <cstdint>

namespace hedgerow {

inline constexpr int32_t kPlacelessRow = 0;
inline constexpr int32_t code_of_patch(int patch) { return patch + 1; }
inline constexpr int32_t code_of_special(int special) { return -(special + 1); }
// Row-major place of the patch, -1 for every other row.
inline constexpr int32_t patch_of(int32_t code) { return code > 0 ? code - 1 : -1; }
inline constexpr bool is_special(int32_t code) { return code < 0; }

}  // namespace hedgerow
