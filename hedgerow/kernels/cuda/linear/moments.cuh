// SPDX-License-Identifier: Apache-2.0
// What a product leaves of its rows for the layer norm behind it, and what the next one makes of that
// (Product::moments, x_moments).
#pragma once

#include "hedgerow/kernels/cuda/linear/linear.cuh"

namespace hedgerow::cuda {

// One over the deviation of a row of x from its moments: a pair with every step of 64 along k, asked for a
// step ahead, so that nobody waits for memory. A row that is not there yields whatever lies in its place.
template <bool ON>
class RowScale {
  const float2* from_ = nullptr;
  float2 next_;
  float sum_ = 0, squares_ = 0;

 public:
  __device__ __forceinline__ RowScale(const LinearParams& p, int row) {
    if (!ON || !p.x_moments) return;
    from_ = p.x_moments + static_cast<int64_t>(min(row, p.capacity - 1)) * (p.k >> 6);
    next_ = *from_;
  }
  __device__ __forceinline__ void step(const LinearParams& p, bool last) {
    if (!p.x_moments) return;
    sum_ += next_.x, squares_ += next_.y;
    if (!last) next_ = *++from_;
  }
  // After as many steps as there are; 1 where nothing is divided.
  __device__ __forceinline__ float get(const LinearParams& p) const {
    const float over = 1.0f / static_cast<float>(p.k), mean = sum_ * over;
    return ON && p.x_moments ? rsqrtf(fmaxf(fmaf(-mean, mean, squares_ * over), 0.0f) + p.eps) : 1.0f;
  }
};

// Sums and sums of squares of rows r and r + 8, r = lane / 4 of a warp's 16, whose outputs four lanes hold in
// pairs.
struct Moments {
  float2 low[2] = {}, high[2] = {};  // of even and odd columns, so that no sum waits for the other
  static __device__ __forceinline__ void take(float2 (&m)[2], float a, float b) {
    m[0].x += a, m[1].x += b;
    m[0].y = fmaf(a, a, m[0].y), m[1].y = fmaf(b, b, m[1].y);
  }
  // To pair `part` of each row's `parts`, zeros to the `spare` pairs behind it; for the live rows of the 16
  // from `row` on.
  __device__ __forceinline__ void leave(float2* to, int parts, int part, int spare, int row, int rows) {
    const int lane = threadIdx.x & 31;
    // Two lanes of a quad add up row r, the other two row r + 8.
    const bool upper = lane & 1;
    float2 own = {upper ? high[0].x + high[1].x : low[0].x + low[1].x,
                  upper ? high[0].y + high[1].y : low[0].y + low[1].y};
    const float2 other = {upper ? low[0].x + low[1].x : high[0].x + high[1].x,
                          upper ? low[0].y + low[1].y : high[0].y + high[1].y};
    own.x += __shfl_xor_sync(0xffffffffu, other.x, 1), own.y += __shfl_xor_sync(0xffffffffu, other.y, 1);
    own.x += __shfl_xor_sync(0xffffffffu, own.x, 2), own.y += __shfl_xor_sync(0xffffffffu, own.y, 2);
    const int r = row + (lane >> 2) + upper * 8;
    if (r >= rows || part >= parts) return;
    float2* const at = to + static_cast<int64_t>(r) * parts + part;
    if (lane & 2) {
      for (int i = 1; i <= spare && part + i < parts; ++i) at[i] = {0.0f, 0.0f};
    } else {
      *at = own;
    }
  }
};

}  // namespace hedgerow::cuda
