// SPDX-License-Identifier: Apache-2.0
// The host's side of a queued pass: what is checked, uploaded, recorded and read back.
#include "hedgerow/vision/vit_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/vit_state.h"

namespace hedgerow {
namespace {

// Offsets' slots that one pass may fill: ToMe takes two a block, DiffRate two, beside the first.
int most_slots(int layers) { return 2 * layers + 2; }

}  // namespace

VitQueue::VitQueue(std::shared_ptr<const VitWeights> weights, VitLimits limits, Context& on)
    : weights_(std::move(weights)), limits_(limits), on_(on), max_len_(limits.max_tokens) {
  const VitConfig& c = weights_->config;
  const size_t b = static_cast<size_t>(limits_.max_batch), r = b * static_cast<size_t>(max_len_);
  const size_t d = static_cast<size_t>(c.dim), s = static_cast<size_t>(c.special()),
               layers = static_cast<size_t>(c.layers);
  const size_t half = static_cast<size_t>(bytes_of(weights_->dtype)),
               wide = static_cast<size_t>(bytes_of(weights_->stream));
  for (RowSet& set : sets_) set.x = on_device(r * d * wide);
  positions_ = on_device(r * d * wide);
  const auto gives = weights_->backend->gives_moments;
  if (weights_->folded && gives && gives(static_cast<int>(r), c.dim, c.dim))
    moments_ = on_device(r * (d / 64) * 8);
  for (Buffer& n : narrow_) n = on_device(r * d * half);
  wide_ =
      on_device(r * half * static_cast<size_t>(std::max({3 * c.dim, c.hidden_dim, 3 * c.patch * c.patch})));
  for (Buffer* column : {&key_bias_, &score_, &weight_, &kept_, &row_units_}) *column = on_device(r * 4);
  alive_ = on_device(r);
  first_row_ = on_device(r * static_cast<size_t>(c.heads) * 4);
  small_x_ = on_device(b * s * d * wide);
  for (Buffer& n : small_narrow_) n = on_device(b * s * d * half);
  small_wide_ = on_device(b * s * static_cast<size_t>(c.hidden_dim) * half);
  normed_lead_ = on_device(b * s * d * 4);
  lead_ = on_device(b * s * 4);
  std::vector<int32_t> one(b + 1), leads(b + 1);
  for (size_t i = 0; i <= b; ++i) one[i] = static_cast<int32_t>(i), leads[i] = static_cast<int32_t>(i * s);
  one_each_ = copy_on(*weights_->backend, one.data(), one.size() * 4);
  lead_offsets_ = copy_on(*weights_->backend, leads.data(), leads.size() * 4);
  const size_t results =
      b * static_cast<size_t>(c.classes) * 4 + static_cast<size_t>(most_slots(c.layers)) * (b + 1) * 4;
  results_ = on_device(results);
  image_table_ = on_device(b * sizeof(void*));
  heights_ = on_device(b * 4);
  widths_ = on_device(b * 4);
  const size_t plan_bytes = b * 8 + (2 * layers + 3) * b * 4;
  plan_ = on_device(plan_bytes);
  host_plan_ = memory().allocate_host(plan_bytes);
  host_results_ = memory().allocate_host(results);
  on_.reserve_scratch(weights_->backend->scratch_bytes(max_len_, c.heads, c.head_dim()));
}

void VitQueue::copy_in(void* to, const void* from, size_t bytes) {
  if (bytes > 0) memory().upload(on_, to, from, bytes);
}
void VitQueue::copy_out(void* to, const void* from, size_t bytes) {
  if (bytes > 0) memory().download(on_, to, from, bytes);
}

void VitQueue::store_at(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  memory().wait(on_);
  memory().store(to, from, bytes);
}

void VitQueue::check(const VitImage* images, int batch, const VitRun& run) const {
  check_batch(config(), limits_, images, batch);
  check_prune(config(), !weights_->predictors.empty(), run.prune, run.layout, batch);
  const auto need_host = [](bool unmet, const char* what) {
    if (unmet) throw Error(fmt::format("{}: this needs rows on the host: run it on the CPU", what));
  };
  need_host(run.trace != nullptr, "vit: trace");
  need_host(run.prune.after_block || run.prune.readout || run.prune.method == PruneMethod::custom,
            "prune: a callback");
  need_host(run.layout == Layout::padded_max, "layout padded-max");
  need_host(
      run.layout == Layout::padded && (run.prune.method == PruneMethod::evit || run.output == Output::tokens),
      "layout padded with fused tokens, or with tokens as output");
}

// Positions, patch numbers and offsets follow from the pictures' sizes: laid out anew when those change.
void VitQueue::place_shapes() {
  const VitConfig& c = config();
  const size_t d = static_cast<size_t>(c.dim), wide = static_cast<size_t>(bytes_of(weights_->stream));
  std::vector<int32_t> offsets(1, 0), patch;
  std::vector<float> positions;
  for (int i = 0; i < batch_; ++i) {
    const size_t k = static_cast<size_t>(i);
    const bool again =
        i > 0 && heights_now_[k] == heights_now_[k - 1] && widths_now_[k] == widths_now_[k - 1];
    const size_t rows = static_cast<size_t>(patches_[k] + c.special());
    if (again) {
      const size_t from = positions.size() - rows * d;
      positions.resize(positions.size() + rows * d);
      std::copy_n(positions.begin() + static_cast<int64_t>(from), rows * d,
                  positions.begin() + static_cast<int64_t>(from + rows * d));
    } else {
      const std::vector<float> one =
          position_rows(*weights_, heights_now_[k] / c.patch, widths_now_[k] / c.patch);
      positions.insert(positions.end(), one.begin(), one.end());
    }
    for (int r = 0; r < patches_[k] + c.special(); ++r)
      patch.push_back(r < c.special() ? -(r + 1) : r - c.special() + 1);
    offsets.push_back(offsets.back() + static_cast<int32_t>(rows));
  }
  if (weights_->stream == Dtype::f16) {
    std::vector<uint16_t> half(positions.size());
    for (size_t i = 0; i < half.size(); ++i) half[i] = f32_to_f16(positions[i]);
    store_at(positions_.as(), half.data(), half.size() * wide);
  } else {
    store_at(positions_.as(), positions.data(), positions.size() * wide);
  }
  store_at(patch_start_.as(), patch.data(), patch.size() * 4);
  store_at(results_offsets_, offsets.data(), offsets.size() * 4);
  store_at(heights_.as(), heights_now_.data(), heights_now_.size() * 4);
  store_at(widths_.as(), widths_now_.data(), widths_now_.size() * 4);
}

void VitQueue::upload_pixels(const VitImage* images) {
  const size_t patch = static_cast<size_t>(config().patch);
  const size_t room =
      static_cast<size_t>(limits_.max_tokens) * 3 * patch * patch;  // values a picture may have
  std::vector<const float*> table(static_cast<size_t>(batch_));
  const bool moves = !on_.backend().host;
  for (int i = 0; i < batch_; ++i) {
    const VitImage& image = images[i];
    float* const to =
        moves && !image.on_device ? pixels_.as<float>() + static_cast<size_t>(i) * room : nullptr;
    table[static_cast<size_t>(i)] = to ? to : image.pixels;
    if (to)
      copy_in(to, image.pixels, 12 * static_cast<size_t>(image.height) * static_cast<size_t>(image.width));
  }
  if (table == pixels_now_) return;
  pixels_now_ = std::move(table);
  store_at(image_table_.as(), pixels_now_.data(), pixels_now_.size() * sizeof(void*));
}

// One block, one copy; the arrays in the order of the pointers below.
void VitQueue::upload_plan() {
  const size_t n = static_cast<size_t>(batch_), layers = static_cast<size_t>(config().layers);
  const size_t bytes = n * 8 + (2 * layers + 3) * n * 4;
  std::vector<char>& packed = packed_plan_;
  packed.clear();
  const auto put = [&](auto*& place, const auto& values) {
    using T = std::remove_reference_t<decltype(*place)>;
    place = reinterpret_cast<T*>(plan_.as<char>() + packed.size());
    const char* from = reinterpret_cast<const char*>(values.data());
    packed.insert(packed.end(), from, from + values.size() * sizeof(T));
  };
  put(plan_masses_, plan().masses);
  put(plan_counts_, plan().counts);
  put(plan_merges_, plan().merges);
  put(plan_thresholds_, plan().thresholds);
  put(plan_floors_, plan().floors);
  put(plan_samples_, plan().samples);
  plan_sent_ = plan_there_ == bytes && std::memcmp(host_plan_.as(), packed.data(), bytes) == 0;
  if (plan_sent_) return;
  // The copy of an earlier batch's plan may still be reading this memory.
  if (waiting_) memory().wait(on_);
  std::memcpy(host_plan_.as(), packed.data(), bytes);
  copy_in(plan_.as(), host_plan_.as(), bytes);
  plan_there_ = bytes;
  plan_sent_ = true;
}

// Runs of one kind queue the same ops: what differs between them lies in the arrays that upload_plan fills.
std::string VitQueue::kind_of(const VitRun& run, int batch) const {
  const Prune& p = run.prune;
  return fmt::format("{} {} {} {} {} {} {} {} {} {}", batch, static_cast<int>(p.method),
                     static_cast<int>(p.rule), p.after, static_cast<int>(run.layout),
                     static_cast<int>(run.output), run.whole_last_block, plan().cuts, p.imposed.empty(),
                     p.method == PruneMethod::paper_dynamicvit ? p.seed : 0);
}

// Bounds are rounded up, so that a little more does not mean recording anew.
void VitQueue::fit_bounds() {
  const auto up = [](int value, int step) { return (value + step - 1) / step * step; };
  constexpr int kLengthStep = 16, kRowSteps = 16;
  Recorded& k = *kind_;
  bool fits = !k.longest.empty();
  for (size_t b = 0; fits && b < k.longest.size(); ++b)
    fits = plan().longest[b] <= k.longest[b] && plan().most_rows[b] <= k.most_rows[b];
  if (fits) return;
  k.longest.resize(plan().longest.size(), 0);
  k.most_rows.resize(plan().longest.size(), 0);
  k.likely_rows = plan().likely_rows;
  const int row_step = std::max(kLengthStep, capacity_ / kRowSteps);
  for (size_t b = 0; b < k.longest.size(); ++b) {
    k.longest[b] = std::min(max_len_, std::max(k.longest[b], up(plan().longest[b], kLengthStep)));
    k.most_rows[b] =
        std::min(batch_ * k.longest[b], std::max(k.most_rows[b], up(plan().most_rows[b], row_step)));
  }
  if (waiting_ && k.graph) memory().wait(on_);  // replays of what goes now
  k.graph.reset();
}

void VitQueue::submit(const VitImage* images, int batch, const VitRun& run) {
  check(images, batch, run);
  const VitConfig& c = config();
  const Prune& p = run.prune;
  std::vector<int> heights, widths;
  heights.reserve(static_cast<size_t>(batch)), widths.reserve(static_cast<size_t>(batch));
  patches_.clear();
  content_.clear();
  for (int i = 0; i < batch; ++i) {
    const VitImage& image = images[i];
    heights.push_back(image.height);
    widths.push_back(image.width);
    patches_.push_back(image.height / c.patch * (image.width / c.patch));
    const PruneBudget& budget = budget_of(p, i);
    const bool draws = budget.keep_max > budget.keep;
    if (draws && !image.content_hash && image.on_device)
      throw Error(fmt::format(
          "vit: picture {}: a range of keep rates for pixels on the device needs a content_hash", i));
    content_.push_back(!draws ? 0 : image.content_hash ? image.content_hash : hash_pixels(image));
  }
  if (plan_memory_.update(c, run, patches_, content_)) plan_sent_ = false;
  reserve_for(run, images, batch);

  const bool reshaped = batch != batch_ || heights != heights_now_ || widths != widths_now_;
  batch_ = batch;
  capacity_ = batch * max_len_;
  heights_now_ = std::move(heights);
  widths_now_ = std::move(widths);
  results_offsets_ = results_.as<int32_t>() + static_cast<int64_t>(batch) * c.classes;
  if (reshaped) place_shapes();
  upload_pixels(images);
  if (!plan_sent_) upload_plan();

  kind_ = &kinds_[kind_of(run, batch)];
  fit_bounds();
  run_ = &run;
  if (!memory().records || run.eager) {
    queue_forward();
  } else {
    if (!kind_->graph) {
      queue_forward();  // once as it is: what kernels set up at first use must not be part of a recording
      memory().wait(on_);
      kind_->graph = memory().record(on_, [this] { queue_forward(); });
    }
    memory().replay(on_, kind_->graph);
  }
  run_ = nullptr;
  waiting_ = true;
  copy_out(host_results_.as(), results_.as(),
           static_cast<size_t>(batch_) * static_cast<size_t>(c.classes) * 4 +
               static_cast<size_t>(kind_->slots) * static_cast<size_t>(batch_ + 1) * 4);
  tokens_wanted_ = run.output == Output::tokens;
  if (tokens_wanted_) {
    copy_out(host_tokens_.as(), tokens_.as(),
             static_cast<size_t>(capacity_) * static_cast<size_t>(c.dim) * 4);
    const Buffer& patch = kind_->last_slot == 0 ? patch_start_ : sets_[kind_->last_set].patch;
    copy_out(host_patch_.as(), patch.as(), static_cast<size_t>(capacity_) * 4);
  }
}

const VitResult& VitQueue::collect() {
  require(kind_ != nullptr, "vit: collect: wanted a submit before it, found none");
  memory().wait(on_);
  waiting_ = false;
  read_results();
  result_.tokens = nullptr;
  if (tokens_wanted_) read_tokens();
  return result_;
}

size_t VitQueue::nodes(const VitRun& run, int batch) const {
  const auto found = kinds_.find(kind_of(run, batch));
  return found == kinds_.end() ? 0 : memory().nodes(found->second.graph);
}

void VitQueue::read_results() {
  const VitConfig& c = config();
  const size_t n = static_cast<size_t>(batch_);
  const int32_t* slots = host_results_.as<int32_t>() + n * static_cast<size_t>(c.classes);
  const auto length = [&](int slot, size_t i) {
    const int32_t* at = slots + static_cast<size_t>(slot) * (n + 1) + i;
    return slot < 0 ? special() : at[1] - at[0];
  };
  result_.batch = batch_;
  result_.classes = c.classes;
  result_.dim = c.dim;
  result_.logits = host_results_.as<float>();
  result_.kept.resize(n);
  result_.macs.resize(n);
  for (size_t i = 0; i < n; ++i) {
    result_.kept[i].resize(static_cast<size_t>(c.layers));
    for (int b = 0; b < c.layers; ++b)
      result_.kept[i][static_cast<size_t>(b)] = length(kind_->kept_slot[static_cast<size_t>(b)], i);
    double macs = static_cast<double>(patches_[i]) * 3 * c.patch * c.patch * c.dim;
    for (const Term& t : kind_->terms) {
      const double rows = t.kind == Term::diffrate_pairs ? 0 : length(t.slot, i);
      const int32_t* counts = plan().counts_at(t.other) + i;
      switch (t.kind) {
        case Term::per_row:
          macs += t.factor * rows;
          break;
        case Term::per_pair:
          macs += t.factor * rows * length(t.other, i);
          break;
        case Term::tome_pairs:
          if (*counts > 0) macs += t.factor * rows * rows;
          break;
        case Term::diffrate_pairs: {
          const double left = plan().merges_at(t.other)[i];
          macs += t.factor * (*counts - left) * left;
        }
      }
    }
    result_.macs[i] = macs;
  }
}

void VitQueue::read_tokens() {
  const int32_t* offsets = host_results_.as<int32_t>() + static_cast<int64_t>(batch_) * config().classes +
                           static_cast<int64_t>(kind_->last_slot) * (batch_ + 1);
  result_.tokens = host_tokens_.as<float>();
  result_.token_offsets.assign(offsets, offsets + batch_ + 1);
  result_.token_patch.clear();
  for (int r = 0; r < offsets[batch_]; ++r)
    result_.token_patch.push_back(std::max(0, host_patch_.as<int32_t>()[r]) - 1);
}

// What only some methods and outputs need is reserved at the first run that does.
void VitQueue::reserve_for(const VitRun& run, const VitImage* images, int batch) {
  const VitConfig& c = config();
  const size_t b = static_cast<size_t>(limits_.max_batch), r = b * static_cast<size_t>(max_len_);
  const size_t d = static_cast<size_t>(c.dim);
  const auto reserve = [&](Buffer& buffer, size_t bytes) {
    if (!buffer) buffer = on_device(bytes);
  };
  reserve(patch_start_, r * 4);
  if (run.layout == Layout::padded) {
    reserve(seen_, r * 2 * d * static_cast<size_t>(bytes_of(weights_->dtype)));
    reserve(seen_row_, r * static_cast<size_t>(c.heads) * 4);
  }
  const PruneMethod method = run.prune.method;
  if (method == PruneMethod::dynamicvit || method == PruneMethod::paper_dynamicvit) reserve(unit_, r * d * 4);
  if (method == PruneMethod::paper_dynamicvit && (!gate_ || gate_->seed != run.prune.seed)) {
    // What was recorded reads the old gate's weights: it goes with them.
    if (waiting_) memory().wait(on_);
    kind_ = nullptr;
    kinds_.clear();
    gate_ = std::make_unique<PaperGate>(make_paper_gate(*weights_, run.prune.seed));
  }
  if (merges_rows(method)) {
    for (Buffer* column : {&similarity_, &best_, &into_}) reserve(*column, r * 4);
    for (Buffer* column : {&role_, &survivors_}) reserve(*column, r);
    for (RowSet& set : sets_) reserve(set.size, r * 4);
    reserve(unit_, r * d * 4);
    if (!ones_size_) {
      const std::vector<float> ones(r, 1.0f);
      ones_size_ = copy_on(*weights_->backend, ones.data(), r * 4);
    }
  }
  if (run.output == Output::tokens) {
    for (RowSet& set : sets_) reserve(set.patch, r * 4);
    reserve(tokens_, r * d * 4);
    if (!host_tokens_) host_tokens_ = Buffer(r * d * 4);
    if (!host_patch_) host_patch_ = Buffer(r * 4);
  }
  const bool uploads = !on_.backend().host &&
                       std::any_of(images, images + batch, [](const VitImage& i) { return !i.on_device; });
  if (uploads) reserve(pixels_, r * 3 * static_cast<size_t>(c.patch) * static_cast<size_t>(c.patch) * 4);
}

}  // namespace hedgerow
