// SPDX-License-Identifier: Apache-2.0
// Products: choice of the tile, packing of weights, and the f32 path.
#include <algorithm>
#include <cmath>
#include <vector>

#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/linear/lone_rows.cuh"
#include "hedgerow/kernels/cuda/linear/plain.cuh"
#include "hedgerow/kernels/cuda/linear/small_queue.h"
#include "hedgerow/kernels/cuda/memory.h"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {

cudaError_t linear_f16(cudaStream_t, const Product&, const LinearParams&, LinearPlan);
cudaError_t linear_bf16(cudaStream_t, const Product&, const LinearParams&, LinearPlan);
cudaError_t linear_e4m3(cudaStream_t, const Product&, const LinearParams&, LinearPlan);
cudaError_t linear_i8(cudaStream_t, const Product&, const LinearParams&, LinearPlan);
cudaError_t linear_staged_f16(cudaStream_t, const Product&, const LinearParams&, LinearPlan);
cudaError_t linear_staged_bf16(cudaStream_t, const Product&, const LinearParams&, LinearPlan);

namespace {

constexpr int kMostSmall = 2000;  // rows that small tiles were timed with
constexpr int kPanel = 256;       // no tile is wider

template <int ACTIVATION>
cudaError_t linear_f32(cudaStream_t stream, const Product& a, const LinearParams& p) {
  const dim3 grid((p.n + 63) / 64, (a.rows.row_capacity + 63) / 64);
  return launch<linear_plain<float, ACTIVATION>>(stream, {grid, 256}, a.x.as<const float>(), a.x.strides[0],
                                                 a.w->data.as<const float>(), p);
}

bool aligned(const Tensor& t, int bytes) {
  return reinterpret_cast<uintptr_t>(t.data) % bytes == 0 && t.strides[0] * bytes_of(t.dtype) % bytes == 0;
}

// Tiles that serve where x, the residual and out are not of one dtype. Device time in us, fitted to sweeps
// over 108 products of ViT-T, -S and -B from 99 to 50,432 rows on an H200: so much to start, so much for
// every wave of tiles, for every 64 of k in it, and for a residual.
struct TileCost {
  LinearTile tile;
  int split, rows, cols, resident;  // blocks per multiprocessor
  float start, wave, step, residual;
};
constexpr TileCost kCosts[] = {
    {LinearTile::split_64x64, 1, 64, 64, 2, -0.76f, 2.97f, 0.32f, 1.26f},
    {LinearTile::split_64x64, 2, 64, 64, 2, -0.79f, 3.86f, 0.31f, 0.05f},
    {LinearTile::split_64x64, 4, 64, 64, 2, -0.86f, 3.81f, 0.37f, 0.0f},
    {LinearTile::split_64x64, 8, 64, 64, 2, -1.12f, 3.77f, 0.57f, 0.11f},
    {LinearTile::split_128x64, 1, 128, 64, 1, -0.32f, 2.71f, 0.33f, 1.15f},
    {LinearTile::split_128x64, 2, 128, 64, 1, -0.36f, 3.79f, 0.30f, 0.07f},
    {LinearTile::split_128x64, 4, 128, 64, 1, -0.87f, 4.13f, 0.32f, 0.0f},
    {LinearTile::split_128x64, 8, 128, 64, 1, -0.87f, 4.31f, 0.40f, 0.0f},
    {LinearTile::split_128x128, 1, 128, 128, 1, -0.92f, 4.75f, 0.41f, 2.49f},
    {LinearTile::split_128x128, 2, 128, 128, 1, -0.69f, 5.51f, 0.38f, 0.34f},
    {LinearTile::split_128x128, 4, 128, 128, 1, -1.11f, 5.46f, 0.40f, 0.0f},
    {LinearTile::split_128x128, 8, 128, 128, 1, -1.54f, 5.56f, 0.58f, 0.0f},
};
// The same for tiles in turns, on an H100: the waves are what turns_end() counts; a residual is paid once, a
// GELU every turn, and traffic for every 10^6 outputs written or read as a residual.
struct TurnCost {
  LinearTile tile;
  int cols;
  float start, turn, step, residual, gelu, traffic;
};
constexpr TurnCost kTurnCosts[] = {
    {LinearTile::pingpong_192, 192, 3.07f, -0.048f, 0.401f, 0, 1.082f, 0.588f},
    {LinearTile::pingpong_128, 128, 2.53f, -0.208f, 0.320f, 0, 0.710f, 0.529f},
};
constexpr TurnCost kEightBitCosts[] = {
    {LinearTile::pingpong_192, 192, 1.8f, 0.6f, 0.55f, 0.3f, 0, 0},
    {LinearTile::pingpong_128, 128, 2.0f, 0.3f, 0.455f, 0, 0, 0},
};
// us from which on blocks share the rows they fetch. In short bursts it makes no difference; under lasting
// load, where power sets the clock, it takes 6 % off.
constexpr float kSharingPays = 45;

int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A product in turns by `c`: what it may take, and how it is cut. `steps`: of 128 bytes of k.
struct Turning {
  int bands, columns, high;
  float us;

