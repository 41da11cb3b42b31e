// SPDX-License-Identifier: Apache-2.0
// The state of one user of the model, and what the public interface asks of it. The model itself:
// vit_pass.cpp.
#include "hedgerow/vision/vit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/vit_pass.h"

namespace hedgerow {
namespace {

VitLimits checked(const VitWeights& weights, VitLimits limits) {
  const VitConfig& c = weights.config;
  require(limits.max_batch >= 1 && limits.max_batch <= 65536,
          fmt::format("vit: max_batch: wanted 1 to 65536, found {}", limits.max_batch));
  if (limits.max_tokens == 0) limits.max_tokens = c.special() + c.grid() * c.grid();
  require(limits.max_tokens > c.special() && limits.max_tokens <= 65536,
          fmt::format("vit: max_tokens: wanted {} to 65536, found {}", c.special() + 1, limits.max_tokens));
  require(static_cast<int64_t>(limits.max_batch) * (limits.max_tokens + 3) <=
              std::numeric_limits<int32_t>::max() / 4,
          "vit: max_batch x max_tokens is too large");
  return limits;
}

}  // namespace

struct VitState::Impl {
  Context on;
  VitPass pass;
  Impl(const std::shared_ptr<const VitWeights>& weights, VitLimits limits, const VitOptions& options)
      : on(*weights->backend, options.pool ? options.pool : std::make_shared<Pool>(options.threads),
           options.sums),
        pass(weights, checked(*weights, limits), on) {}
};

VitState::VitState(std::shared_ptr<const VitWeights> weights, VitLimits limits, const VitOptions& options) {
  require(weights != nullptr, "vit: a state needs weights");
  impl_ = std::make_unique<Impl>(weights, limits, options);
}
VitState::~VitState() = default;
VitState::VitState(VitState&&) noexcept = default;
VitState& VitState::operator=(VitState&&) noexcept = default;

Context& VitState::context() const { return impl_->on; }
size_t VitState::recorded_launches(const VitRun& run, int batch) const {
  return impl_->pass.nodes(run, batch);
}

const VitResult& forward(VitState& state, const VitImage* images, int batch, const VitRun& run) {
  submit(state, images, batch, run);
  return collect(state);
}
void submit(VitState& state, const VitImage* images, int batch, const VitRun& run) {
  state.impl_->pass.submit(images, batch, run);
}
const VitResult& collect(VitState& state) { return state.impl_->pass.collect(); }

void unpack_tokens(const VitResult& result, int image, int patches, float fill, float* out) {
  require(result.tokens != nullptr, "unpack_tokens: wanted a result with tokens (Output::tokens)");
  require(image >= 0 && image < result.batch, "unpack_tokens: no such picture in this result");
  const size_t d = static_cast<size_t>(result.dim), i = static_cast<size_t>(image);
  std::fill(out, out + static_cast<size_t>(patches) * d, fill);
  for (int r = result.token_offsets[i]; r < result.token_offsets[i + 1]; ++r) {
    const int p = result.token_patch[static_cast<size_t>(r)];
    if (p < 0) continue;
    require(p < patches, "unpack_tokens: the grid has fewer patches than the picture had");
    std::memcpy(out + static_cast<size_t>(p) * d, result.tokens + static_cast<size_t>(r) * d, d * 4);
  }
}

}  // namespace hedgerow
