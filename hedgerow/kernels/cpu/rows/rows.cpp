// SPDX-License-Identifier: Apache-2.0
// Ops that go over rows: norms, patches, scores, and the two sums over a sequence's rows. Built once per
// level.
//
// The order of every sum is fixed by the row's own length: several chains over the channels of a row, folded
// in one tree; one chain per channel, in row order, where the sum runs over rows - so a row that takes no
// part changes nothing.
#include "hedgerow/kernels/cpu/simd.h"

namespace hedgerow::cpu::HEDGEROW_LEVEL {
namespace {

// Independent partial sums: enough to hide the latency of an addition, and to keep chains short at one lane.
constexpr int kChains = kLanes > 1 ? 4 : 16;

struct Chains {
  Vec part[kChains];
  HEDGEROW_INLINE Chains() {
    for (int c = 0; c < kChains; ++c) part[c] = zero();
  }
  HEDGEROW_INLINE float total() const {
    Vec t[kChains];
    for (int c = 0; c < kChains; ++c) t[c] = part[c];
    for (int w = kChains / 2; w > 0; w /= 2)
      for (int c = 0; c < w; ++c) t[c] = add(t[c], t[c + w]);
    return reduce_add(t[0]);
  }
};

template <class T>
HEDGEROW_INLINE void add_values(Chains& sum, const T* x, int n) {
  int i = 0;
  for (; i + kChains * kLanes <= n; i += kChains * kLanes)
    for (int c = 0; c < kChains; ++c) sum.part[c] = add(sum.part[c], load(x + i + c * kLanes));
  for (int c = 0; c < kChains; ++c) {  // chain numbers stay constants: the sums stay in registers
    const int at = i + c * kLanes;
    if (at < n) sum.part[c] = add(sum.part[c], at + kLanes <= n ? load(x + at) : load_n(x + at, n - at));
  }
}

// sum += (x - shift)^2
template <class T>
HEDGEROW_INLINE void add_squares(Chains& sum, const T* x, int n, float shift) {
  const Vec s = set1(shift);
  int i = 0;
  for (; i + kChains * kLanes <= n; i += kChains * kLanes)
    for (int c = 0; c < kChains; ++c) {
      const Vec d = sub(load(x + i + c * kLanes), s);
      sum.part[c] = fma(d, d, sum.part[c]);
    }
  for (int c = 0; c < kChains; ++c) {
    const int at = i + c * kLanes;
    if (at >= n) continue;
    const Vec d =
        at + kLanes <= n ? sub(load(x + at), s) : keep_first(sub(load_n(x + at, n - at), s), n - at, zero());
    sum.part[c] = fma(d, d, sum.part[c]);
  }
}

template <class T>
void layer_norm_rows(const LayerNormArgs& a, int begin, int end) {
  const int dim = static_cast<int>(a.x.extents[1]);
  const float* gamma = a.gamma.as<float>();
  const float* beta = a.beta.as<float>();
  const int32_t* index = a.index.as<int32_t>();
  for (int i = begin; i < end; ++i) {
    const float* x = a.x.row<float>(index ? index[i] : i);
    T* out = a.out.row<T>(i);
    Chains sum, squares;
    add_values(sum, x, dim);
    const float mean = sum.total() / static_cast<float>(dim);
    add_squares(squares, x, dim, mean);
    const float scale = 1.0f / __builtin_sqrtf(squares.total() / static_cast<float>(dim) + a.eps);
    const Vec m = set1(mean), s = set1(scale);
    int c = 0;
    for (; c + kLanes <= dim; c += kLanes)
      store(out + c, fma(mul(sub(load(x + c), m), s), load(gamma + c), load(beta + c)));
    if (const int n = dim - c; n > 0)
      store_n(out + c, fma(mul(sub(load_n(x + c, n), m), s), load_n(gamma + c, n), load_n(beta + c, n)), n);
  }
}

template <class T>
void rms_norm_rows(const LayerNormArgs& a, int begin, int end) {
  const int dim = static_cast<int>(a.x.extents[1]);
  const float* gamma = a.gamma.as<float>();
  const int32_t* index = a.index.as<int32_t>();
  for (int i = begin; i < end; ++i) {
    const float* x = a.x.row<float>(index ? index[i] : i);
    T* out = a.out.row<T>(i);
    Chains squares;
    add_squares(squares, x, dim, 0);
    const Vec s = set1(1.0f / __builtin_sqrtf(squares.total() / static_cast<float>(dim) + a.eps));
    int c = 0;
    for (; c + kLanes <= dim; c += kLanes) store(out + c, mul(mul(load(x + c), s), load(gamma + c)));
    if (const int n = dim - c; n > 0)
      store_n(out + c, mul(mul(load_n(x + c, n), s), load_n(gamma + c, n)), n);
  }
}

void layer_norm(const LayerNormArgs& a, int begin, int end) {
  if (a.kind == NormKind::rms)
    return by_type(a.out.dtype, [&]<class T>() { rms_norm_rows<T>(a, begin, end); });
  by_type(a.out.dtype, [&]<class T>() { layer_norm_rows<T>(a, begin, end); });
}

template <class T>
HEDGEROW_INLINE void copy_pixels(T* out, const float* x, int n) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, load(x + i));
  if (i < n) store_n(out + i, load_n(x + i, n - i), n - i);
}

