// SPDX-License-Identifier: Apache-2.0
// The matrix product with bias, activation and residual: packing the weights, and one task of the product.
//
// Every output is one chain of multiply-adds over k from zero, whatever its tile. Built once per level.
#include "hedgerow/kernels/cpu/gelu.h"
#include "hedgerow/kernels/cpu/level.h"
#include "hedgerow/kernels/cpu/linear/tile.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {
namespace {

// Rows of x copied at a time, so that a panel of weights stays in the L2 beside them: half of 1 MiB, or, on
// processors without AVX-512, whose L2 has 256 or 512 KiB, a part of that. A little more where that makes it
// one copy: every further one reads all weights again.
#if defined(__AVX512F__)
constexpr int64_t kGroupBytes = 512 << 10, kCopyBytes = 640 << 10;
#else
constexpr int64_t kGroupBytes = 128 << 10, kCopyBytes = kGroupBytes;
#endif
constexpr int64_t kCopySteps = kCopyBytes / 4;
// Longest k of which a whole tile can be copied; of longer ones, rows are copied piece by piece, once per
// panel.
constexpr int kMaxSteps = static_cast<int>(kCopySteps / kMaxHeight / kChunk * kChunk);
// How far ahead in its panel a tile asks for weights: what memory delivers while one line is on its way.
constexpr int64_t kAheadBytes = 8192;
// Weights of one panel multiplied before the next tile gets its turn; sums wait in `acc` between two blocks.
constexpr int kBlockSteps = 1024;
constexpr int kAccFloats = static_cast<int>(kCopySteps / kBlockSteps + kMaxAtOnce * kMaxHeight) * kPanel;

template <class Format>
int64_t steps_of(int k) {
  return Format::kPairs ? (static_cast<int64_t>(k) + 1) / 2 : k;
}
// f<Format>() for the format of weights of this dtype. The checks let no other in.
template <class F>
HEDGEROW_INLINE auto by_format(Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::f32:
      return f.template operator()<F32Weights>();
    case Dtype::bf16:
      return f.template operator()<Bf16Weights>();
    case Dtype::f16:
    case Dtype::i32:
    case Dtype::u8:
    case Dtype::e4m3:
    case Dtype::i8:
      break;
  }
  __builtin_trap();
}
int64_t panels_of(int n) { return (static_cast<int64_t>(n) + kPanel - 1) / kPanel; }

// ----------------------------------------------------------------------------------------------------------
// packing

int panel(Dtype) { return kPanel; }

size_t packed_bytes(int n, int k, Dtype dtype) {
  return by_format(dtype, [&]<class Format>() {
    return static_cast<size_t>(panels_of(n) * steps_of<Format>(k) * Format::kStepBytes);
  });
}

HEDGEROW_INLINE void put(float* to, float w) { *to = w; }
HEDGEROW_INLINE void put(uint16_t* to, float w) { *to = f32_to_bf16(w); }

template <class Format>
void pack_as(const float* w, int n, int k, void* out) {
  constexpr int kPer = Format::kPairs ? 2 : 1;
  auto* to = static_cast<typename Format::X*>(out);
  const int64_t steps = steps_of<Format>(k);
  for (int64_t first = 0; first < n; first += kPanel)
    for (int64_t u = 0; u < steps; ++u)
      for (int64_t column = first; column < first + kPanel; ++column)
        for (int64_t i = u * kPer; i < (u + 1) * kPer; ++i)
          put(to++, column < n && i < k ? w[column * k + i] : 0.0f);
}

void pack(const float* w, int n, int k, Dtype dtype, void* out) {
  by_format(dtype, [&]<class Format>() { pack_as<Format>(w, n, k, out); });
}

// ----------------------------------------------------------------------------------------------------------
// copying x

HEDGEROW_INLINE void copy_chunk(float* to, const float* x) { __builtin_memcpy(to, x, 4 * kChunk); }
HEDGEROW_INLINE void copy_chunk(float* to, const uint16_t* x) {
#if defined(__AVX512BF16__)
  __builtin_memcpy(to, x, 4 * kChunk);
#else
  for (int i = 0; i < kChunk; i += kLanes) store(to + i, load(x + i));
#endif
}

// `count` values of each of `height` rows, in chunks; the last chunk ends in zeros.
template <class Format>
void copy_rows(float* to, const typename Format::X* x, int64_t stride, int height, int64_t count) {
  constexpr int kValues = Format::kPairs ? 2 * kChunk : kChunk;
  for (int r = 0; r < height; ++r, x += stride, to += kChunk) {
    float* line = to;
    int64_t i = 0;
    for (; i + kValues <= count; i += kValues, line += height * kChunk) copy_chunk(line, x + i);
    if (i < count) {
      typename Format::X last[kValues] = {};
      for (int64_t j = i; j < count; ++j) last[j - i] = x[j];
      copy_chunk(line, last);
    }
  }
}

