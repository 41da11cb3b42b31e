// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/vision/vit_weights.h"

#include <fmt/format.h>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/vit_load.h"

namespace hedgerow {
namespace {

void check(const VitConfig& c) {
  require(c.dim > 0 && c.layers > 0 && c.heads > 0 && c.hidden_dim > 0 && c.classes > 0 && c.patch > 0,
          "vit: every size must be positive");
  require(c.dim % c.heads == 0, fmt::format("vit: dim {} is not a multiple of heads {}", c.dim, c.heads));
  const int d = c.head_dim();
  require(d == 32 || d == 64 || d == 128, fmt::format("vit: head_dim: wanted 32, 64 or 128, found {}", d));
  require(c.image_size % c.patch == 0,
          fmt::format("vit: image size {} is not a multiple of patch {}", c.image_size, c.patch));
}

void check_size(const std::vector<float>& v, int64_t wanted, const char* what) {
  require(static_cast<int64_t>(v.size()) == wanted,
          fmt::format("vit: {}: wanted {} values, found {}", what, wanted, v.size()));
}

class Packer {
 public:
  Packer(const Backend& backend, Dtype dtype) : backend_(backend), dtype_(dtype) {}

  PackedLinear operator()(const std::vector<float>& w, const std::vector<float>& bias, int n, int k,
                          const char* what, int first_row = 0) const {
    require(
        static_cast<int64_t>(w.size()) >= (static_cast<int64_t>(first_row) + n) * k,
        fmt::format("vit: {}: wanted at least {} x {} values, found {}", what, first_row + n, k, w.size()));
    require(bias.empty() || static_cast<int>(bias.size()) >= first_row + n,
            fmt::format("vit: {} bias: wanted {} values, found {}", what, n, bias.size()));
    return pack_linear(backend_, w.data() + static_cast<int64_t>(first_row) * k,
                       bias.empty() ? nullptr : bias.data() + first_row, n, k, dtype_);
  }

