// SPDX-License-Identifier: Apache-2.0
// The CUDA table. Free of CUDA headers, so that anything may include it.
#pragma once

#include "hedgerow/kernels/kernels.h"

namespace hedgerow::cuda {

// f16, bf16 (f32 sums) and f32; runs_here() asks for a driver and a device of compute capability 8.0 or more.
const Backend& backend();

}  // namespace hedgerow::cuda
