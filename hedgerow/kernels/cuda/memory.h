// SPDX-License-Identifier: Apache-2.0
// Device memory as Buffers, and copies to and from it.
#pragma once

#include <cuda_runtime.h>

#include "hedgerow/core/tensor.h"

namespace hedgerow::cuda {

// Throws Error with what was asked for and what the runtime said.
void check(cudaError_t result, const char* doing);

Buffer device_buffer(size_t bytes);  // zeroed; throws Error when memory is out
Buffer host_buffer(size_t bytes);    // the same in host memory that the device copies from and to by itself
void copy_to_device(void* to, const void* from, size_t bytes);
void copy_from_device(void* to, const void* from, size_t bytes);

}  // namespace hedgerow::cuda
