// SPDX-License-Identifier: Apache-2.0
// How a CPU's cache lies (ops/cache.h): a sequence's head after the other; keys in blocks of 16,
// [head_dim][16], so that a vector of keys is one load; values a slot after the other, [head_dim].
#pragma once

#include "hedgerow/kernels/ops/cache.h"

namespace hedgerow::cpu {

// In elements: where head `head` of a sequence begins, in k and in v.
HEDGEROW_INLINE int64_t head_at(const KvCache& c, int64_t sequence, int head) {
  return (sequence * c.kv_heads + head) * c.slots * c.head_dim;
}
// Of channel 0 of a slot's key, behind head_at(); channels are kCacheBlock apart.
HEDGEROW_INLINE int64_t key_at(const KvCache& c, int64_t slot) {
  return slot / kCacheBlock * kCacheBlock * c.head_dim + slot % kCacheBlock;
}

}  // namespace hedgerow::cpu
