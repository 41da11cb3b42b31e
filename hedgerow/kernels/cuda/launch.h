// SPDX-License-Identifier: Apache-2.0
// Host side of every kernel: what the device is, how a kernel is queued, and the maps that the copy engine
// reads.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "hedgerow/core/tensor.h"

namespace hedgerow::cuda {

struct Device {
  int major = 0, multiprocessors = 0;
  bool hopper() const { return major == 9; }
};
// Of the current device, asked once for all of them. major 0: no device.
const Device& device();

struct Shape {
  dim3 grid, block;
  size_t shared = 0;
  int cluster = 1;  // blocks per cluster along x
};

// What a kernel's launches ask for once. It holds for one device, so each is told by itself.
template <auto kKernel, size_t kMost>
cudaError_t prepare() {
  static std::atomic<uint64_t> told{0};  // a bit for each device
  int id = 0;
  if (const cudaError_t e = cudaGetDevice(&id); e != cudaSuccess) return e;
  const uint64_t bit = id < 64 ? uint64_t{1} << id : 0;  // those beyond are told every time
  if (told.load(std::memory_order_relaxed) & bit) return cudaSuccess;
  cudaError_t e = cudaSuccess;
  if constexpr (kMost > 48 * 1024)
    e = cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kMost));
  // All kernels ask for one division of the multiprocessor's memory: a kernel that wants another waits until
  // the one before has left.
  if (e == cudaSuccess && device().hopper())
    e = cudaFuncSetAttribute(kKernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared);
  if (e == cudaSuccess) told.fetch_or(bit, std::memory_order_relaxed);
  return e;
}

// Queues the kernel so that it may be launched while the one before it ends (it waits by itself:
// wait_for_previous()). `kMost`: the most shared memory this kernel is ever given.
template <auto kKernel, size_t kMost = 0, class... Args>
cudaError_t launch(cudaStream_t stream, const Shape& shape, Args&&... args) {
  if (const cudaError_t e = prepare<kKernel, kMost>(); e != cudaSuccess) return e;
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared;
  config.stream = stream;
  config.attrs = attributes;
  if (device().major >= 9) {
    attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
    if (shape.cluster > 1) {
      attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
      attributes[config.numAttrs].val.clusterDim = {static_cast<unsigned>(shape.cluster), 1, 1};
      ++config.numAttrs;
    }
  }
  return cudaLaunchKernelEx(&config, kKernel, std::forward<Args>(args)...);
}

// A map of f32, 16-bit or 8-bit values for boxes of `box_bytes` (128 or 64) by `box_rows` rows, in the
// swizzle of that width. False where the strides or the address do not allow one.
bool matrix_map(CUtensorMap& map, Dtype dtype, const void* data, int64_t rows, int64_t cols,
                int64_t row_stride, int box_rows, int box_bytes = 128);
// The same for one head of [rows, heads, 64]; `heads` may reach over tensors that lie side by side.
bool heads_map(CUtensorMap& map, const Tensor& t, int64_t heads, int box_rows);

}  // namespace hedgerow::cuda