// ----------------------------------------------------------------------------------------------------------
// the end of a tile

// y of vector v of one row, from its accumulator on.
template <Activation kAct>
HEDGEROW_INLINE Vec activate(Vec y) {
  if (kAct == Activation::gelu_erf) return gelu_erf(y);
  if (kAct == Activation::gelu_tanh) return gelu_tanh(y);
  return y;
}

// acc [height][kPanel] -> rows of out, at one panel.
template <Activation kAct, class Out>
void finish(const LinearArgs& args, const float* acc, int row, int height, int64_t panel) {
  const int64_t column = panel * kPanel, left = args.w->n - column;
  const float* bias = args.w->bias.as<float>();
  Vec add_bias[kVecs];
#pragma GCC unroll 4
  for (int v = 0; v < kVecs; ++v) add_bias[v] = bias ? load(bias + column + v * kLanes) : set1(-0.0f);
  Out* out = args.out.row<Out>(row) + column;
  const int64_t out_stride = args.out.strides[0];
  const float* residual = args.residual ? args.residual.row<float>(row) + column : nullptr;
  const int64_t residual_stride = args.residual.strides[0];
  if (left < kPanel) {
    for (int r = 0; r < height; ++r, acc += kPanel, out += out_stride)
      for (int v = 0; v * kLanes < left; ++v) {
        const int some = static_cast<int>(left - v * kLanes < kLanes ? left - v * kLanes : kLanes);
        Vec y = activate<kAct>(add(load(acc + v * kLanes), add_bias[v]));
        if (residual) y = add(y, load_n(residual + r * residual_stride + v * kLanes, some));
        store_n(out + v * kLanes, y, some);
      }
    return;
  }
  if (residual) {
    for (int r = 0; r < height; ++r, acc += kPanel, out += out_stride, residual += residual_stride)
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v)
        store(out + v * kLanes,
              add(activate<kAct>(add(load(acc + v * kLanes), add_bias[v])), load(residual + v * kLanes)));
    return;
  }
  for (int r = 0; r < height; ++r, acc += kPanel, out += out_stride)
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v)
      store(out + v * kLanes, activate<kAct>(add(load(acc + v * kLanes), add_bias[v])));
}

using FinishFn = void (*)(const LinearArgs&, const float* acc, int row, int height, int64_t panel);
template <Activation kAct>
FinishFn finish_to(Dtype out) {
  return by_type(out, []<class Out>() -> FinishFn { return finish<kAct, Out>; });
}
FinishFn finish_of(const LinearArgs& args) {
  switch (args.act) {
    case Activation::gelu_erf:
      return finish_to<Activation::gelu_erf>(args.out.dtype);
    case Activation::gelu_tanh:
      return finish_to<Activation::gelu_tanh>(args.out.dtype);
    default:  // silu_gated: weights of codes only
      break;
  }
  return finish_to<Activation::none>(args.out.dtype);
}

// ----------------------------------------------------------------------------------------------------------
// one task

int parts_of(int64_t total, int64_t most) { return static_cast<int>((total + most - 1) / most); }

struct Scratch {
  float copy[kCopySteps];
  float acc[kAccFloats];
};

