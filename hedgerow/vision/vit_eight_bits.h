// SPDX-License-Identifier: Apache-2.0
// Which products of a Vision Transformer run in 8 bits (--dtype fp8, int8), and the scales of the e4m3 rows
// they take.
//
// e4m3 is a floating format: a scale only has to keep rows from overflowing, and a few octaves of slack cost
// nothing, since 17 octaves lie below the largest value. So scales are not measured on pictures but follow
// from the weights: a normalised row has length sqrt(dim) at most, and what a product makes of it is bounded
// by Cauchy and Schwarz.
#pragma once

#include "hedgerow/vision/vit.h"

namespace hedgerow {

// Powers of two, so that scaling rounds nothing.
struct E4m3Scales {
  float norm1 = 1, norm2 = 1;  // rows behind the block's norms
  float hidden = 1;            // behind fc1 and GELU
};
E4m3Scales e4m3_scales(const VitBlockParameters& block);

// The dtypes of a block's larger products in a model packed as `asked`, e4m3 or int8. int8 is for rows behind
// a norm, whose largest value is known when they are written: a scale for each row leaves a third of e4m3's
// noise. What GELU puts out has no such scale; it is f16, in the second half of the blocks e4m3.
struct EightBits {
  Dtype qkv, fc1, fc2;
};
EightBits eight_bits_of(Dtype asked, int block, int layers);

}  // namespace hedgerow