  Turning(const TurnCost& c, int rows, int n, int64_t steps, bool residual, Activation act)
      : bands(static_cast<int>(up(rows, 64))), columns(static_cast<int>(up(n, c.cols))) {
    const int teams = std::max(1, device().multiprocessors);
    high = high_tiles(bands, columns, teams);
    const float turns = 0.1f * static_cast<float>(turns_end(bands, high, columns, teams));
    us = c.start +
         turns * (c.turn + c.step * static_cast<float>(steps) + (act == Activation::none ? 0.0f : c.gelu)) +
         (residual ? c.residual : 0.0f) +
         c.traffic * static_cast<float>(rows) * static_cast<float>(n) * (residual ? 2e-6f : 1e-6f);
  }
  LinearPlan plan(const TurnCost& c) const {
    const bool share = c.tile == LinearTile::pingpong_192 && columns % 2 == 0 && us > kSharingPays;
    return {.tile = c.tile, .share = share ? Share::rows : Share::none};
  }
};

cudaError_t queue_small(cudaStream_t stream, const Product& a, const LinearPlan& plan) {
  const bool f16 = a.w->dtype == Dtype::f16;
  if (a.norm_gamma || a.divided)
    return f16 ? linear_small_norm_f16(stream, a, plan) : linear_small_norm_bf16(stream, a, plan);
  return f16 ? linear_small_f16(stream, a, plan) : linear_small_bf16(stream, a, plan);
}

// The best plan for rows as they are, and what it may take. alike: of one dtype all through, so that staged
// tiles serve, which are ahead of small ones and of those that a cluster may split.
LinearGuess guess(int rows, int n, int k, bool residual, bool alike, Activation act) {
  // Of so many lines of 64 values.
  const auto crowding = [&](int64_t lines) {
    return rows <= kCrowdedRows ? kCrowding * 128e-6f * static_cast<float>(lines) : 0.0f;
  };
  const int64_t steps = up(k, 64), processors = std::max(1, device().multiprocessors);
  LinearGuess best;
  const auto offer = [&](const LinearPlan& plan, float us) {
    if (best.us == 0 || us < best.us) best = {plan, us};
  };
  if (alike) {
    best = staged_guess(rows, n, k, residual, act);
  } else {
    if (rows <= kMostSmall) best = small_guess(rows, n, k, SmallRows::plain);
    for (const TileCost& c : kCosts) {
      if (c.split > 1 && steps < 2 * c.split) continue;
      const int64_t tiles = up(rows, c.rows) * up(n, c.cols);
      const float waves = static_cast<float>(up(tiles * c.split, processors * c.resident));
      offer({c.tile, c.split},
            c.start +
                waves * (c.wave + c.step * static_cast<float>(steps) / static_cast<float>(c.split) +
                         (residual ? c.residual : 0.0f)) +
                crowding(tiles * steps * (c.rows + c.cols)));
    }
  }
  for (const TurnCost& c : kTurnCosts) {
    const Turning t(c, rows, n, steps, residual, act);
    offer(t.plan(c), t.us + crowding(t.columns * steps * (t.bands * 64 + (t.bands - t.high) * c.cols)));
  }
  return best;
}

template <size_t N>
LinearPlan best_turns(const TurnCost (&costs)[N], int rows, int n, int64_t steps, bool residual,
                      Activation act) {
  LinearPlan best;
  float least = 0;
  for (const TurnCost& c : costs) {
    const Turning t(c, rows, n, steps, residual, act);
    if (least == 0 || t.us < least) best = t.plan(c), least = t.us;
  }
  return best;
}

}  // namespace

bool takes_eight_bits() { return device().hopper(); }

LinearPlan linear_plan_eight_bits(int rows, int n, int k, bool residual) {
  return best_turns(kEightBitCosts, rows, n, up(k, 128), residual, Activation::none);
}

LinearPlan linear_plan(int rows, int n, int k, bool residual, bool alike, Activation act) {
  return guess(rows, n, k, residual, alike, act).plan;
}

