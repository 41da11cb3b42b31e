// SPDX-License-Identifier: Apache-2.0
// How products with codes, attention over a cache, and ops on tokens are cut into tasks.
#include "hedgerow/kernels/cpu/language.h"

#include <algorithm>

#include "hedgerow/kernels/cpu/quant/layout.h"
#include "hedgerow/kernels/cpu/tasks.h"

namespace hedgerow::cpu {

// Rows as codes take them: in int8, in the order of each band that has one of its own.
QuantRows rows_for(Context& on, const LinearArgs& a, const Level& level) noexcept {
  const PackedLinear& w = *a.w;
  QuantRows x{};
  char* room = static_cast<char*>(a.between.data);
  const int rows = a.rows.rows();
  const int64_t bytes = int8_row_bytes(w.k);
  int plain = -1;  // the band whose rows others of no order of their own share
  for (int b = 0; b < w.band_count; ++b) {
    const QuantBand& band = w.bands[b];
    x.f32[b] = a.x.as<float>(), x.stride[b] = a.x.strides[0];
    if (!band.order && plain >= 0) {
      x.int8[b] = x.int8[plain];
      continue;
    }
    if (!band.order) plain = b;
    if (w.rows_of == RowsOf::int8) {
      x.int8[b] = room, room += rows * bytes;
      for_ranges(on, rows, 0.3 * rows * w.k, [&](int begin, int end, int) {
        for (int r = begin; r < end; ++r) level.quant_rows(a.x.row<float>(r), w.k, band.order, x.int8[b], r);
      });
    } else if (band.order) {
      float* const to = reinterpret_cast<float*>(room);
      x.f32[b] = to, x.stride[b] = w.k, room += lines(static_cast<int64_t>(rows) * w.k * 4);
      for_ranges(on, rows, 1.0 * rows * w.k, [&](int begin, int end, int) {
        for (int r = begin; r < end; ++r)
          for (int c = 0; c < w.k; ++c)
            to[static_cast<int64_t>(r) * w.k + c] = a.x.row<float>(r)[band.order[c]];
      });
    }
  }
  return x;
}
void quant_linear(Context& on, const LinearArgs& a, const Level& level) noexcept {
  const PackedLinear& w = *a.w;
  const QuantRows x = rows_for(on, a, level);
  int panels = 0;
  for (int b = 0; b < w.band_count; ++b) panels += w.bands[b].panels;
  if (a.act == Activation::silu_gated) panels = w.bands[0].panels;
  const double work_ns = 0.02 * w.n * w.k * std::max(1.0, a.rows.rows() / 8.0);
  // Enough pieces that a thread which was held up is helped out, each a stream of some length.
  const int pieces = on.threads() == 1 || work_ns < 4000 ? 1 : std::min(panels, 6 * on.threads());
  on.run(a.rows.rows() ? pieces : 0, [&](int task, int) {
    level.quant_linear(a, x, static_cast<int>(int64_t{panels} * task / pieces),
                       static_cast<int>(int64_t{panels} * (task + 1) / pieces));
  });
}
size_t quant_row_bytes(int k, bool ordered, RowsOf rows_of) {
  return static_cast<size_t>(rows_of == RowsOf::int8 ? int8_row_bytes(k) : ordered ? lines(4ll * k) : 0);
}

void embed(Context& on, const EmbedArgs& a, const Level& level) noexcept {
  const int rows = a.rows.rows();
  for_ranges(on, rows, 2.0 * rows * a.w->k, [&](int begin, int end, int) {
    for (int i = begin; i < end; ++i) level.quant_row(*a.w, a.ids.as<int32_t>()[i], a.out.row<float>(i));
  });
}

void top_columns(Context& on, const TopColumnsArgs& a, const Level& level) noexcept {
  const int rows = a.rows.rows(), columns = static_cast<int>(a.x.extents[1]);
  constexpr int kRoom = 256;
  for_ranges(on, rows, 0.2 * rows * columns, [&](int begin, int end, int) {
    for (int row = begin; row < end; ++row) {
      float room[kRoom];
      const float* x = a.x.row<float>(row);
      best_columns(x, columns, a.count, a.columns.row<int32_t>(row),
                   a.values ? a.values.row<float>(row) : room);
      if (a.log_sums) a.log_sums.as<float>()[row] = level.log_sum(x, columns);
    }
  });
}

void cached_attention(Context& on, const CachedAttentionArgs& a, const Level& level) noexcept {
  const int kv_heads = a.cache.kv_heads, group = static_cast<int>(a.q.extents[1]) / kv_heads;
  // A task is at most so many queries of one kv head: their keys and values are read from near.
  constexpr int kMost = 8 * kCacheQueries;
  int tasks = 0;
  double keys = 0;
  for (int s = 0; s < a.rows.batch; ++s) {
    tasks += (a.rows.length(s) * group + kMost - 1) / kMost * kv_heads;
    keys += static_cast<double>(a.rows.length(s)) * (a.at.length[s] + a.rows.length(s));
  }
  const int small = tasks < 4 * on.threads() ? kCacheQueries : kMost;
  tasks = 0;
  for (int s = 0; s < a.rows.batch; ++s) tasks += (a.rows.length(s) * group + small - 1) / small * kv_heads;
  const auto one = [&](int task, int worker) {
    int s = 0;
    for (int here; task >= (here = (a.rows.length(s) * group + small - 1) / small * kv_heads); ++s)
      task -= here;
    const int queries = a.rows.length(s) * group, parts = (queries + small - 1) / small;
    const int begin = task % parts * small;
    level.cached_attention(a, s, task / parts, begin, std::min(queries, begin + small), on.scratch(worker));
  };
  if (keys * static_cast<double>(a.q.extents[1] * a.q.extents[2]) < 60000)
    for (int t = 0; t < tasks; ++t) one(t, 0);
  else
    on.run(tasks, one);
}

}  // namespace hedgerow::cpu
