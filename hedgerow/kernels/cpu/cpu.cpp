// SPDX-License-Identifier: Apache-2.0
// The CPU tables: an op becomes a few tasks on the pool, each running one level's kernel on a range.
//
// How an op is cut never changes a bit of its result, so the cut may follow the thread count and the size of
// the work. Work too small to pay for a fork runs on the caller's thread.
#include "hedgerow/kernels/cpu/cpu.h"

#include <algorithm>
#include <cstring>

#include "hedgerow/core/clock.h"
#include "hedgerow/kernels/between.h"
#include "hedgerow/kernels/cpu/language.h"
#include "hedgerow/kernels/cpu/level.h"
#include "hedgerow/kernels/cpu/linear/split.h"
#include "hedgerow/kernels/cpu/tasks.h"

namespace hedgerow::cpu {
namespace {

double elements(const Tensor& x, int rows) {
  return static_cast<double>(rows) * static_cast<double>(x.rank > 1 ? x.extents[1] : 1) *
         static_cast<double>(x.rank > 2 ? x.extents[2] : 1);
}

// Of any dtype.
size_t row_bytes(const Tensor& x) {
  return static_cast<size_t>(elements(x, 1)) * static_cast<size_t>(bytes_of(x.dtype));
}
char* row_at(const Tensor& x, int64_t i) { return x.as<char>() + i * x.strides[0] * bytes_of(x.dtype); }

template <int kIndex>
struct Table {
  static const Level& level() { return level_at(kIndex); }

  static PackedLinear pack_linear(const float* w, const float* bias, int n, int k, Dtype dtype) {
    PackedLinear p;
    p.dtype = dtype;
    p.n = n;
    p.k = k;
    p.panel = level().panel(dtype);
    p.data = Buffer(level().packed_bytes(n, k, dtype));
    level().pack(w, n, k, dtype, p.data.as());
    if (bias) {
      const size_t panels = (static_cast<size_t>(n) + p.panel - 1) / p.panel;
      p.bias = Buffer(panels * p.panel * sizeof(float));
      std::memcpy(p.bias.as(), bias, static_cast<size_t>(n) * sizeof(float));
    }
    return p;
  }

  static size_t scratch_bytes(int max_len, int heads, int head_dim) {
    const int dim = heads * head_dim;
    return std::max({level().linear_scratch_bytes(), level().attention_scratch_bytes(max_len, head_dim),
                     level().match_scratch_bytes(max_len, dim), level().merge_scratch_bytes(max_len),
                     select_scratch_bytes(max_len)});
  }

  static void embed(Context& on, const EmbedArgs& a) noexcept { cpu::embed(on, a, level()); }
  static void top_columns(Context& on, const TopColumnsArgs& a) noexcept { cpu::top_columns(on, a, level()); }
  static void cached_attention(Context& on, const CachedAttentionArgs& a) noexcept {
    cpu::cached_attention(on, a, level());
  }

  static void linear(Context& on, const LinearArgs& a) noexcept {
    if (a.w->band_count) return quant_linear(on, a, level());
    constexpr int kRemembered = 64;  // workers
    int row_begin[kRemembered];      // of each one's last part
    std::fill_n(row_begin, std::min(on.threads(), kRemembered), -1);
    on.run(linear_tasks(a, level(), on.threads()), [&](int task, int worker) {
      LinearTile part = linear_tile(a, level(), on.threads(), task);
      if (worker < kRemembered) {
        part.copied =
            part.row_begin == row_begin[worker];  // parts either share their rows or have none in common
        row_begin[worker] = part.row_begin;
      }
      level().linear(a, part, on.scratch(worker));
    });
  }