template <class T>
void patchify_rows(const PatchifyArgs& a, int image, int begin, int end) {
  const int patch = a.patch, width = a.widths[image], grid = width / patch;
  const int64_t plane = static_cast<int64_t>(a.heights[image]) * width;
  const int first = a.rows.begin(image);
  if (begin == 0)
    for (int r = 0; r < a.special; ++r)
      std::memset(a.out.row<T>(first + r), 0,
                  sizeof(T) * 3 * static_cast<size_t>(patch) * static_cast<size_t>(patch));
  for (int gy = begin; gy < end; ++gy)
    for (int channel = 0; channel < 3; ++channel)
      for (int y = 0; y < patch; ++y) {
        const float* x = a.images[image] + channel * plane + (static_cast<int64_t>(gy) * patch + y) * width;
        const int64_t at = (static_cast<int64_t>(channel) * patch + y) * patch;
        const int64_t row = first + a.special + static_cast<int64_t>(gy) * grid;
        if (patch == 16)  // a constant length for the usual case
          for (int gx = 0; gx < grid; ++gx) copy_pixels(a.out.row<T>(row + gx) + at, x + gx * 16, 16);
        else
          for (int gx = 0; gx < grid; ++gx) copy_pixels(a.out.row<T>(row + gx) + at, x + gx * patch, patch);
      }
}

void patchify(const PatchifyArgs& a, int image, int begin, int end) {
  by_type(a.out.dtype, [&]<class T>() { patchify_rows<T>(a, image, begin, end); });
}

template <class T>
void row_norm_rows(const RowNormArgs& a, int begin, int end) {
  const bool split = a.x.rank == 3;
  const int heads = split ? static_cast<int>(a.x.extents[1]) : 1;
  const int dim = static_cast<int>(a.x.extents[split ? 2 : 1]);
  float* out = a.out.as<float>();
  for (int i = begin; i < end; ++i) {
    Chains sum;
    for (int h = 0; h < heads; ++h)
      add_squares(sum, a.x.row<T>(i) + (split ? h * a.x.strides[1] : 0), dim, 0.0f);
    out[i] = __builtin_sqrtf(sum.total());
  }
}

void row_norm(const RowNormArgs& a, int begin, int end) {
  by_type(a.x.dtype, [&]<class T>() { row_norm_rows<T>(a, begin, end); });
}

template <class T>
void direction_rows(const DirectionArgs& a, int begin, int end) {
  const bool split = a.x.rank == 3;
  const int heads = split ? static_cast<int>(a.x.extents[1]) : 1;
  const int dim = static_cast<int>(a.x.extents[split ? 2 : 1]);
  const Vec share = set1(1.0f / static_cast<float>(heads));
  for (int i = begin; i < end; ++i) {
    const T* x = a.x.row<T>(i);
    float* out = a.out.row<float>(i);
    for (int c = 0; c < dim; c += kLanes) {
      const int n = dim - c < kLanes ? dim - c : kLanes;
      Vec sum = load_n(x + c, n);
      for (int h = 1; h < heads; ++h) sum = add(sum, load_n(x + h * a.x.strides[1] + c, n));
      store_n(out + c, mul(sum, share), n);
    }
    Chains squares;
    add_squares(squares, out, dim, 0.0f);
    const float norm = __builtin_sqrtf(squares.total());
    const Vec scale = set1(norm == 0.0f ? 0.0f : 1.0f / norm);
    for (int c = 0; c < dim; c += kLanes) {
      const int n = dim - c < kLanes ? dim - c : kLanes;
      store_n(out + c, mul(load_n(out + c, n), scale), n);
    }
  }
}

void direction(const DirectionArgs& a, int begin, int end) {
  by_type(a.x.dtype, [&]<class T>() { direction_rows<T>(a, begin, end); });
}

