// SPDX-License-Identifier: Apache-2.0
// Keys and values that stay between passes, and what is done with them. How to read it: kernels.h.
#pragma once

#include <cstdint>

#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"

namespace hedgerow {

// The keys and values of one layer, of `sequences` sequences with room for `slots` keys each: memory of
// cache_bytes() that only ops look into. A sequence's slots are filled from 0 on, with slack behind.
struct KvCache {
  void *k = nullptr, *v = nullptr;
  Dtype dtype = Dtype::f16;  // f16 or f32
  int kv_heads = 0, head_dim = 0;
  int sequences = 0, slots = 0;  // slots: a multiple of kCacheBlock
};
inline constexpr int kCacheBlock = 16;
// Of k, and of v.
HEDGEROW_INLINE constexpr int64_t cache_bytes(const KvCache& c) {
  return int64_t{c.sequences} * c.slots * c.kv_heads * c.head_dim * bytes_of(c.dtype);
}

// Which sequences of a cache a batch works on: batch entry i is cache sequence `sequence[i]`, of which
// `length[i]` keys are filled, and behind those `pending[i]` are rows of a tree that earlier passes began
// (null: none). All i32 [batch], where the backend computes. Row r of a pass is row pending + r of its tree.
struct Cached {
  const int32_t* sequence = nullptr;
  const int32_t* length = nullptr;
  const int32_t* pending = nullptr;

  HEDGEROW_INLINE int begun(int i) const { return pending ? pending[i] : 0; }
};

// Rotary embedding (RoFormer) of q and k, both in place, and k and v to the slots behind those filled. Pair i
// of a head is (i, i + head_dim / 2), turned by the angle whose cosine and sine stand in `rotation`.
struct AppendKvArgs {
  Tensor q;          // f32 [rows, heads, head_dim]
  Tensor k, v;       // f32 [rows, kv_heads, head_dim]
  Tensor positions;  // i32 [rows]; in [0, rotation's rows)
  Tensor rotation;   // f32 [positions, head_dim]: cosines of a half, then sines
  KvCache to;
  Cached at;
  Ragged rows;  // new rows of each batch entry; those filled and these are at most to.slots
};

// Which keys a row sees: all that are filled, and
enum class Visibility : uint8_t {
  causal,  // those pending, of the rows in front of it and its own
  tree,    // those of its tree whose bit stands in its ancestor word, its own among them; at most 64
};

// Softmax attention of new rows over a cache that holds their keys already. Query head h reads kv head
// h / (heads / kv_heads). Sums over keys run in the order of the keys that a row sees, whatever slots those
// lie in and whatever else is in the cache or the pass: a row's bits are those it has in a pass of its own.
struct CachedAttentionArgs {
  Tensor q;  // f32 [rows, heads, head_dim]; heads a multiple of kv_heads; head_dim at most 256
  KvCache cache;
  Cached at;  // lengths before this pass
  Visibility visibility = Visibility::causal;
  Tensor ancestors = {};  // tree: i32 [rows, 2], the word's low half first; bit i: row i of the same tree
  float scale = 0;        // usually 1 / sqrt(head_dim)
  Tensor out;             // f32 [rows, heads, head_dim]
  Ragged rows;
};

// The ancestor word of a row, where the host can see it.
HEDGEROW_INLINE uint64_t ancestors_of(const CachedAttentionArgs& a, int64_t row) {
  const auto* halves = a.ancestors.row<uint32_t>(row);
  return halves[0] | static_cast<uint64_t>(halves[1]) << 32;
}

// Closes up what a pass appended: of each batch entry the slots of the rows in `path` (ascending, counted
// from its filled length on) become those behind its filled length, in all layers.
struct CompactKvArgs {
  const KvCache* layers = nullptr;  // [count], in host memory
  int count = 0;
  Cached at;    // lengths before that pass
  Tensor path;  // i32 [path rows]
  Ragged rows;  // path's rows of each batch entry
};

}  // namespace hedgerow
