// SPDX-License-Identifier: Apache-2.0
// What the CPU tables share with the rest of kernels/: the list of tables, and the ops that are built once
// for all levels.
#pragma once

#include <cstddef>
#include <vector>

#include "hedgerow/kernels/kernels.h"

namespace hedgerow::cpu {

// One table per instruction-set level, slowest first, whether or not it runs here.
const std::vector<const Backend*>& backends();

// Chooses for one sequence: writes its kept rows (ascending, -1 for an appended row) to `kept` and its
// alive_out, and returns how many it wrote: never more than the sequence has rows. scratch:
// select_scratch_bytes(length), 8-aligned.
int select_sequence(const SelectArgs& args, int sequence, int32_t* kept, void* scratch) noexcept;
size_t select_scratch_bytes(int max_len);

// Table entries that no level does differently.
void lead_rows(Context& on, const LeadRowsArgs& args) noexcept;
void key_bias(Context& on, const KeyBiasArgs& args) noexcept;
void tome_roles(Context& on, const TomeRolesArgs& args) noexcept;
void tome_order(Context& on, const TomeOrderArgs& args) noexcept;
void survivor_roles(Context& on, const SurvivorRolesArgs& args) noexcept;
void append_kv(Context& on, const AppendKvArgs& args) noexcept;
void compact_kv(Context& on, const CompactKvArgs& args) noexcept;
// The `count` best of one row, as TopColumnsArgs says.
void best_columns(const float* x, int columns, int count, int32_t* best, float* values);
void longest_path(Context& on, const LongestPathArgs& args) noexcept;

// Weights of codes lie alike on all levels.
PackedLinear pack_quant(const QuantSource* parts, int count, const float* bias, RowsOf rows_of);

}  // namespace hedgerow::cpu