 private:
  const Backend& backend_;
  Dtype dtype_;
};

PredictorWeights pack_predictor(const PredictorParameters& p, int dim, const Packer& pack,
                                const Backend& backend) {
  check_size(p.norm_weight, dim, "predictor norm");
  check_size(p.norm_bias, dim, "predictor norm bias");
  PredictorWeights w;
  w.norm = norm_on(backend, p.norm_weight, p.norm_bias);
  w.in = pack(p.in_weight, p.in_bias, dim, dim, "predictor in_conv.1");
  w.out0 = pack(p.out0_weight, p.out0_bias, dim / 2, dim, "predictor out_conv.0");
  w.out2 = pack(p.out2_weight, p.out2_bias, dim / 4, dim / 2, "predictor out_conv.2");
  w.out4 = pack(p.out4_weight, p.out4_bias, 2, dim / 4, "predictor out_conv.4");
  return w;
}

// [classes, special * dim]: the mean of the two heads of a distilled model as one matrix.
PackedLinear pack_head(const VitParameters& p, const Packer& pack) {
  const VitConfig& c = p.config;
  if (!c.distilled) return pack(p.head_weight, p.head_bias, c.classes, c.dim, "head");
  const size_t d = static_cast<size_t>(c.dim);
  check_size(p.head_weight, static_cast<int64_t>(c.classes) * c.dim, "head");
  check_size(p.head_dist_weight, static_cast<int64_t>(c.classes) * c.dim, "head_dist");
  check_size(p.head_bias, c.classes, "head bias");
  check_size(p.head_dist_bias, c.classes, "head_dist bias");
  std::vector<float> w(static_cast<size_t>(c.classes) * 2 * d), bias(static_cast<size_t>(c.classes));
  for (size_t n = 0; n < bias.size(); ++n) {
    for (size_t k = 0; k < d; ++k) {
      w[n * 2 * d + k] = 0.5f * p.head_weight[n * d + k];
      w[n * 2 * d + d + k] = 0.5f * p.head_dist_weight[n * d + k];
    }
    bias[n] = 0.5f * (p.head_bias[n] + p.head_dist_bias[n]);
  }
  return pack(w, bias, c.classes, 2 * c.dim, "head");
}

}  // namespace

std::shared_ptr<const VitWeights> pack_vit(const VitParameters& p, const Backend& backend, Dtype dtype) {
  const VitConfig& c = p.config;
  check(c);
  const bool eight = is_quantised(dtype);
  const DtypeSet weights = backend.traits().weights;
  require(weights.has(dtype),
          fmt::format("vit: dtype: wanted {}, found {}", text_of(weights), name_of(dtype)));
  require(!eight || (c.dim % 16 == 0 && c.hidden_dim % 16 == 0),
          fmt::format("vit: {}: wanted dim and hidden_dim in multiples of 16, found {} and {}",
                      name_of(dtype), c.dim, c.hidden_dim));
  require(static_cast<int>(p.blocks.size()) == c.layers,
          fmt::format("vit: wanted {} blocks, found {}", c.layers, p.blocks.size()));
  require(p.predictors.empty() || p.predictors.size() == 3,
          fmt::format("vit: predictors: wanted 0 or 3, found {}", p.predictors.size()));
  check_size(p.cls_token, c.dim, "cls_token");
  check_size(p.dist_token, c.distilled ? c.dim : 0, "dist_token");
  check_size(p.pos_embed, static_cast<int64_t>(c.special() + c.grid() * c.grid()) * c.dim, "pos_embed");
  check_size(p.patch_bias, c.dim, "patch_embed bias");
  check_size(p.norm_weight, c.dim, "norm");
  check_size(p.norm_bias, c.dim, "norm bias");

  // In 8 bits the last block stays in f16, as do patches, attention's projection and the head: what the
  // answer is read from is worth more there than the time is.
  const Dtype asked = dtype;
  if (eight) dtype = Dtype::f16;
  const Packer pack(backend, dtype);
  auto w = std::make_shared<VitWeights>();
  w->config = c;
  w->backend = &backend;
  w->dtype = dtype;
  w->stream = dtype == Dtype::f16 ? Dtype::f16 : Dtype::f32;
  w->folded = !eight && backend.fuses_norm && w->stream == dtype;
  w->patch = pack(p.patch_weight, {}, c.dim, 3 * c.patch * c.patch, "patch_embed");
  w->embedding.config = c;
  w->embedding.cls_token = p.cls_token;
  w->embedding.dist_token = p.dist_token;
  w->embedding.pos_embed = p.pos_embed;
  w->embedding.patch_bias = p.patch_bias;
  for (int i = 0; i < c.layers; ++i) {
    const VitBlockParameters& b = p.blocks[static_cast<size_t>(i)];
    for (const auto* v : {&b.norm1_weight, &b.norm1_bias, &b.norm2_weight, &b.norm2_bias})
      check_size(*v, c.dim, "block norm");
    VitBlockWeights block;
    const EightBits types = eight ? eight_bits_of(asked, i, c.layers) : EightBits{dtype, dtype, dtype};
    if (eight) block.scales = e4m3_scales(b);
    FoldedNorm qkv, fc1;
    if (w->folded) {
      check_size(b.qkv_weight, int64_t{3} * c.dim * c.dim, "qkv");
      check_size(b.fc1_weight, static_cast<int64_t>(c.hidden_dim) * c.dim, "fc1");
      qkv = fold_norm(b.qkv_weight, b.qkv_bias, b.norm1_weight, b.norm1_bias);
      fc1 = fold_norm(b.fc1_weight, b.fc1_bias, b.norm2_weight, b.norm2_bias);
      const std::vector<float> ones(static_cast<size_t>(c.dim), 1.0f),
          zeros(static_cast<size_t>(c.dim), 0.0f);
      block.norm1 = norm_on(backend, ones, zeros);
      block.norm2 = norm_on(backend, ones, zeros);
      block.norm1.folded = block.norm2.folded = true;
    } else {
      qkv = {b.qkv_weight, b.qkv_bias}, fc1 = {b.fc1_weight, b.fc1_bias};
      block.norm1 = norm_on(backend, b.norm1_weight, b.norm1_bias);
      block.norm2 = norm_on(backend, b.norm2_weight, b.norm2_bias);
    }
    if (i + 1 < c.layers) {
      block.qkv = Packer(backend, types.qkv)(qkv.w, qkv.bias, 3 * c.dim, c.dim, "qkv");
    } else {
      block.q = pack(qkv.w, qkv.bias, c.dim, c.dim, "qkv");
      block.kv = pack(qkv.w, qkv.bias, 2 * c.dim, c.dim, "qkv", c.dim);
    }
    block.proj = pack(b.proj_weight, b.proj_bias, c.dim, c.dim, "proj");
    block.fc1 = Packer(backend, types.fc1)(fc1.w, fc1.bias, c.hidden_dim, c.dim, "fc1");
    block.fc2 = Packer(backend, types.fc2)(b.fc2_weight, b.fc2_bias, c.dim, c.hidden_dim, "fc2");
    w->blocks.push_back(std::move(block));
  }
  w->norm = norm_on(backend, p.norm_weight, p.norm_bias);
  // Near ties between classes are decided in the head; where products are quick it is f32.
  w->head = pack_head(p, Packer(backend, backend.host ? Dtype::f32 : dtype));
  for (const auto& predictor : p.predictors)
    w->predictors.push_back(pack_predictor(predictor, c.dim, pack, backend));
  return w;
}

NormWeights norm_on(const Backend& on, const std::vector<float>& gamma, const std::vector<float>& beta) {
  return {copy_on(on, gamma.data(), gamma.size() * 4), copy_on(on, beta.data(), beta.size() * 4)};
}

FoldedNorm fold_norm(const std::vector<float>& w, const std::vector<float>& bias,
                     const std::vector<float>& gamma, const std::vector<float>& beta) {
  const size_t k = gamma.size(), n = w.size() / k;
  FoldedNorm f;
  f.w.resize(w.size()), f.bias.resize(n);
  for (size_t o = 0; o < n; ++o) {
    double sum = 0, shift = bias.empty() ? 0 : bias[o];
    for (size_t c = 0; c < k; ++c) {
      const double v = static_cast<double>(w[o * k + c]);
      sum += v * gamma[c], shift += v * beta[c];
    }
    const double mean = sum / static_cast<double>(k);
    for (size_t c = 0; c < k; ++c)
      f.w[o * k + c] = static_cast<float>(static_cast<double>(w[o * k + c]) * gamma[c] - mean);
    f.bias[o] = static_cast<float>(shift);
  }
  return f;
}

const VitConfig& config_of(const VitWeights& weights) { return weights.config; }

std::vector<float> position_rows(const VitWeights& weights, int grid_h, int grid_w) {
  const VitParameters& p = weights.embedding;
  const VitConfig& c = p.config;
  const size_t d = static_cast<size_t>(c.dim), special = static_cast<size_t>(c.special());
  std::vector<float> rows = resample_positions(p, grid_h, grid_w);  // special rows first, unchanged
  for (size_t k = 0; k < d; ++k) rows[k] += p.cls_token[k];
  if (c.distilled)
    for (size_t k = 0; k < d; ++k) rows[d + k] += p.dist_token[k];
  for (size_t r = special; r * d < rows.size(); ++r)
    for (size_t k = 0; k < d; ++k) rows[r * d + k] += p.patch_bias[k];
  return rows;
}

}  // namespace hedgerow
