// SPDX-License-Identifier: Apache-2.0
// The host's side before a pass: what is checked, uploaded and recorded.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/vision/patch_code.h"
#include "hedgerow/vision/vit_pass.h"

namespace hedgerow {
namespace {

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

}  // namespace

void VitPass::check(const VitImage* images, int batch, const VitRun& run) const {
  check_batch(config(), limits_, images, batch);
  check_prune(config(), !weights_->predictors.empty(), run.prune, run.layout, batch);
  if (pass_.on_host()) return;
  const auto need_host = [](bool unmet, const char* what) {
    if (unmet) throw Error(fmt::format("{}: this needs rows on the host: run it on the CPU", what));
  };
  need_host(run.layout == Layout::padded_max, "layout padded-max");
  need_host(run.layout == Layout::padded &&
                (traits_of(run.prune.method).fuses_dropped || run.output == Output::tokens),
            "layout padded with fused tokens, or with tokens as output");
}

// Sizes and contents of the batch; what was laid out for others no longer stands.
void VitPass::note_sizes(const VitImage* images, int batch, const Prune& prune) {
  const size_t n = static_cast<size_t>(batch);
  bool same = batch == batch_ && heights_now_.size() == n;
  for (auto* sizes : {&heights_now_, &widths_now_, &patches_}) sizes->resize(n);
  content_.resize(n);
  for (int i = 0; i < batch; ++i) {
    const size_t k = static_cast<size_t>(i);
    const VitImage& image = images[i];
    same = same && image.height == heights_now_[k] && image.width == widths_now_[k];
    placed_ = placed_ && same;
    heights_now_[k] = image.height;
    widths_now_[k] = image.width;
    patches_[k] = image.height / config().patch * (image.width / config().patch);
    const PruneBudget& budget = budget_of(prune, i);
    const bool draws = budget.keep_max > budget.keep;
    if (draws && !image.content_hash && image.on_device)
      throw Error(fmt::format(
          "vit: picture {}: a range of keep rates for pixels on the device needs a content_hash", i));
    content_[k] = !draws ? 0 : image.content_hash ? image.content_hash : hash_pixels(image);
  }
}

const std::vector<float>& VitPass::positions_of(int grid_h, int grid_w) {
  for (const Positions& p : positions_known_)
    if (p.grid_h == grid_h && p.grid_w == grid_w) return p.rows;
  positions_known_.push_back({grid_h, grid_w, position_rows(*weights_, grid_h, grid_w)});
  return positions_known_.back().rows;
}

// Positions, patch codes and offsets follow from the pictures' sizes: laid out anew when those change.
void VitPass::place_shapes() {
  const VitConfig& c = config();
  const size_t wide = static_cast<size_t>(bytes_of(weights_->stream));
  offsets_at_start_.assign(1, 0);
  codes_at_start_.clear();
  const size_t row_bytes = static_cast<size_t>(c.dim) * wide;
  size_t rows = 0;
  for (const int patches : patches_) rows += static_cast<size_t>(patches + c.special());
  // Where rows are in host memory they are laid out in place.
  if (!pass_.on_host()) rows_at_start_.resize(rows * row_bytes);
  char* at = pass_.on_host() ? positions_.as<char>() : rows_at_start_.data();
  for (size_t k = 0; k < patches_.size(); ++k) {
    const std::vector<float>& one = positions_of(heights_now_[k] / c.patch, widths_now_[k] / c.patch);
    if (weights_->stream == Dtype::f16)
      std::transform(one.begin(), one.end(), reinterpret_cast<uint16_t*>(at), f32_to_f16);
    else
      std::memcpy(at, one.data(), one.size() * sizeof(float));
    at += one.size() * wide;
    for (int t = 0; t < c.special(); ++t) codes_at_start_.push_back(code_of_special(t));
    for (int p = 0; p < patches_[k]; ++p) codes_at_start_.push_back(code_of_patch(p));
    offsets_at_start_.push_back(static_cast<int32_t>(codes_at_start_.size()));
  }
  if (!pass_.on_host()) pass_.store(positions_.as(), rows_at_start_.data(), rows_at_start_.size());
  if (codes_) pass_.store(codes_at(0), codes_at_start_.data(), codes_at_start_.size() * 4);
  pass_.store(pass_.offsets(0), offsets_at_start_.data(), offsets_at_start_.size() * 4);
  pass_.store(heights_.as(), heights_now_.data(), heights_now_.size() * 4);
  pass_.store(widths_.as(), widths_now_.data(), widths_now_.size() * 4);
  placed_ = true;
}

void VitPass::upload_pixels(const VitImage* images) {
  const size_t patch = static_cast<size_t>(config().patch);
  const size_t room =
      static_cast<size_t>(limits_.max_tokens) * 3 * patch * patch;  // values a picture may have
  pixels_next_.resize(static_cast<size_t>(batch_));
  for (int i = 0; i < batch_; ++i) {
    const VitImage& image = images[i];
    float* const to =
        !pass_.on_host() && !image.on_device ? pixels_.as<float>() + static_cast<size_t>(i) * room : nullptr;
    pixels_next_[static_cast<size_t>(i)] = to ? to : image.pixels;
    if (to)
      pass_.upload(to, image.pixels,
                   12 * static_cast<size_t>(image.height) * static_cast<size_t>(image.width));
  }
  if (pixels_next_ == pixels_now_) return;
  std::swap(pixels_next_, pixels_now_);
  pass_.store(image_table_.as(), pixels_now_.data(), pixels_now_.size() * sizeof(void*));
}

// One block, one copy; the arrays in the order of the pointers below.
void VitPass::upload_plan() {
  packed_plan_.clear();
  const auto put = [&](auto*& place, const auto& values) {
    using T = std::remove_reference_t<decltype(*place)>;
    place = reinterpret_cast<T*>(plan_.as<char>() + packed_plan_.size());
    const char* from = reinterpret_cast<const char*>(values.data());
    packed_plan_.insert(packed_plan_.end(), from, from + values.size() * sizeof(T));
  };
  put(plan_masses_, plan().masses);
  put(plan_counts_, plan().counts);
  put(plan_merges_, plan().merges);
  put(plan_thresholds_, plan().thresholds);
  put(plan_floors_, plan().floors);
  put(plan_samples_, plan().samples);
  const size_t bytes = packed_plan_.size();
  plan_sent_ = plan_there_ == bytes && std::memcmp(host_plan_.as(), packed_plan_.data(), bytes) == 0;
  if (plan_sent_) return;
  pass_.settle();  // the copy of an earlier batch's plan may still be reading this memory
  std::memcpy(host_plan_.as(), packed_plan_.data(), bytes);
  pass_.upload(plan_.as(), host_plan_.as(), bytes);
  plan_there_ = bytes;
  plan_sent_ = true;
}

// What differs between runs of one kind lies in the arrays that upload_plan fills.
KindKey VitPass::key_of(const VitRun& run, int batch) const {
  const Prune& p = run.prune;
  const auto number = [](auto v) { return static_cast<uint64_t>(v); };
  return {number(batch),
          number(p.method),
          number(p.rule),
          number(p.after),
          number(run.layout),
          number(run.output),
          number(run.whole_last_block),
          number(run.trace != nullptr),
          plan().cuts,
          plan().foldings,
          number(p.imposed.empty()),
          method_->ranks == RanksBy::gate ? p.seed : 0};
}

VitPass::Kind& VitPass::kind_for(const VitRun& run) {
  const KindKey key = key_of(run, batch_);
  for (const auto& kind : kinds_)
    if (kind->key == key) return *kind;
  kinds_.push_back(std::make_unique<Kind>());
  kinds_.back()->key = key;
  return *kinds_.back();
}

size_t VitPass::nodes(const VitRun& run, int batch) const {
  const KindKey key = key_of(run, batch);
  for (const auto& kind : kinds_)
    if (kind->key == key) return pass_.nodes(*kind);
  return 0;
}

void VitPass::submit(const VitImage* images, int batch, const VitRun& run) {
  check(images, batch, run);
  const VitConfig& c = config();
  method_ = &traits_of(run.prune.method);
  note_sizes(images, batch, run.prune);
  if (plan_memory_.update(c, run.prune, patches_, content_)) plan_sent_ = false;
  reserve_for(run, images, batch);
  batch_ = batch;
  // Room for fused tokens is in a full grid alone: bounds choose kernels, so others keep theirs.
  const bool has_room = run.layout == Layout::padded && method_->fuses_dropped;
  max_len_ = limits_.max_tokens + (has_room ? kFusedRows : 0);
  capacity_ = batch * max_len_;
  pass_.start(batch);
  if (!placed_) place_shapes();
  upload_pixels(images);
  if (!plan_sent_) upload_plan();

  kind_ = &kind_for(run);
  pass_.fit(*kind_, plan().bounds, max_len_, capacity_);
  run_ = &run;
  const bool record = !run.eager && !run.observer && !has_callbacks(run);
  pass_.run(*kind_, record, [this] { queue_forward(); });
  run_ = nullptr;
  pass_.fetch(*kind_);
  tokens_wanted_ = run.output == Output::tokens;
  trace_wanted_ = run.trace;
  fetch_rows();
}

}  // namespace hedgerow
