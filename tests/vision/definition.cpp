// SPDX-License-Identifier: Apache-2.0
// The model itself, in the order of the paper's figure. Pruning methods: definition_prune.cpp.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "hedgerow/core/error.h"
#include "hedgerow/kernels/reference/reference.h"
#include "hedgerow/vision/positions.h"
#include "hedgerow/vision/prune_schedule.h"
#include "tests/vision/definition_given.h"
#include "tests/vision/definition_model.h"

namespace hedgerow::test {

Model::Model(const VitParameters& parameters, const VitImage& image, const DefinedRun& run)
    : p_(parameters),
      c_(parameters.config),
      image_(image),
      run_(run),
      ops_(run.numerics),
      patches_((image.height / c_.patch) * (image.width / c_.patch)),
      grid_(c_.special() + patches_ +
            (run.layout == Layout::padded && run.prune.method == PruneMethod::evit ? 3 : 0)) {
  require(!run.prune.after_block && !run.prune.readout, "definition: knows no methods of a caller's own");
}

Defined Model::run() {
  embed();
  for (int block = 0; block < c_.layers; ++block) {
    if (method() == PruneMethod::dynamicvit) dynamicvit(block);
    if (block + 1 == c_.layers && !run_.whole_last_block)
      last_block_for_readout(block);
    else
      whole_block(block);
    out_.kept.push_back(x_.count);
  }
  read_out();
  return std::move(out_);
}

// x = patches W^T + bias + position; special rows: token + position.
void Model::embed() {
  const int grid_h = image_.height / c_.patch, grid_w = image_.width / c_.patch;
  const int32_t height = image_.height, width = image_.width, offsets[] = {0, special() + patches_};
  const int values = 3 * c_.patch * c_.patch;
  Rows pixels(special() + patches_, values);
  pixels.value = reference::patchify({.images = &image_.pixels,
                                      .heights = &height,
                                      .widths = &width,
                                      .patch = c_.patch,
                                      .special = special(),
                                      .out = {},
                                      .rows = {offsets, 1, pixels.count, pixels.count}});
  ops_.store_rows(pixels);
  const std::vector<float> position = resample_positions(p_, grid_h, grid_w);
  Rows start(pixels.count, c_.dim);
  for (int i = 0; i < start.count; ++i)
    for (int d = 0; d < c_.dim; ++d) {
      const size_t k = static_cast<size_t>(d);
      const double token = i >= special() ? p_.patch_bias[k] : i == 0 ? p_.cls_token[k] : p_.dist_token[k];
      const double place = position[static_cast<size_t>(i) * static_cast<size_t>(c_.dim) + k];
      start.row(i)[d] = token + place;
      start.off(i)[d] = 2 * kUnit * (std::fabs(token) + std::fabs(place));
      code_.resize(static_cast<size_t>(start.count));
      code_[static_cast<size_t>(i)] = i < special() ? -(i + 1) : i - special() + 1;
    }
  ops_.store(start, run_.numerics.stream);
  x_ = ops_.add(start, ops_.linear(pixels, {p_.patch_weight, {}, c_.dim}));
  out_.macs += static_cast<double>(patches_) * values * c_.dim;
  if (method() == PruneMethod::tome || method() == PruneMethod::diffrate) {
    size_ = Rows(x_.count, 1);
    std::fill(size_.value.begin(), size_.value.end(), 1.0);
  }
  at("embed", -1, x_, code_);
}

void Model::whole_block(int block) {
  const VitBlockParameters& b = p_.blocks[static_cast<size_t>(block)];
  const double d2 = static_cast<double>(c_.dim) * c_.dim;
  Rows qkv = ops_.norm_linear(x_, {b.norm1_weight, b.norm1_bias, c_.norm_eps},
                              {b.qkv_weight, b.qkv_bias, 3 * c_.dim});
  at("qkv", block, qkv, code_);
  const Rows q = columns(qkv, 0, c_.dim), k = columns(qkv, c_.dim, c_.dim),
             v = columns(qkv, 2 * c_.dim, c_.dim);
  out_.macs += computed() * 3 * d2;

  // Scores by the class token's attention; ATS then asks only with the rows that it chose, of all keys.
  const int keys = x_.count;
  const bool ats = method() == PruneMethod::ats && block >= c_.layers / 4,
             grid = run_.layout == Layout::padded;
  Ops::Attended attended = ops_.attention(q, k, v, size_, c_.heads);
  const Rows first_row = attended.first_row;
  if (ats) {
    out_.macs += grid ? 0 : 2.0 * keys * c_.dim;
    const std::vector<int> kept = adaptive_sampling(block, first_row, v);
    attended = ops_.attention(take(q, kept), k, v, size_, c_.heads);
    keep(kept);
  }
  out_.macs += (grid ? grid_ : x_.count) * 2.0 * keys * c_.dim;
  at("attention", block, attended.out, code_);
  x_ = ops_.add(x_, ops_.linear(attended.out, {b.proj_weight, b.proj_bias, c_.dim}));
  out_.macs += computed() * d2;
  at("proj", block, x_, code_);

  if (method() == PruneMethod::tome) tome(block, k);
  if (method() == PruneMethod::diffrate) diffrate(block, first_row);
  if ((method() == PruneMethod::evit || method() == PruneMethod::evit_unfused) && stage(block) >= 0)
    evit(block, first_row);
  feed_forward(block);
  out_.macs += computed() * 2.0 * c_.dim * c_.hidden_dim;
  at("block", block, x_, code_);
  if (block == run_.prune.after - 1) prune_once(block, first_row);
}

// The last block: who reads out asks, of all; nothing else of it is ever looked at.
void Model::last_block_for_readout(int block) {
  const VitBlockParameters& b = p_.blocks[static_cast<size_t>(block)];
  const double d2 = static_cast<double>(c_.dim) * c_.dim;
  std::vector<int> lead(static_cast<size_t>(special()));
  std::iota(lead.begin(), lead.end(), 0);
  const Rows qkv = ops_.norm_linear(x_, {b.norm1_weight, b.norm1_bias, c_.norm_eps},
                                    {b.qkv_weight, b.qkv_bias, 3 * c_.dim});
  Rows kv = columns(qkv, c_.dim, 2 * c_.dim), q = take(columns(qkv, 0, c_.dim), lead);
  at("kv", block, kv, code_);
  at("q", block, q, {code_.begin(), code_.begin() + special()});
  Rows out = ops_.attention(q, columns(kv, 0, c_.dim), columns(kv, c_.dim, c_.dim), size_, c_.heads).out;
  out_.macs += computed() * 2 * d2 + special() * (2 * d2 + 2.0 * x_.count * c_.dim);
  keep(lead);
  at("attention", block, out, code_);
  x_ = ops_.add(x_, ops_.linear(out, {b.proj_weight, b.proj_bias, c_.dim}));
  at("proj", block, x_, code_);
  feed_forward(block);
  out_.macs += special() * 2.0 * c_.dim * c_.hidden_dim;
  at("block", block, x_, code_);
}

// x += fc2(gelu(fc1(norm2(x))))
void Model::feed_forward(int block) {
  const VitBlockParameters& b = p_.blocks[static_cast<size_t>(block)];
  const Rows inside = ops_.norm_linear(x_, {b.norm2_weight, b.norm2_bias, c_.norm_eps},
                                       {b.fc1_weight, b.fc1_bias, c_.hidden_dim}, c_.activation);
  x_ = ops_.add(x_, ops_.linear(inside, {b.fc2_weight, b.fc2_bias, c_.dim}));
}

// Head in f32, whatever the rest is; a distilled model's two heads are averaged.
void Model::read_out() {
  const Norm norm{p_.norm_weight, p_.norm_bias, c_.norm_eps};
  out_.tokens = ops_.layer_norm(x_, norm);
  ops_.store(out_.tokens, Dtype::f32);
  for (int32_t code : code_) out_.token_patch.push_back(code > 0 && code < kFusedRow ? code - 1 : -1);
  std::vector<int> lead(static_cast<size_t>(special()));
  std::iota(lead.begin(), lead.end(), 0);
  Rows read = take(out_.tokens, lead);
  at("head_input", c_.layers, read, {code_.begin(), code_.begin() + special()});
  Rows y = ops_.linear(take(read, {0}), {p_.head_weight, p_.head_bias, c_.classes}, Dtype::f32);
  if (c_.distilled) {
    const Rows z =
        ops_.linear(take(read, {1}), {p_.head_dist_weight, p_.head_dist_bias, c_.classes}, Dtype::f32);
    for (size_t i = 0; i < y.value.size(); ++i) {
      // One chain over both rows.
      y.bound[i] = y.bound[i] + z.bound[i] + chain(c_.dim) * (std::fabs(y.value[i]) + std::fabs(z.value[i]));
      y.value[i] = 0.5 * (y.value[i] + z.value[i]);
    }
  }
  ops_.store(y, Dtype::f32);
  at("logits", c_.layers, y, {});
  out_.logits = std::move(y);
  out_.macs += static_cast<double>(special()) * c_.dim * c_.classes;
}

Defined define(const VitParameters& parameters, const VitImage& image, const DefinedRun& run) {
  return Model(parameters, image, run).run();
}

}  // namespace hedgerow::test
