// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <string>

#include "hedgerow/core/error.h"
#include "hedgerow/kernels/cuda/memory.h"

namespace hedgerow::cuda {

void check(cudaError_t result, const char* doing) {
  if (result == cudaSuccess) return;
  throw Error(std::string("CUDA: ") + doing + ": " + cudaGetErrorString(result));
}

namespace {

// Clearing and copies from pageable memory go to the default stream and may return before they are done, and
// streams of their own do not wait for it: an op queued next could find the memory as it was.
void finish(const char* doing) { check(cudaStreamSynchronize(nullptr), doing); }

}  // namespace

Buffer device_buffer(size_t bytes) {
  if (bytes == 0) return {};
  void* p = nullptr;
  const cudaError_t e = cudaMalloc(&p, bytes);
  if (e != cudaSuccess) {
    cudaGetLastError();  // a failed allocation must not fail the next call
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    throw Error("CUDA: wanted " + std::to_string(bytes) + " bytes of device memory, " + std::to_string(free) +
                " of " + std::to_string(total) + " are free: " + cudaGetErrorString(e));
  }
  Buffer buffer(p, bytes, [](void* q) { cudaFree(q); });
  check(cudaMemset(p, 0, bytes), "clearing memory");
  finish("clearing memory");
  return buffer;
}

Buffer host_buffer(size_t bytes) {
  if (bytes == 0) return {};
  void* p = nullptr;
  check(cudaMallocHost(&p, bytes), "reserving host memory");
  std::memset(p, 0, bytes);
  return Buffer(p, bytes, [](void* q) { cudaFreeHost(q); });
}

void copy_to_device(void* to, const void* from, size_t bytes) {
  check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "copying to the device");
  finish("copying to the device");
}
void copy_from_device(void* to, const void* from, size_t bytes) {
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "copying from the device");
}

}  // namespace hedgerow::cuda