void fuse_dropped(const FuseDroppedArgs& a, int sequence, int column_begin, int column_end) {
  constexpr int kTile = 4;
  const int to_begin = a.to.begin(sequence), last = a.to.end(sequence) - 1;
  const int32_t* kept = a.kept.as<int32_t>();
  if (last < to_begin || kept[last] >= 0) return;
  const float* score = a.score.as<float>();
  const uint8_t* alive = a.alive.as<uint8_t>();
  for (int column = column_begin; column < column_end; column += kTile * kLanes) {
    Vec sum[kTile];
    int count[kTile];
    for (int t = 0; t < kTile; ++t) {
      const int n = column_end - column - t * kLanes;
      count[t] = n < 0 ? 0 : n > kLanes ? kLanes : n;
      sum[t] = zero();
    }
    int next = to_begin;  // the first kept row not yet passed
    for (int j = a.from.begin(sequence); j < a.from.end(sequence); ++j) {
      if (next < last && kept[next] == j) {
        ++next;
        continue;
      }
      if (j - a.from.begin(sequence) < a.special || (alive && !alive[j])) continue;
      const Vec weight = set1(score[j]);
      for (int t = 0; t < kTile; ++t)
        if (count[t]) sum[t] = fma(weight, load_n(a.x.row<float>(j) + column + t * kLanes, count[t]), sum[t]);
    }
    for (int t = 0; t < kTile; ++t)
      if (count[t]) store_n(a.out.row<float>(last) + column + t * kLanes, sum[t], count[t]);
  }
}

template <class T>
void global_half_columns(const GlobalHalfArgs& a, int sequence, int column_begin, int column_end) {
  const uint8_t* alive = a.alive.as<uint8_t>();
  const int begin =
      a.rows.begin(sequence) + (a.special < a.rows.length(sequence) ? a.special : a.rows.length(sequence));
  const int end = a.rows.end(sequence);
  int members = 0;
  for (int j = begin; j < end; ++j) members += !alive || alive[j];
  if (members == 0) return;
  const Vec count = set1(static_cast<float>(members));
  for (int c = column_begin; c < column_end; c += kLanes) {
    const int n = column_end - c < kLanes ? column_end - c : kLanes;
    Vec sum = zero();
    for (int j = begin; j < end; ++j)
      if (!alive || alive[j]) sum = add(sum, load_n(a.x.row<T>(j) + c, n));
    const Vec mean = div(sum, count);
    for (int j = begin; j < end; ++j)
      if (!alive || alive[j]) store_n(a.x.row<T>(j) + c, mean, n);
  }
}

void global_half(const GlobalHalfArgs& a, int sequence, int column_begin, int column_end) {
  by_type(a.x.dtype, [&]<class T>() { global_half_columns<T>(a, sequence, column_begin, column_end); });
}

// log_softmax(x)[0] = -log(1 + exp(x1 - x0)), in double: there are few rows, and the choice hangs on it.
void keep_log_prob(const KeepLogProbArgs& a, int begin, int end) {
  float* out = a.out.as<float>();
  for (int i = begin; i < end; ++i) {
    const float* x = a.x.row<float>(i);
    const double d = static_cast<double>(x[1]) - static_cast<double>(x[0]);
    const double tail = __builtin_log1p(__builtin_exp(d > 0 ? -d : d));
    out[i] = static_cast<float>(d > 0 ? -(d + tail) : -tail);
  }
}

void head_score(const HeadScoreArgs& a, int begin, int end) {
  const int heads = static_cast<int>(a.probs.extents[1]);
  const float* weight = a.weight.as<float>();
  float* out = a.out.as<float>();
  for (int i = begin; i < end; ++i) {
    const float* p = a.probs.row<float>(i);
    float sum = 0;
    for (int h = 0; h < heads; ++h) sum += p[h];
    sum /= a.divisor;
    out[i] = weight ? sum * weight[i] : sum;
  }
}

}  // namespace
}  // namespace hedgerow::cpu::HEDGEROW_LEVEL

namespace hedgerow::cpu {

void HEDGEROW_FILL(rows)(Level& level) {
#define HEDGEROW_ROW_OP(name, Args, ns) level.name = HEDGEROW_LEVEL::name;
#include "hedgerow/kernels/cpu/row_ops.def"
#undef HEDGEROW_ROW_OP
  level.patchify = HEDGEROW_LEVEL::patchify;
  level.fuse_dropped = HEDGEROW_LEVEL::fuse_dropped;
  level.global_half = HEDGEROW_LEVEL::global_half;
}

}  // namespace hedgerow::cpu