// Order of the loops: group of rows, panel, block of k, tile. A group's copy of x and a block of weights
// share the L2.
template <class Format>
void run(const LinearArgs& args, LinearTile part, Scratch& s) {
  constexpr int kPer = Format::kPairs ? 2 : 1;
  constexpr int kAskLines = kAskEvery * Format::kStepBytes / 64;
  using X = typename Format::X;
  using Table = TileTable<Format, kMaxHeight>;
  const int n = args.w->n, k = args.w->k, rows = part.row_end - part.row_begin;
  if (rows <= 0) return;
  const int64_t steps = steps_of<Format>(k), padded = (steps + kChunk - 1) / kChunk * kChunk;
  const bool whole = steps <= kMaxSteps;  // the copy holds a tile's rows from end to end
  const int64_t block =
      whole ? (steps / parts_of(steps, kBlockSteps) + kChunk - 1) / kChunk * kChunk : kMaxSteps;
  const bool one_block = steps <= block;
  const char* weights = args.w->data.template as<char>();
  const float* bias = args.w->bias.template as<float>();
  const int64_t stride = args.x.strides[0];
  const int out_size = bytes_of(args.out.dtype);
  const FinishFn finish_tile = finish_of(args);
  const bool simple =
      args.act == Activation::none && bias && !(args.residual && args.out.dtype == Dtype::bf16);
  const Finish direct = !simple ? Finish::later : args.out.dtype == Dtype::bf16 ? Finish::bf16 : Finish::f32;

  TileArgs t{};
  t.panel_bytes = steps * Format::kStepBytes;
  t.out_stride = args.out.strides[0] * out_size;
  t.residual_stride = args.residual.strides[0];
  t.next_stride = stride * static_cast<int64_t>(sizeof(X));
  const int groups = whole && rows * padded <= kCopySteps
                         ? 1
                         : parts_of(rows, whole ? kGroupBytes / 4 / padded : kMaxHeight);
  for (int g = 0; g < groups; ++g) {
    const int group = part.row_begin + static_cast<int>(static_cast<int64_t>(rows) * g / groups);
    const int size = part.row_begin + static_cast<int>(static_cast<int64_t>(rows) * (g + 1) / groups) - group;
    // Tiles of `low` rows, the first `higher` of them one row higher: no thin tile at the end.
    const int tiles = parts_of(size, kMaxHeight), low = size / tiles, higher = size % tiles;
    const TileFn multiply_low = Table::one(low), multiply_higher = Table::one(low + 1);
    const int lines = tiles == 1 ? kAskLines : (kAskLines + tiles - 1) / tiles;
    int at_once = tiles > 1 ? 1 : panels_at_once(size);
    for (int panel = part.panel_begin; panel < part.panel_end; panel += at_once) {
      if (panel + at_once > part.panel_end) at_once = 1;
      const int64_t column = static_cast<int64_t>(panel) * kPanel;
      const bool full = n - column >= at_once * kPanel;
      const bool first = panel == part.panel_begin;
      t.out_bytes = full ? at_once * kPanel * out_size : 0;
      t.bias = bias ? bias + column : nullptr;
      for (int64_t u = 0; u < steps; u += block) {
        const int64_t some = steps - u < block ? steps - u : block, some_bytes = some * Format::kStepBytes;
        const bool last = u + some == steps;
        t.b = weights + panel * t.panel_bytes + u * Format::kStepBytes;
        t.steps = static_cast<int>(some);
        t.fresh = u == 0;
        t.finish = full && last ? direct : Finish::later;
        for (int i = 0, begin = 0, height; i < tiles; ++i, begin += height) {
          height = low + (i < higher);
          const int row = group + begin;
          const X* x = args.x.template row<X>(row);
          float* copy = s.copy + begin * padded;
          t.next_x = nullptr;
          if (!whole) {
            const int64_t values = k - u * kPer < some * kPer ? k - u * kPer : some * kPer;
            copy_rows<Format>(s.copy, x + u * kPer, stride, height, values);
            t.a = s.copy;
          } else {
            if (first && u == 0 && !(part.copied && groups == 1)) {
              copy_rows<Format>(copy, x, stride, height, k);
              if (row + height < part.row_end) t.next_x = reinterpret_cast<const char*>(x + height * stride);
            }
            t.a = copy + u * height;
          }
          // A block of weights comes from far away once for all tiles: each tile asks for its share of the
          // next block. The first tile has nobody before it, and a lone tile nobody beside it: they run ahead
          // in their own.
          const bool alone = tiles == 1 || (i == 0 && first && u == 0);
          const int64_t share = i * (some / kAskEvery * lines * 64);
          t.ahead = alone ? t.b + kAheadBytes / at_once : t.b + some_bytes + share;
          t.ahead_lines = alone ? kAskLines : share < some_bytes ? lines : 0;
          t.acc = one_block ? s.acc : s.acc + begin * kPanel;
          t.out = args.out.template row<char>(0) + row * t.out_stride + column * out_size;
          t.residual = args.residual ? args.residual.template row<float>(row) + column : nullptr;
          if (at_once > 1)
            Table::several(height)(t);
          else
            (i < higher ? multiply_higher : multiply_low)(t);
          if (last && t.finish == Finish::later)
            for (int p = 0; p < at_once; ++p)
              finish_tile(args, t.acc + p * height * kPanel, row, height, panel + p);
        }
      }
    }
  }
}

void linear(const LinearArgs& args, LinearTile part, void* scratch) {
  auto& s = *static_cast<Scratch*>(scratch);
  by_format(args.w->dtype, [&]<class Format>() { run<Format>(args, part, s); });
}

size_t linear_scratch_bytes() { return sizeof(Scratch); }

}  // namespace
}  // namespace hedgerow::cpu::HEDGEROW_LEVEL

namespace hedgerow::cpu {

void HEDGEROW_FILL(linear)(Level& level) {
  namespace here = HEDGEROW_LEVEL;
  level.panel = here::panel;
  level.pack = here::pack;
  level.packed_bytes = here::packed_bytes;
  level.linear = here::linear;
  level.linear_scratch_bytes = here::linear_scratch_bytes;
}

}  // namespace hedgerow::cpu