  static void attention(Context& on, const AttentionArgs& a) noexcept {
    const int heads = static_cast<int>(a.q.extents[1]), pairs = a.q_rows.batch * heads;
    double products = 0;
    if (on.threads() > 1)
      for (int i = 0; i < a.q_rows.batch; ++i)
        products += static_cast<double>(a.q_rows.length(i)) * a.kv_rows.length(i);
    const double work_ns = products * static_cast<double>(heads * a.q.extents[2]) / 32;
    // Few (sequence, head) pairs that do not divide evenly are split by queries too; each part packs the keys
    // again.
    const int threads = on.threads(),
              parts = pairs < 4 * threads && pairs % threads != 0 && work_ns > 20000 ? threads : 1;
    for_ranges(on, pairs * parts, work_ns, [&](int begin, int end, int worker) {
      for (int i = begin; i < end; ++i) {
        const int pair = i / parts;
        level().attention(a, pair / heads, pair % heads, i % parts, parts, on.scratch(worker));
      }
    });
  }

#define HEDGEROW_ROW_OP(name, Args, ns)                                                      \
  static void name(Context& on, const Args& a) noexcept {                                    \
    const int rows = a.rows.rows();                                                          \
    for_ranges(on, rows, ns, [&](int begin, int end, int) { level().name(a, begin, end); }); \
  }
#include "hedgerow/kernels/cpu/row_ops.def"
#undef HEDGEROW_ROW_OP

  static void norm_linear(Context& on, const NormLinearArgs& a) noexcept {
    norm_then_linear(
        a, [&](const LayerNormArgs& n) { layer_norm(on, n); }, [&](const LinearArgs& l) { linear(on, l); });
  }
  static void residual_linear(Context& on, const ResidualLinearArgs& a) noexcept { linear(on, plain(a)); }
  static void feed_forward(Context& on, const FeedForwardArgs& a) noexcept {
    const BetweenRows hidden = hidden_rows(a);
    norm_linear(on, first_half(a, hidden.rows));
    residual_linear(on, second_half(a, hidden.rows));
  }

  static void patchify(Context& on, const PatchifyArgs& a) noexcept {
    int grid_rows = 0;  // of the tallest image
    for (int i = 0; i < a.rows.batch; ++i) grid_rows = std::max(grid_rows, a.heights[i] / a.patch);
    for_sequences(on, a.rows.batch, grid_rows, 1, 0.2 * elements(a.out, a.rows.rows()),
                  [&](int image, int begin, int end, int) {
                    const int last = std::min(end, a.heights[image] / a.patch);
                    if (begin < last) level().patchify(a, image, begin, last);
                  });
  }

  static void gather(Context& on, const GatherArgs& a) noexcept {
    const int rows = a.rows.rows();
    const int32_t* index = a.index.as<int32_t>();
    for_ranges(on, rows, 0.2 * elements(a.x, rows), [&](int begin, int end, int) {
      const size_t bytes = row_bytes(a.x);
      for (int i = begin; i < end; ++i) {
        if (index[i] < 0)
          std::memset(row_at(a.out, i), 0, bytes);
        else
          std::memcpy(row_at(a.out, i), row_at(a.x, index[i]), bytes);
      }
    });
  }

  static void scatter(Context& on, const ScatterArgs& a) noexcept {
    const int rows = a.rows.rows();
    const int32_t* index = a.index.as<int32_t>();
    for_ranges(on, rows, 0.2 * elements(a.x, rows), [&](int begin, int end, int) {
      const size_t bytes = row_bytes(a.x);
      for (int i = begin; i < end; ++i)
        if (index[i] >= 0) std::memcpy(row_at(a.out, index[i]), row_at(a.x, i), bytes);
    });
  }

  static void select(Context& on, const SelectArgs& a) noexcept {
    const int batch = a.rows.batch;
    // Each sequence writes to its own rows of `kept`, which are then closed up. kept_offsets carries the
    // counts.
    for_ranges(on, batch, 20.0 * a.rows.rows(), [&](int begin, int end, int worker) {
      for (int i = begin; i < end; ++i)
        a.kept_offsets[i + 1] =
            select_sequence(a, i, a.kept.as<int32_t>() + a.rows.begin(i), on.scratch(worker));
    });
    int32_t at = a.kept_offsets[0] = 0;
    for (int i = 0; i < batch; ++i) {
      const int32_t count = a.kept_offsets[i + 1];
      std::memmove(a.kept.as<int32_t>() + at, a.kept.as<int32_t>() + a.rows.begin(i),
                   static_cast<size_t>(count) * 4);
      a.kept_offsets[i + 1] = at += count;
    }
  }

