// SPDX-License-Identifier: Apache-2.0
// What ggml's blocks hold: codes and scales as they are packed (kernels/ops/quant.h). Layouts: ggml-quants,
// as the `gguf` package reads them, with which tests compare every value.
#pragma once

#include <cstdint>

#include "hedgerow/io/gguf.h"
#include "hedgerow/kernels/ops/quant.h"

namespace hedgerow {

// How values of this ggml type are packed. Error for one that ggml_type() does not know.
Quant quant_of_ggml(uint32_t type);
// One row of k values, k a multiple of the type's block.
void unpack_ggml(uint32_t type, const uint8_t* blocks, int k, QuantRow& to);

}  // namespace hedgerow
