// SPDX-License-Identifier: Apache-2.0
// How many patches the pictures of a benchmark keep.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hedgerow::cli {

// The kept share of each picture as benchmarks of fixed-count engines draw it: uniform around the mean, the
// batch as a whole keeping the named share. The generator and its use are those of torch.rand, so both sides
// time the same counts.
std::vector<int> spread_counts(int batch, int patches, double keep, double spread, uint64_t seed);

// Rows leaving each block, one picture a line, as classify --json writes them. Throws Error.
std::vector<std::vector<int32_t>> read_counts(const std::string& file);

// A rate that comes out as `count` of `patches` after multiplication and truncation.
double rate_of(int count, int patches);

}  // namespace hedgerow::cli
