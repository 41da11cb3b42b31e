// SPDX-License-Identifier: Apache-2.0
// What the matrix units can do when nothing else is in the way: products on one tile that never moves.
#include "hedgerow/kernels/cuda/hopper.cuh"
#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/memory.h"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {
namespace {

constexpr int kColumns = 256, kTile = (128 + kColumns) * 128;  // 128 rows of x and 256 of w, 64 values deep

__device__ __forceinline__ uint32_t scrambled(uint32_t x) {
  x ^= x >> 16, x *= 0x7feb352du, x ^= x >> 15, x *= 0x846ca68bu;
  return x ^ (x >> 16);
}
// Two 16-bit values of either sign around 1: the power that products draw depends on their bits.
template <class T>
__device__ __forceinline__ uint32_t random_pair(uint32_t i) {
  const uint32_t r = scrambled(i);
  const float a = static_cast<float>(r & 0xffff) * 0x1p-15f - 1.0f,
              b = static_cast<float>(r >> 16) * 0x1p-15f - 1.0f;
  return pack2<T>(a, b);
}
// Four e4m3 values around 1, or two of 16 bits.
template <class T>
__device__ __forceinline__ uint32_t random_word(uint32_t i) {
  if constexpr (!std::is_same_v<T, e4m3>) return random_pair<T>(i);
  const uint32_t r = scrambled(i);
  const auto value = [&](int shift) { return static_cast<float>(r >> shift & 0xff) * 0x1p-7f - 1.0f; };
  return pack4_e4m3(value(0), value(8), value(16), value(24));
}

// Two warpgroups, 64 x 256 sums each.
template <class T>
__global__ void __launch_bounds__(256, 1) hopper_products(int rounds, float* sink) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char memory[];
  uint32_t* const words = reinterpret_cast<uint32_t*>(memory);
  for (int i = threadIdx.x; i < kTile / 4; i += 256) words[i] = random_word<T>(i + blockIdx.x * kTile);
  fence_shared_for_async();
  __syncthreads();
  const uint64_t x = tile_descriptor(shared_address(memory) + (threadIdx.x >> 7) * 64 * 128);
  const uint64_t w = tile_descriptor(shared_address(memory) + 128 * 128);
  float sums[kColumns / 2];
  for (int r = 0; r < rounds; ++r) {
    products_fence();
#pragma unroll
    for (int i = 0; i < 4; ++i) product_shared<T, kColumns>(sums, x + i * 2, w + i * 2, (r | i) != 0);
    products_commit();
    products_wait<1>();
  }
  products_wait<0>();
  keep_registers(sums);
  if (sums[0] == 12345.0f) *sink = sums[0];
#endif
}

// Eight warps, 64 x 64 sums each from registers, by one-warp products.
template <class T>
__global__ void __launch_bounds__(256, 1) warp_products(int rounds, float* sink) {
  uint32_t a[4][4], b[8][2];
  float sums[4][8][4] = {};
  for (int i = 0; i < 16; ++i) a[i / 4][i % 4] = random_pair<T>(threadIdx.x * 64 + i);
  for (int i = 0; i < 16; ++i) b[i / 2][i % 2] = random_pair<T>(threadIdx.x * 64 + 32 + i);
  for (int r = 0; r < rounds; ++r) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 8; ++j) multiply<T>(sums[i][j], a[i], b[j][0], b[j][1]);
  }
  float total = 0;
  for (int i = 0; i < 128; ++i) total += sums[i / 32][i / 4 % 8][i % 4];
  if (total == 12345.0f) *sink = total;
}

__global__ void __launch_bounds__(1024, 1) plain_products(int rounds, float seed, float* sink) {
  float v[16];
  for (int i = 0; i < 16; ++i) v[i] = seed + i;
  for (int r = 0; r < rounds; ++r) {
#pragma unroll
    for (int i = 0; i < 16; ++i) v[i] = fmaf(v[i], seed, 0.5f);
  }
  float total = 0;
  for (int i = 0; i < 16; ++i) total += v[i];
  if (total == 12345.0f) *sink = total;
}

template <class T>
cudaError_t queue_products(cudaStream_t stream, int rounds, float* sink, double* work) {
  const unsigned blocks = static_cast<unsigned>(device().multiprocessors);
  if (device().hopper()) {
    *work = 2.0 * 128 * kColumns * (128 / sizeof(T)) * rounds * blocks;
    return launch<hopper_products<T>, kTile>(stream, {blocks, 256, kTile}, rounds, sink);
  }
  if constexpr (std::is_same_v<T, e4m3>) {
    return cudaErrorNotSupported;
  } else {
    *work = 2.0 * 8 * 64 * 64 * 16 * rounds * blocks;
    return launch<warp_products<T>>(stream, {blocks, 256}, rounds, sink);
  }
}

}  // namespace

cudaError_t peak_flops(cudaStream_t stream, Dtype dtype, double* flops) {
  static const Buffer sink = device_buffer(sizeof(float));
  constexpr int kRounds = 6000;
  double work = 0;
  const auto queue = [&] {
    if (dtype == Dtype::f16) return queue_products<f16>(stream, kRounds, sink.as<float>(), &work);
    if (is_quantised(dtype))  // int8 runs at the same rate
      return queue_products<e4m3>(stream, kRounds, sink.as<float>(), &work);
    if (dtype == Dtype::bf16) return queue_products<bf16>(stream, kRounds, sink.as<float>(), &work);
    const unsigned blocks = static_cast<unsigned>(device().multiprocessors);
    work = 2.0 * 16 * 1024 * 16 * kRounds * blocks;
    return launch<plain_products>(stream, {blocks, 1024}, 16 * kRounds, 0.999f, sink.as<float>());
  };
  cudaEvent_t from, to;
  cudaError_t e = cudaEventCreate(&from);
  if (e == cudaSuccess) e = cudaEventCreate(&to);
  if (e == cudaSuccess) e = cudaEventRecord(from, stream);
  if (e == cudaSuccess) e = queue();
  if (e == cudaSuccess) e = cudaEventRecord(to, stream);
  if (e == cudaSuccess) e = cudaEventSynchronize(to);
  float ms = 0;
  if (e == cudaSuccess) e = cudaEventElapsedTime(&ms, from, to);
  *flops = e == cudaSuccess && ms > 0 ? work / (ms * 1e-3) : 0;
  cudaEventDestroy(from), cudaEventDestroy(to);
  return e;
}

}  // namespace hedgerow::cuda