  static void fuse_dropped(Context& on, const FuseDroppedArgs& a) noexcept {
    for_sequences(on, a.from.batch, static_cast<int>(a.x.extents[1]), 64, 0.1 * elements(a.x, a.from.rows()),
                  [&](int i, int begin, int end, int) { level().fuse_dropped(a, i, begin, end); });
  }

  static void global_half(Context& on, const GlobalHalfArgs& a) noexcept {
    const int dim = static_cast<int>(a.x.extents[1]), first = dim / 2;
    for_sequences(
        on, a.rows.batch, dim - first, 64, 0.1 * elements(a.x, a.rows.rows()),
        [&](int i, int begin, int end, int) { level().global_half(a, i, first + begin, first + end); });
  }

  static void match(Context& on, const MatchArgs& a) noexcept {
    double pairs = 0;
    for (int i = 0; i < a.rows.batch; ++i) pairs += 0.25 * a.rows.length(i) * a.rows.length(i);
    for_sequences(on, a.rows.batch, a.rows.max_len, 32,
                  pairs * static_cast<double>(a.directions.extents[1]) / 32,
                  [&](int i, int begin, int end, int worker) {
                    const int last = std::min(end, a.rows.length(i));
                    if (begin < last) level().match(a, begin, last, i, on.scratch(worker));
                  });
  }

  static void merge(Context& on, const MergeArgs& a) noexcept {
    for_sequences(
        on, a.from.batch, static_cast<int>(a.x.extents[1]), 64, 0.3 * elements(a.x, a.from.rows()),
        [&](int i, int begin, int end, int worker) { level().merge(a, i, begin, end, on.scratch(worker)); });
  }

  static double peak_flops(Context& on, Dtype dtype) {
    // Each thread does the same fixed work, about 2 ms of it; the slowest one ends the measurement, as it
    // ends an op.
    constexpr int64_t kRounds = 400'000;
    const Pool::Turn turn(on.pool());
    std::vector<double> flops(static_cast<size_t>(on.threads()), 0.0);
    const double begin = now_s();
    on.run(on.threads(),
           [&](int task, int) { flops[static_cast<size_t>(task)] = level().peak(dtype, kRounds); });
    const double elapsed = now_s() - begin;
    double sum = 0;
    for (const double f : flops) sum += f;
    return sum / elapsed;
  }

  static constexpr Backend make(const char* name, const char* description, bool (*runs_here)(),
                                const Traits& (*traits)(), const Presence& presence) {
    return {.name = name,
            .description = description,
            .runs_here = runs_here,
            .why_not = [] { return std::string(); },
            .traits = traits,
            .pack_linear = pack_linear,
            .pack_quant = pack_quant,
            .quant_row_bytes = quant_row_bytes,
            .scratch_bytes = scratch_bytes,
            .cache_scratch_bytes = [](int slots) { return cpu::cache_scratch_bytes(slots); },
            .peak_flops = peak_flops,
            .presence = presence,
            .memory = kHostMemory,
            .host = true,
            .folds_norm = [](Dtype, Dtype) { return false; },
            .reads_moments = [](const PackedNormLinear&, int) { return false; },
            .ops =
                {
#define HEDGEROW_ENTRY_here(op, Args) op
#define HEDGEROW_ENTRY_absent(op, Args) absent<Args>
#define HEDGEROW_OP(name, Args, cpu, cuda) .name = HEDGEROW_ENTRY_##cpu(name, Args),
#include "hedgerow/kernels/ops.def"
#undef HEDGEROW_OP
                }};
  }
};

constexpr Backend kTables[kLevels] = {
#define HEDGEROW_CPU_LEVEL(name, flags, description, weights, condition, presence) \
  Table<k_##name>::make(#name, description, has_##name, traits_of_##name, presence),
#include "hedgerow/kernels/cpu/levels.def"
#undef HEDGEROW_CPU_LEVEL
};

}  // namespace

const std::vector<const Backend*>& backends() {
  static const std::vector<const Backend*> all = [] {
    level_at(k_scalar);
    std::vector<const Backend*> found;
    for (const Backend& table : kTables) found.push_back(&table);
    return found;
  }();
  return all;
}

}  // namespace hedgerow::cpu
