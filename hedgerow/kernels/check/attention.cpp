// SPDX-License-Identifier: Apache-2.0
// Checked entry points: attention (ops/attention.h).
#include "hedgerow/kernels/check/check.h"

namespace hedgerow {

using namespace check;

void attention(Context& on, const AttentionArgs& a) {
  constexpr const char* kOp = "attention";
  const Turn turn(on, Op::attention);
  need_ragged(kOp, on, "q_rows", a.q_rows);
  need_ragged(kOp, on, "kv_rows", a.kv_rows);
  need_same_batch(kOp, "kv_rows", a.q_rows, a.kv_rows);
  need(kOp, "q", a.q, traits(on).rows, a.q_index ? 0 : a.q_rows.row_capacity, kAny, kAny);
  const int64_t heads = a.q.extents[1], head_dim = a.q.extents[2];
  if (heads > 4096) [[unlikely]]
    fail(kOp, "heads", "at most 4096", std::to_string(heads));
  if (head_dim != 32 && head_dim != 64 && head_dim != 128) [[unlikely]]
    fail(kOp, "head_dim", "32, 64 or 128", std::to_string(head_dim));
  need(kOp, "k", a.kv.k, DtypeSet(a.q.dtype), a.kv_rows.row_capacity, heads, head_dim);
  need(kOp, "v", a.kv.v, DtypeSet(a.q.dtype), a.kv_rows.row_capacity, heads, head_dim);
  need_if_given(kOp, "q_index", a.q_index, kI32, a.q_rows.row_capacity);
  need_if_given(kOp, "key_bias", a.key_bias, kF32, a.kv_rows.row_capacity);
  need(kOp, "out", a.out, traits(on).converts ? traits(on).rows : DtypeSet(a.q.dtype), a.q_rows.row_capacity,
       heads, head_dim);
  need_if_given(kOp, "first_row", a.first_row, kF32, a.kv_rows.row_capacity, heads);
  need_scratch(kOp, on, a.kv_rows.max_len, static_cast<int>(heads), static_cast<int>(head_dim));
  on.backend().ops.attention(on, a);
}

}  // namespace hedgerow
