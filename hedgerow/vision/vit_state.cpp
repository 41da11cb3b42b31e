// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/vision/vit_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"

namespace hedgerow {
namespace {

// EViT's fused tokens: one per stage at most, each a row of its own in the full-grid layout.
constexpr int kFusedRows = 3;

}  // namespace

VitState::Impl::Impl(std::shared_ptr<const VitWeights> w, VitLimits l, const VitOptions& options)
    : weights(std::move(w)),
      limits(l),
      on(*weights->backend, options.pool ? options.pool : std::make_shared<Pool>(options.threads),
         options.sums) {
  const VitConfig& c = weights->config;
  require(limits.max_batch >= 1 && limits.max_batch <= 65536,
          fmt::format("vit: max_batch: wanted 1 to 65536, found {}", limits.max_batch));
  if (limits.max_tokens == 0) limits.max_tokens = c.special() + c.grid() * c.grid();
  require(limits.max_tokens > c.special() && limits.max_tokens <= 65536,
          fmt::format("vit: max_tokens: wanted {} to 65536, found {}", c.special() + 1, limits.max_tokens));
  if (!weights->backend->host) {
    require(
        static_cast<int64_t>(limits.max_batch) * limits.max_tokens <= std::numeric_limits<int32_t>::max() / 4,
        "vit: max_batch x max_tokens is too large");
    queue = std::make_unique<VitQueue>(weights, limits, on);
    return;
  }
  max_len = limits.max_tokens + kFusedRows;
  const int64_t rows = static_cast<int64_t>(limits.max_batch) * max_len;
  require(rows <= std::numeric_limits<int32_t>::max() / 4, "vit: max_batch x max_tokens is too large");
  row_capacity = static_cast<int>(rows);

  const size_t r = static_cast<size_t>(row_capacity), d = static_cast<size_t>(c.dim);
  const size_t act = static_cast<size_t>(bytes_of(weights->dtype));
  const size_t offsets_bytes = 4 * (static_cast<size_t>(limits.max_batch) + 1);
  for (RowSet& set : sets) {
    set.x = Buffer(r * d * 4);
    set.patch = Buffer(r * 4);
    set.size = Buffer(r * 4);
    set.offsets = Buffer(offsets_bytes);
  }
  for (Buffer& b : narrow) b = Buffer(r * d * act);
  wide = Buffer(r * act * static_cast<size_t>(std::max({3 * c.dim, c.hidden_dim, 3 * c.patch * c.patch})));
  alive = Buffer(r);
  role = Buffer(r);
  key_bias = Buffer(r * 4);
  first_row = Buffer(r * static_cast<size_t>(c.heads) * 4);
  score = Buffer(r * 4);
  weight = Buffer(r * 4);
  unit = Buffer(r * d * 4);
  similarity = Buffer(r * 4);
  kept = Buffer(r * 4);
  best = Buffer(r * 4);
  into = Buffer(r * 4);
  const size_t b = static_cast<size_t>(limits.max_batch);
  readout = Buffer(b * static_cast<size_t>(c.special()) * d * 4);
  readout_normed = Buffer(readout.bytes());
  logits = Buffer(b * static_cast<size_t>(c.classes) * 4);
  on.reserve_scratch(weights->backend->scratch_bytes(max_len, c.heads, c.head_dim()));
}

void check_batch(const VitConfig& c, const VitLimits& limits, const VitImage* images, int batch) {
  if (batch < 1 || batch > limits.max_batch)
    throw Error(fmt::format("vit: batch: wanted 1 to {}, found {}", limits.max_batch, batch));
  for (int i = 0; i < batch; ++i) {  // messages are put together only where they are needed
    const VitImage& im = images[i];
    if (im.pixels == nullptr) throw Error(fmt::format("vit: picture {}: no pixels", i));
    if (im.height <= 0 || im.width <= 0 || im.height % c.patch != 0 || im.width % c.patch != 0)
      throw Error(fmt::format("vit: picture {}: sides {} x {} are not multiples of the patch, {}", i,
                              im.height, im.width, c.patch));
    const int64_t patches = static_cast<int64_t>(im.height / c.patch) * (im.width / c.patch);
    if (patches + c.special() > limits.max_tokens)
      throw Error(fmt::format("vit: picture {}: {} tokens; this state holds {}", i, patches + c.special(),
                              limits.max_tokens));
  }
}

uint64_t hash_pixels(const VitImage& image) {
  const size_t count = 3 * static_cast<size_t>(image.height) * static_cast<size_t>(image.width);
  uint64_t h = count;
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, image.pixels + i, 4);
    h = Rng::mix(h ^ bits) + 0x9e3779b97f4a7c15ull;
  }
  return h;
}

const VitState::Impl::Positions& VitState::Impl::positions_for(int grid_h, int grid_w) {
  for (const Positions& p : positions)
    if (p.grid_h == grid_h && p.grid_w == grid_w) return p;
  positions.push_back({grid_h, grid_w, position_rows(*weights, grid_h, grid_w)});
  return positions.back();
}

const PaperGate& VitState::Impl::paper_gate(uint64_t seed) {
  if (!gate || gate->seed != seed) gate = std::make_unique<PaperGate>(make_paper_gate(*weights, seed));
  return *gate;
}

void VitState::Impl::count(const Ragged& rows, double per_row) {
  for (int i = 0; i < batch; ++i) result.macs[static_cast<size_t>(i)] += per_row * rows.length(i);
}

void VitState::Impl::gather_rows(const int32_t* index) {
  const Tensor from = vector_view(index, Dtype::i32, row_capacity);
  const Ragged to = next_rows();
  gather(on, {.x = x(), .index = from, .out = f32_rows(next().x, config().dim), .rows = to});
  gather(on, {.x = column(now().patch, Dtype::i32),
              .index = from,
              .out = column(next().patch, Dtype::i32),
              .rows = to});
  if (sized)
    gather(on, {.x = column(now().size, Dtype::f32),
                .index = from,
                .out = column(next().size, Dtype::f32),
                .rows = to});
  current = 1 - current;
}

void VitState::Impl::refresh_key_bias() {
  if (!masked && !sized) return;
  const int n = rows().rows();
  float* bias = key_bias.as<float>();
  const float* size = now().size.as<float>();
  const uint8_t* lives = alive.as<uint8_t>();
  for (int i = 0; i < n; ++i) {
    bias[i] = sized ? std::log(size[i]) : 0.0f;
    if (masked && !lives[i]) bias[i] = -std::numeric_limits<float>::infinity();
  }
}

VitState::VitState(std::shared_ptr<const VitWeights> weights, VitLimits limits, const VitOptions& options) {
  require(weights != nullptr, "vit: a state needs weights");
  impl_ = std::make_unique<Impl>(std::move(weights), limits, options);
}
VitState::~VitState() = default;
VitState::VitState(VitState&&) noexcept = default;
VitState& VitState::operator=(VitState&&) noexcept = default;

}  // namespace hedgerow