NormFusion fuses_norm(int rows, int n, int k, bool folded, bool moments) {
  if (!device().hopper() || n % 8 != 0 || k % 8 != 0) return NormFusion::none;
  if (folded && moments && k % 64 == 0) return NormFusion::divided;
  if (rows > kMostSmall) return NormFusion::none;
  constexpr float kNorm = 2.7f;  // us that a layer_norm of its own adds to a pass
  const float apart = guess(rows, n, k, false, true, Activation::none).us + kNorm;
  const bool fits = k == 192 || k == 384 || k == 768;
  const float whole = fits ? small_guess(rows, n, k, SmallRows::normed).us : apart;
  const float divided = folded ? small_guess(rows, n, k, SmallRows::divided).us : apart;
  if (divided < apart && divided <= whole) return NormFusion::divided;
  return whole < apart ? NormFusion::whole : NormFusion::none;
}

// With fewer or narrower rows a layer_norm of its own costs nothing: while it runs, the product behind it
// starts.
bool gives_moments(int rows, int n, int k) {
  return device().hopper() && rows >= 12000 && n >= 768 && n % 64 == 0 && k % 8 == 0;
}

cudaError_t linear(cudaStream_t stream, const Product& a, LinearPlan plan) {
  LinearParams p = {};
  p.rows = a.rows.offsets + a.rows.batch;
  p.bias = a.w->bias.as<const float>();
  p.residual = a.residual.data, p.residual_row = a.residual.strides[0],
  p.residual_f32 = a.residual.dtype == Dtype::f32;
  p.out = a.out.data, p.out_row = a.out.strides[0], p.out_f32 = a.out.dtype == Dtype::f32;
  p.n = a.w->n, p.k = a.w->k;
  if (a.rows.row_capacity == 0) return cudaSuccess;
  if (is_quantised(a.w->dtype)) {
    if (!takes_eight_bits() || a.norm_gamma || a.index) return cudaErrorNotSupported;
    p.scale = a.x.scale * a.w->scale, p.out_scale = 1 / a.out.scale, p.out_e4m3 = a.out.dtype == Dtype::e4m3;
    if (plan.tile == LinearTile::automatic)
      plan = linear_plan_eight_bits(a.rows.expected_rows(), p.n, p.k, p.residual != nullptr);
    p.x_scales = a.x_scales.as<const float>(), p.w_scales = a.w->scales.as<const uint16_t>();
    return a.w->dtype == Dtype::i8 ? linear_i8(stream, a, p, plan) : linear_e4m3(stream, a, p, plan);
  }
  p.x_moments = a.x_moments.as<const float2>(), p.moments = a.moments.as<float2>(), p.eps = a.norm_eps;
  p.capacity = a.rows.row_capacity;
  const bool aligned_well = p.n % 8 == 0 && p.k % 8 == 0 && aligned(a.x, 16) && aligned(a.out, 16) &&
                            (!a.residual || aligned(a.residual, 16));
  const bool measured = a.divided && a.x_moments && p.k % 64 == 0 && aligned_well && device().hopper();
  if (a.moments && (p.n % 64 != 0 || !aligned_well || !device().hopper())) return cudaErrorNotSupported;
  if (a.norm_gamma || a.index || (a.divided && !measured)) {
    if (a.w->dtype != Dtype::f32 && aligned_well && device().hopper()) {
      const SmallRows how = a.divided      ? SmallRows::divided
                            : a.norm_gamma ? SmallRows::normed
                                           : SmallRows::plain;
      if (plan.tile != LinearTile::small) plan = small_guess(a.rows.expected_rows(), p.n, p.k, how).plan;
      const cudaError_t e = queue_small(stream, a, plan);
      if (e != cudaErrorNotSupported) return e;
    }
    return linear_norm_any(stream, a);
  }
  if (a.w->dtype == Dtype::f32) {
    // Its sums have another order: a plan that serves any number of rows can't look at their lengths.
    const bool any_rows = plan.tile != LinearTile::automatic;
    if ((any_rows || a.rows.max_len == 1) && a.act == Activation::none && !a.residual && p.out_f32) {
      const dim3 grid((a.rows.row_capacity + kLoneRows - 1) / kLoneRows, (p.n + kLoneWarps - 1) / kLoneWarps);
      return launch<linear_lone_rows>(stream, {grid, kLoneWarps * 32}, a.x.as<const float>(), a.x.strides[0],
                                      a.w->data.as<const float>(), p);
    }
    return a.act == Activation::none       ? linear_f32<0>(stream, a, p)
           : a.act == Activation::gelu_erf ? linear_f32<1>(stream, a, p)
                                           : linear_f32<2>(stream, a, p);
  }
  if (!aligned_well) {
    plan.tile = LinearTile::plain;
  } else if (!device().hopper() && plan.tile != LinearTile::plain) {
    plan.tile = LinearTile::mma;
  } else if (plan.tile == LinearTile::automatic) {
    const bool alike = a.out.dtype == a.x.dtype && (!a.residual || a.residual.dtype == a.x.dtype);
    plan =
        a.moments || measured
            ? best_turns(kTurnCosts, a.rows.expected_rows(), p.n, up(p.k, 64), p.residual != nullptr, a.act)
            : linear_plan(a.rows.expected_rows(), p.n, p.k, p.residual != nullptr, alike, a.act);
  }
  if (plan.tile == LinearTile::small && !a.moments) {
    const cudaError_t e = queue_small(stream, a, plan);
    if (e != cudaErrorNotSupported) return e;
    plan = {LinearTile::mma};
  }
  if (plan.tile == LinearTile::staged && !a.moments && !measured) {
    const cudaError_t e = a.w->dtype == Dtype::f16 ? linear_staged_f16(stream, a, p, plan)
                                                   : linear_staged_bf16(stream, a, p, plan);
    if (e != cudaErrorNotSupported) return e;
    plan = {LinearTile::split_128x128};
  }
  const bool turns = plan.tile == LinearTile::pingpong_192 || plan.tile == LinearTile::pingpong_128;
  if ((a.moments || measured) && !turns) return cudaErrorNotSupported;
  return a.w->dtype == Dtype::f16 ? linear_f16(stream, a, p, plan) : linear_bf16(stream, a, p, plan);
}

