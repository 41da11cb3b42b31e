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

// Rows first_row .. first_row + n - 1 of a matrix of k columns, and of its bias, if any.
struct Rows {
  const float *w, *bias;
};
Rows rows_from(const std::vector<float>& w, const std::vector<float>& bias, int n, int k, const char* what,
               int first_row) {
  require(static_cast<int64_t>(w.size()) >= (static_cast<int64_t>(first_row) + n) * k,
          fmt::format("vit: {}: wanted at least {} x {} values, found {}", what, first_row + n, k, w.size()));
  require(bias.empty() || static_cast<int>(bias.size()) >= first_row + n,
          fmt::format("vit: {} bias: wanted {} values, found {}", what, n, bias.size()));
  return {w.data() + static_cast<int64_t>(first_row) * k, bias.empty() ? nullptr : bias.data() + first_row};
}

class Packer {
 public:
  Packer(const Backend& backend, Dtype dtype) : backend_(backend), dtype_(dtype) {}

  PackedLinear operator()(const std::vector<float>& w, const std::vector<float>& bias, int n, int k,
                          const char* what) const {
    const Rows rows = rows_from(w, bias, n, k, what, 0);
    return pack_linear(backend_, rows.w, rows.bias, n, k, dtype_);
  }

 private:
  const Backend& backend_;
  Dtype dtype_;
};

// Products behind one of a block's norms.
class NormPacker {
 public:
  NormPacker(const Backend& backend, const std::vector<float>& gamma, const std::vector<float>& beta,
             float eps, Dtype stream, float row_scale, bool may_fold)
      : backend_(backend),
        gamma_(gamma),
        beta_(beta),
        eps_(eps),
        stream_(stream),
        row_scale_(row_scale),
        may_fold_(may_fold) {}

  PackedNormLinear operator()(const std::vector<float>& w, const std::vector<float>& bias, int n, Dtype dtype,
                              const char* what, int first_row = 0) const {
    const int k = static_cast<int>(gamma_.size());
    const Rows rows = rows_from(w, bias, n, k, what, first_row);
    return pack_norm_linear(backend_, {.gamma = gamma_.data(),
                                       .beta = beta_.data(),
                                       .eps = eps_,
                                       .w = rows.w,
                                       .bias = rows.bias,
                                       .n = n,
                                       .k = k,
                                       .dtype = dtype,
                                       .stream = stream_,
                                       .row_scale = row_scale_,
                                       .may_fold = may_fold_});
  }

 private:
  const Backend& backend_;
  const std::vector<float>&gamma_, &beta_;
  float eps_;
  Dtype stream_;
  float row_scale_;
  bool may_fold_;
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
    const E4m3Units scales = eight ? e4m3_units(b) : E4m3Units{};
    const NormPacker norm1(backend, b.norm1_weight, b.norm1_bias, c.norm_eps, w->stream, scales.norm1,
                           !eight),
        norm2(backend, b.norm2_weight, b.norm2_bias, c.norm_eps, w->stream, scales.norm2, !eight);
    check_size(b.qkv_weight, int64_t{3} * c.dim * c.dim, "qkv");
    if (i + 1 < c.layers) {
      block.qkv = norm1(b.qkv_weight, b.qkv_bias, 3 * c.dim, types.qkv, "qkv");
    } else {
      block.q = norm1(b.qkv_weight, b.qkv_bias, c.dim, dtype, "qkv");
      block.kv = norm1(b.qkv_weight, b.qkv_bias, 2 * c.dim, dtype, "qkv", c.dim);
    }
    block.proj = pack(b.proj_weight, b.proj_bias, c.dim, c.dim, "proj");
    block.fc1 = norm2(b.fc1_weight, b.fc1_bias, c.hidden_dim, types.fc1, "fc1");
    block.fc2 = Packer(backend, types.fc2)(b.fc2_weight, b.fc2_bias, c.dim, c.hidden_dim, "fc2");
    block.fc2.row_scale = scales.hidden;
    w->blocks.push_back(std::move(block));
  }
  w->norm = norm_on(backend, p.norm_weight, p.norm_bias);
  // Near ties between classes are decided in the head: it is f32 whatever the rest is.
  w->head = pack_head(p, Packer(backend, Dtype::f32));
  for (const auto& predictor : p.predictors)
    w->predictors.push_back(pack_predictor(predictor, c.dim, pack, backend));
  return w;
}

NormWeights norm_on(const Backend& on, const std::vector<float>& gamma, const std::vector<float>& beta) {
  return {copy_on(on, gamma.data(), gamma.size() * 4), copy_on(on, beta.data(), beta.size() * 4)};
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
