// SPDX-License-Identifier: Apache-2.0
// The seam inside the CPU backend: what is compiled once per instruction-set level, and what is compiled
// once.
//
//   cpu.cpp        (baseline flags)  splits an op into independent tasks, runs them on the pool
//   linear/linear.cpp, attention/attention.cpp, rows/rows.cpp, rows/match.cpp  (built per level)  do one
//   task: a
//     range of rows, of (sequence, head)...
//   rows/select.cpp  (baseline flags)  ordering and sampling: no arithmetic worth a vector
//
// A level's kernels see plain aggregates only, live in a namespace named after the level (HEDGEROW_LEVEL),
// and know nothing of threads. Each family file exports one fill function.
#pragma once

#include "hedgerow/kernels/kernels.h"

namespace hedgerow::cpu {

// A part of a linear op: rows [row_begin, row_end) x panels [panel_begin, panel_end). copied: the part that
// this scratch was used for before was of the same op and rows, so that their copy still lies there.
struct LinearTile {
  int row_begin, row_end, panel_begin, panel_end;
  bool copied = false;
};

// What the bands of a product with weights of codes read of x: f32 rows, or int8 rows (quant/layout.h).
struct QuantRows {
  const float* f32[kMostBands];
  int64_t stride[kMostBands];
  void* int8[kMostBands];
};

// Queries that attention over a cache works on at a time, and room for their scores.
inline constexpr int kCacheQueries = 4;
HEDGEROW_INLINE size_t cache_scratch_bytes(int slots) {
  return sizeof(float) * kCacheQueries * (static_cast<size_t>(slots) + kCacheBlock);
}

// One level's kernels. [begin, end) are output rows; columns [column_begin, column_end) are a part of the
// last axis.
struct Level {
  const char* name;
  int (*panel)(Dtype dtype);                                           // outputs per packed panel
  void (*pack)(const float* w, int n, int k, Dtype dtype, void* out);  // fills ceil(n/panel) panels
  size_t (*packed_bytes)(int n, int k, Dtype dtype);
  void (*linear)(const LinearArgs&, LinearTile, void* scratch);
  size_t (*linear_scratch_bytes)();

  // Panels [begin, end) of all bands one after the other; of a gated product, of both bands alike.
  void (*quant_linear)(const LinearArgs&, const QuantRows& x, int begin, int end);
  // Row `row` of the int8 rows at `to`, from f32 x [k] in the order given (or null).
  void (*quant_rows)(const float* x, int k, const int32_t* order, void* to, int64_t row);
  // Row `id` of w, one band, in f32.
  void (*quant_row)(const PackedLinear& w, int id, float* to);

  // Part `part` of `parts` of the queries of one (sequence, head); each part packs the keys anew.
  // scratch: at least attention_scratch_bytes(max kv length, head_dim).
  void (*attention)(const AttentionArgs&, int sequence, int head, int part, int parts, void* scratch);
  size_t (*attention_scratch_bytes)(int max_len, int head_dim);

  // The logarithm of the sum of e^x, over n values.
  float (*log_sum)(const float* x, int n);
  // Queries [begin, end) of one kv head of a batch entry: row by row, in a row head by head. scratch:
  // cache_scratch_bytes().
  void (*cached_attention)(const CachedAttentionArgs&, int sequence, int kv_head, int begin, int end,
                           void* scratch);

#define HEDGEROW_ROW_OP(name, Args, ns) void (*name)(const Args&, int begin, int end);
#include "hedgerow/kernels/cpu/row_ops.def"
#undef HEDGEROW_ROW_OP
  void (*patchify)(const PatchifyArgs&, int image, int grid_row_begin, int grid_row_end);
  void (*fuse_dropped)(const FuseDroppedArgs&, int sequence, int column_begin, int column_end);
  void (*global_half)(const GlobalHalfArgs&, int sequence, int column_begin,
                      int column_end);  // inside [dim/2, dim)
  void (*match)(const MatchArgs&, int begin, int end, int sequence,
                void* scratch);  // [begin, end) inside the sequence
  size_t (*match_scratch_bytes)(int max_len, int dim);
  void (*merge)(const MergeArgs&, int sequence, int column_begin, int column_end, void* scratch);
  size_t (*merge_scratch_bytes)(int max_len);

  // A loop of independent multiply-adds with everything in registers, `rounds` times on the calling thread;
  // returns the floating-point operations done (a multiply-add is two): what speeds are a share of. bf16:
  // where the level multiplies it, else the f32 loop, for then it widens and multiplies in f32.
  double (*peak)(Dtype dtype, int64_t rounds) noexcept;
  bool multiplies_bf16;  // sums of pairs of bf16, by an instruction of its own
};

enum LevelIndex {
#define HEDGEROW_CPU_LEVEL(name, flags, description, weights, condition, presence) k_##name,
#include "hedgerow/kernels/cpu/levels.def"
#undef HEDGEROW_CPU_LEVEL
  kLevels
};

// What a level's table says of itself: does it run here, and what is legal.
#define HEDGEROW_CPU_LEVEL(name, flags, description, weights, condition, presence) \
  bool has_##name();                                                               \
  const Traits& traits_of_##name();
#include "hedgerow/kernels/cpu/levels.def"
#undef HEDGEROW_CPU_LEVEL

// The kernels of a level, filled before this first returns; empty where the level does not run here.
const Level& level_at(int index);
// The kernels of the level of this name; null: there is none, or it does not run here.
const Level* level_named(const char* name);

// Declares fill_linear_avx512(Level&) and so on, for every level.
#define HEDGEROW_CPU_LEVEL(level, flags, description, weights, condition, presence) \
  void fill_linear_##level(Level&);                                                 \
  void fill_quant_##level(Level&);                                                  \
  void fill_cache_##level(Level&);                                                  \
  void fill_attention_##level(Level&);                                              \
  void fill_rows_##level(Level&);                                                   \
  void fill_match_##level(Level&);                                                  \
  void fill_peak_##level(Level&);
#include "hedgerow/kernels/cpu/levels.def"
#undef HEDGEROW_CPU_LEVEL

}  // namespace hedgerow::cpu

// Inside a per-level file: HEDGEROW_LEVEL is the level's name; HEDGEROW_FILL(linear) is this level's fill
// function.
#define HEDGEROW_PASTE2(a, b) a##b
#define HEDGEROW_PASTE(a, b) HEDGEROW_PASTE2(a, b)
#define HEDGEROW_FILL(family) HEDGEROW_PASTE(fill_##family##_, HEDGEROW_LEVEL)
