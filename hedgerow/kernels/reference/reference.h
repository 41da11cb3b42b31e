// SPDX-License-Identifier: Apache-2.0
// What every op means: plain scalar loops in double, one function per op. The only oracle of the tests; it
// shares no code with the backends and is never fast.
//
// Each takes the op's own args (offsets in host memory) and returns the result instead of writing it, live
// rows packed.
#pragma once

#include <cstdint>
#include <vector>

#include "hedgerow/kernels/kernels.h"

namespace hedgerow::reference {

// w is row-major [n, k] as the backend sees it: rounded to the dtype of args.w, of which nothing else is
// looked at.
std::vector<double> linear(const LinearArgs& args, const float* w, const float* bias, int n, int k);
// The weights as they were packed.
std::vector<double> norm_linear(const NormLinearArgs& args, const NormLinearWeights& w);
std::vector<double> residual_linear(const ResidualLinearArgs& args, const float* w, const float* bias);
std::vector<double> feed_forward(const FeedForwardArgs& args, const NormLinearWeights& w1, const float* w2,
                                 const float* bias2);
// [rows, 2]: sum and sum of squares of each row, which Stream::moments add up to.
std::vector<double> moments_of_rows(const Tensor& x, const Ragged& rows);
// [rows]: what a stored 1 of an int8 row stands for, a 127th of its largest value.
std::vector<double> row_scales(const Tensor& x, const Ragged& rows);
std::vector<double> layer_norm(const LayerNormArgs& args);

struct Attended {
  std::vector<double> out;        // [q rows, heads, head_dim]
  std::vector<double> first_row;  // [kv rows, heads]; rows of sequences without a query are 0
};
Attended attention(const AttentionArgs& args);

std::vector<double> patchify(const PatchifyArgs& args);
std::vector<double> gather(const GatherArgs& args);
std::vector<double> scatter(
    const ScatterArgs& args);  // all extents[0] rows of out: its present content, then the rows

std::vector<double> row_norm(const RowNormArgs& args);
std::vector<double> head_score(const HeadScoreArgs& args);

struct Selected {
  std::vector<int32_t> kept, offsets;
  std::vector<uint8_t> alive;  // [rows]
};
Selected select(const SelectArgs& args);

std::vector<double> fuse_dropped(
    const FuseDroppedArgs& args);  // out's live rows: present content where left alone
std::vector<double> global_half(const GlobalHalfArgs& args);  // x's live rows
std::vector<double> keep_log_prob(const KeepLogProbArgs& args);
std::vector<double> direction(const DirectionArgs& args);

struct Matched {
  std::vector<int32_t> best;
  std::vector<double> similarity;
};
Matched match(const MatchArgs& args);

struct Merged {
  std::vector<double> out, out_size;
};
Merged merge(const MergeArgs& args);

std::vector<int32_t> lead_rows(const LeadRowsArgs& args);
std::vector<double> key_bias(const KeyBiasArgs& args);
std::vector<uint8_t> tome_roles(const TomeRolesArgs& args);
struct TomeOrder {
  std::vector<int32_t> into, kept, offsets;
};
TomeOrder tome_order(const TomeOrderArgs& args);
std::vector<uint8_t> survivor_roles(const SurvivorRolesArgs& args);

// [n, k], exactly: what each code stands for, columns in the order of x.
std::vector<double> quant_values(const QuantSource& source);
// w: those of all bands, one behind the other; bias of all of them or null.
std::vector<double> quant_linear(const LinearArgs& args, const std::vector<double>& w, const float* bias);
std::vector<double> embed(const EmbedArgs& args, const QuantSource& w);

struct Best {
  std::vector<int32_t> columns;          // [rows, count]
  std::vector<double> values, log_sums;  // [rows, count], [rows]
};
Best top_columns(const TopColumnsArgs& args);
struct LongestPath {
  std::vector<std::vector<int32_t>> paths;  // of each batch entry
};
LongestPath longest_path(const LongestPathArgs& args);

// Turned rows and what a cache holds of one sequence, in double: [slots, kv_heads, head_dim].
struct Appended {
  std::vector<double> q, k;  // live rows
};
Appended append_kv(const AppendKvArgs& args);
// keys, values: of each cache sequence, [slots, kv_heads, head_dim].
using CacheRows = std::vector<std::vector<double>>;
std::vector<double> cached_attention(const CachedAttentionArgs& args, const CacheRows& keys,
                                     const CacheRows& values);
// What compact_kv makes of the keys or the values of one layer.
CacheRows compact_kv(const CompactKvArgs& args, const CacheRows& of, int slot_size);

}  // namespace hedgerow::reference
