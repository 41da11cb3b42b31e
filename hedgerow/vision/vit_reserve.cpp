// SPDX-License-Identifier: Apache-2.0
// The buffers of a pass: those that every run needs, and those of some methods and outputs.
#include <algorithm>

#include "hedgerow/vision/patch_code.h"
#include "hedgerow/vision/vit_pass.h"

namespace hedgerow {
namespace {

// Offsets' slots that one pass may fill: a merge takes two a block, padding one more, beside the first two.
int most_slots(int layers) { return 3 * layers + 3; }

}  // namespace

VitPass::VitPass(std::shared_ptr<const VitWeights> weights, VitLimits limits, Context& on)
    : weights_(std::move(weights)),
      limits_(limits),
      on_(on),
      pass_(on, limits.max_batch, static_cast<size_t>(weights_->config.classes) * sizeof(float),
            most_slots(weights_->config.layers), weights_->config.special()),
      row_limit_(limits.max_batch * (limits.max_tokens + kFusedRows)) {
  const VitConfig& c = weights_->config;
  const size_t b = static_cast<size_t>(limits_.max_batch), r = static_cast<size_t>(row_limit_);
  const size_t d = static_cast<size_t>(c.dim), s = static_cast<size_t>(c.special()),
               layers = static_cast<size_t>(c.layers);
  const size_t half = static_cast<size_t>(bytes_of(weights_->dtype)),
               wide = static_cast<size_t>(bytes_of(weights_->stream));
  for (RowSet& set : sets_) set.x = pass_.allocate(r * d * wide);
  positions_ = pass_.allocate(r * d * wide);
  // One room for every block: normalised rows, then whatever is wide.
  size_t normed = r * d * half, whole = 0, moments = 0;
  for (const VitBlockWeights& block : weights_->blocks) {
    normed = std::max({normed, workspace_bytes(row_limit_, block.first(), nullptr),
                       workspace_bytes(row_limit_, block.fc1, nullptr)});
    whole = std::max(whole, workspace_bytes(row_limit_, block.fc1, &block.fc2));
    moments = std::max({moments, moments_bytes(*weights_->backend, block.first(), row_limit_),
                        moments_bytes(*weights_->backend, block.fc1, row_limit_)});
  }
  normed = (normed + 255) / 256 * 256;
  const size_t wide_bytes = r * half * static_cast<size_t>(std::max(3 * c.dim, 3 * c.patch * c.patch));
  between_ = pass_.allocate(std::max(whole, normed + wide_bytes));
  wide_ = between_.as<char>() + normed;
  if (moments > 0) moments_ = pass_.allocate(moments);
  attended_ = pass_.allocate(r * d * half);
  for (Buffer* column : {&key_bias_, &score_, &weight_, &kept_}) *column = pass_.allocate(r * 4);
  alive_ = pass_.allocate(r);
  first_row_ = pass_.allocate(r * static_cast<size_t>(c.heads) * 4);
  small_x_ = pass_.allocate(b * s * d * wide);
  for (Buffer& n : lead_rows_) n = pass_.allocate(b * s * d * half);
  normed_lead_ = pass_.allocate(b * s * d * 4);
  lead_ = pass_.allocate(b * s * 4);
  std::vector<int32_t> one(b + 1), leads(b + 1), codes(b * s);
  for (size_t i = 0; i <= b; ++i) one[i] = static_cast<int32_t>(i), leads[i] = static_cast<int32_t>(i * s);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = code_of_special(static_cast<int>(i % s));
  one_each_ = copy_on(*weights_->backend, one.data(), one.size() * 4);
  lead_offsets_ = copy_on(*weights_->backend, leads.data(), leads.size() * 4);
  lead_codes_ = copy_on(*weights_->backend, codes.data(), codes.size() * 4);
  image_table_ = pass_.allocate(b * sizeof(void*));
  heights_ = pass_.allocate(b * 4);
  widths_ = pass_.allocate(b * 4);
  const size_t plan_bytes = b * 8 + (2 * layers + 3) * b * 4;
  plan_ = pass_.allocate(plan_bytes);
  host_plan_ = pass_.allocate_host(plan_bytes);
  on_.reserve_scratch(
      weights_->backend->scratch_bytes(limits_.max_tokens + kFusedRows, c.heads, c.head_dim()));
}

// What only some methods and outputs need is reserved at the first run that does.
void VitPass::reserve_for(const VitRun& run, const VitImage* images, int batch) {
  const VitConfig& c = config();
  const size_t r = static_cast<size_t>(row_limit_), d = static_cast<size_t>(c.dim),
               layers = static_cast<size_t>(c.layers);
  const MethodTraits& m = *method_;
  if (run.layout == Layout::padded) {
    pass_.reserve(seen_, r * 2 * d * static_cast<size_t>(bytes_of(weights_->dtype)));
    pass_.reserve(seen_row_, r * static_cast<size_t>(c.heads) * 4);
    pass_.reserve(role_, r);
  }
  if (run.layout != Layout::ragged) pass_.reserve(index_, r * 4);
  if (m.ranks == RanksBy::predictor || m.ranks == RanksBy::gate) pass_.reserve(unit_, r * d * 4);
  if (m.ranks == RanksBy::gate && (!gate_ || gate_->seed != run.prune.seed)) {
    // What was recorded reads the old gate's weights: it goes with them.
    pass_.settle();
    kind_ = nullptr;
    kinds_.clear();
    gate_ = std::make_unique<PaperGate>(make_paper_gate(*weights_, run.prune.seed));
  }
  if (m.merges) {
    for (Buffer* column : {&similarity_, &best_, &into_}) pass_.reserve(*column, r * 4);
    for (Buffer* column : {&role_, &survivors_}) pass_.reserve(*column, r);
    for (RowSet& set : sets_) pass_.reserve(set.size, r * 4);
    pass_.reserve(unit_, r * d * 4);
    if (!ones_size_) {
      const std::vector<float> ones(r, 1.0f);
      const std::vector<int32_t> nobody(r, -1);
      ones_size_ = copy_on(*weights_->backend, ones.data(), r * 4);
      nobody_ = copy_on(*weights_->backend, nobody.data(), r * 4);
    }
  }
  if (follows_patches(run)) {
    const size_t codes = r * 4 * (2 * layers + 3);
    placed_ = placed_ && codes_;
    pass_.reserve(codes_, codes);
    if (!host_codes_) host_codes_ = Buffer(codes);
  }
  if (run.output == Output::tokens) {
    pass_.reserve(tokens_, r * d * 4);
    if (!host_tokens_) host_tokens_ = Buffer(r * d * 4);
  }
  if (run.trace && m.merges) {
    pass_.reserve(traced_into_, r * 4 * layers);
    if (!host_into_) host_into_ = Buffer(r * 4 * layers);
  }
  const bool uploads =
      !pass_.on_host() && std::any_of(images, images + batch, [](const VitImage& i) { return !i.on_device; });
  if (uploads)
    pass_.reserve(pixels_, r * 3 * static_cast<size_t>(c.patch) * static_cast<size_t>(c.patch) * 4);
}

}  // namespace hedgerow