PackedLinear pack_linear(const float* w, const float* bias, int n, int k, Dtype dtype) {
  PackedLinear packed;
  packed.dtype = dtype, packed.n = n, packed.k = k, packed.panel = kPanel;
  const size_t count = static_cast<size_t>(n) * k,
               padded = static_cast<size_t>((n + kPanel - 1) / kPanel) * kPanel;
  packed.data = device_buffer(count * bytes_of(dtype));
  packed.bias = device_buffer(padded * sizeof(float));
  std::vector<float> wide(padded, 0.0f);
  if (bias) std::copy(bias, bias + n, wide.begin());
  copy_to_device(packed.bias.as(), wide.data(), padded * sizeof(float));
  if (dtype == Dtype::f32) {
    copy_to_device(packed.data.as(), w, count * sizeof(float));
    return packed;
  }
  if (dtype == Dtype::e4m3) {
    float most = 0;
    for (size_t i = 0; i < count; ++i) most = std::max(most, std::fabs(w[i]));
    packed.scale = std::isfinite(most) ? e4m3_scale(most) : 1;
    std::vector<uint8_t> bytes(count);
    for (size_t i = 0; i < count; ++i) bytes[i] = f32_to_e4m3(w[i] / packed.scale);
    copy_to_device(packed.data.as(), bytes.data(), count);
    return packed;
  }
  if (dtype == Dtype::i8) {
    std::vector<uint16_t> scales(padded);
    std::vector<int8_t> bytes(count);
    for (int i = 0; i < n; ++i) {
      const float* const row = w + static_cast<size_t>(i) * k;
      float most = 0;
      for (int j = 0; j < k; ++j) most = std::max(most, std::fabs(row[j]));
      scales[i] = f32_to_bf16(std::isfinite(most) && most > 0 ? most / 127 : 1.0f);
      const float scale =
          bf16_to_f32(scales[i]);  // rounded down, the largest weights become 127 all the same
      for (int j = 0; j < k; ++j) {
        const float steps = std::nearbyint(row[j] / scale);
        bytes[static_cast<size_t>(i) * k + j] =
            static_cast<int8_t>(std::clamp(std::isnan(steps) ? 0 : steps, -127.0f, 127.0f));
      }
    }
    packed.scales = device_buffer(padded * 2);
    copy_to_device(packed.scales.as(), scales.data(), padded * 2);
    copy_to_device(packed.data.as(), bytes.data(), count);
    return packed;
  }
  std::vector<uint16_t> narrow(count);
  for (size_t i = 0; i < count; ++i) narrow[i] = dtype == Dtype::f16 ? f32_to_f16(w[i]) : f32_to_bf16(w[i]);
  copy_to_device(packed.data.as(), narrow.data(), count * 2);
  return packed;
}

}  // namespace hedgerow::cuda
