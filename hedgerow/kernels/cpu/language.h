// SPDX-License-Identifier: Apache-2.0
// The CPU table's entries for language models that a level's kernels do; cut into tasks in language.cpp.
#pragma once

#include "hedgerow/kernels/cpu/cpu.h"
#include "hedgerow/kernels/cpu/level.h"

namespace hedgerow::cpu {

void quant_linear(Context& on, const LinearArgs& a, const Level& level) noexcept;
size_t quant_row_bytes(int k, bool ordered, RowsOf rows_of);
void embed(Context& on, const EmbedArgs& a, const Level& level) noexcept;
void cached_attention(Context& on, const CachedAttentionArgs& a, const Level& level) noexcept;
void top_columns(Context& on, const TopColumnsArgs& a, const Level& level) noexcept;

}  // namespace hedgerow::cpu
