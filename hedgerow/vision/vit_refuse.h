// SPDX-License-Identifier: Apache-2.0
// Parts of other architectures, known by their tensors' names.
#pragma once

#include "hedgerow/io/checkpoint.h"

namespace hedgerow {

// Throws Error naming the part and its tensor where the file holds one that this model does not compute.
void refuse_other_architectures(const Checkpoint& file);

}  // namespace hedgerow
