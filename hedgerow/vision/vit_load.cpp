// SPDX-License-Identifier: Apache-2.0
// Reads every tensor by its checked shape and refuses what is left over: a tensor that we do not know is a
// computation that we would leave out.
#include "hedgerow/vision/vit_load.h"

#include <fmt/format.h>

#include <cmath>
#include <set>

#include "hedgerow/core/error.h"
#include "hedgerow/io/checkpoint.h"
#include "hedgerow/vision/vit_describe.h"
#include "hedgerow/vision/vit_random.h"
#include "hedgerow/vision/vit_refuse.h"

namespace hedgerow {
namespace {

class Loader {
 public:
  Loader(const Checkpoint& file, VitCheckpoint& out) : file_(file), out_(out) {}

  void load() {
    find_names();
    const std::string config = file_.text_beside("config.json");
    VitDescription d =
        describe_vit(config, file_.text_beside("preprocessor_config.json"), file_.path() + "/config.json");
    if (config.empty() && names_ == VitNames::huggingface) d.lineage = "huggingface";
    infer(d);
    read();
    refuse_leftovers();
    out_.preprocess = d.preprocess;
    out_.architecture = d.architecture;
    out_.lineage = d.lineage;
    out_.notes.insert(out_.notes.begin(), d.notes.begin(), d.notes.end());
    if (!d.class_names.empty() && static_cast<int>(d.class_names.size()) != out_.parameters.config.classes)
      throw Error(fmt::format("{}: {} class names for {} classes", file_.path(), d.class_names.size(),
                              out_.parameters.config.classes));
    out_.class_names = std::move(d.class_names);
  }

 private:
  bool huggingface() const { return names_ == VitNames::huggingface; }

  void find_names() {
    refuse_other_architectures(file_);
    for (const char* prefix : {"", "vit.", "deit."})
      if (file_.has(std::string(prefix) + "embeddings.patch_embeddings.projection.weight")) {
        names_ = VitNames::huggingface;
        prefix_ = prefix;
        return;
      }
    if (!file_.has("patch_embed.proj.weight"))
      throw Error(file_.path() + ": not a ViT: neither timm's nor Hugging Face's patch embedding is there");
  }

  // Sizes from shapes; where the config names one too, it must agree.
  void infer(const VitDescription& d) {
    VitConfig& c = out_.parameters.config;
    const std::string patch_name =
        huggingface() ? prefix_ + "embeddings.patch_embeddings.projection.weight" : "patch_embed.proj.weight";
    const std::vector<int64_t>& patch = file_.shape(patch_name);
    if (patch.size() != 4 || patch[1] != 3 || patch[2] != patch[3] || patch[0] > 8192 || patch[2] > 32)
      throw Error(fmt::format("{}: tensor {}: wanted [dim, 3, patch, patch], found {}", file_.path(),
                              patch_name, shape_text(patch)));
    c.dim = static_cast<int>(patch[0]);
    c.patch = static_cast<int>(patch[2]);
    c.layers = 0;
    while (c.layers <= 256 &&
           file_.has(block(c.layers) + (huggingface() ? "layernorm_before.weight" : "norm1.weight")))
      ++c.layers;
    if (c.layers == 0) throw Error(file_.path() + ": has no blocks");
    const std::string fc1 = block(0) + (huggingface() ? "intermediate.dense.weight" : "mlp.fc1.weight");
    c.hidden_dim = rows_of(fc1, 65536);
    c.distilled = file_.has(huggingface() ? prefix_ + "embeddings.distillation_token" : "dist_token");
    const std::string head =
        huggingface() ? (file_.has("cls_classifier.weight") ? "cls_classifier" : "classifier") : "head";
    if (!file_.has(head + ".weight"))
      throw Error(file_.path() + ": has no classifier head (tensor " + head + ".weight)");
    c.classes = rows_of(head + ".weight", 1'000'000);
    c.heads = d.heads > 0 ? d.heads : std::max(c.dim / 64, 1);
    c.activation = d.activation;
    c.norm_eps = d.norm_eps;
    c.resample = d.lineage == "dynamicvit" || d.lineage == "ats" ? VitConfig::Resample::bilinear
                                                                 : VitConfig::Resample::bicubic;
    c.antialias_positions = d.lineage == "timm";

    const std::string positions = positions_name();
    const std::vector<int64_t>& shape = file_.shape(positions);
    const int64_t rows = shape.size() >= 2 ? shape[shape.size() - 2] : 0, patches = rows - c.special();
    const int grid =
        static_cast<int>(std::lround(std::sqrt(static_cast<double>(std::max<int64_t>(patches, 0)))));
    if (int64_t{grid} * grid == rows && patches > 0)
      throw Error(fmt::format("{}: position embeddings without a class position (DeiT III) are not supported",
                              file_.path()));
    if (grid < 1 || grid > 2048 || int64_t{grid} * grid != patches)
      throw Error(fmt::format("{}: tensor {}: {} less {} special rows is not a square grid", file_.path(),
                              positions, shape_text(shape), c.special()));
    c.image_size = grid * c.patch;
    check_config(c, file_.path());
    const auto agree = [&](const char* what, int said, int found) {
      if (said > 0 && said != found)
        throw Error(
            fmt::format("{}: config.json says {} {}, the tensors say {}", file_.path(), what, said, found));
    };
    agree("width", d.dim, c.dim);
    agree("patch side", d.patch, c.patch);
    agree("layers", d.layers, c.layers);
    agree("MLP width", d.hidden_dim, c.hidden_dim);
    agree("classes", d.classes, c.classes);
    agree("image side", d.image_size, c.image_size);
  }

  std::string block(int i) const {
    return huggingface() ? fmt::format("{}encoder.layer.{}.", prefix_, i) : fmt::format("blocks.{}.", i);
  }
  std::string positions_name() const {
    return huggingface() ? prefix_ + "embeddings.position_embeddings" : "pos_embed";
  }

  int rows_of(const std::string& name, int64_t limit) const {
    const std::vector<int64_t>& shape = file_.shape(name);
    if (shape.size() != 2 || shape[0] < 1 || shape[0] > limit)
      throw Error(fmt::format("{}: tensor {}: wanted [1 to {}, n], found {}", file_.path(), name, limit,
                              shape_text(shape)));
    return static_cast<int>(shape[0]);
  }

  std::vector<float> take(const std::string& name, std::vector<int64_t> shape) {
    used_.insert(name);
    return file_.load_f32(name, shape);
  }

  // q, k and v as one matrix. A checkpoint without their biases (qkv_bias = false) gets zeros.
  void take_qkv(VitBlockParameters& b, const std::string& at, int64_t dim) {
    if (!huggingface()) {
      b.qkv_weight = take(at + "attn.qkv.weight", {3 * dim, dim});
      if (file_.has(at + "attn.qkv.bias")) b.qkv_bias = take(at + "attn.qkv.bias", {3 * dim});
    } else {
      for (const char* part : {"query", "key", "value"}) {
        const std::string name = at + "attention.attention." + part;
        const std::vector<float> w = take(name + ".weight", {dim, dim});
        b.qkv_weight.insert(b.qkv_weight.end(), w.begin(), w.end());
        if (!file_.has(name + ".bias")) continue;
        const std::vector<float> bias = take(name + ".bias", {dim});
        b.qkv_bias.insert(b.qkv_bias.end(), bias.begin(), bias.end());
      }
    }
    if (b.qkv_bias.empty()) b.qkv_bias.assign(static_cast<size_t>(3 * dim), 0.0f);
    if (b.qkv_bias.size() != static_cast<size_t>(3 * dim))
      throw Error(
          fmt::format("{}: {}attention: only some of query, key and value have a bias", file_.path(), at));
  }

  void read() {
    VitParameters& p = out_.parameters;
    const VitConfig& c = p.config;
    const int64_t dim = c.dim, hidden = c.hidden_dim, classes = c.classes, side = c.patch;
    const bool hf = huggingface();
    const std::string embed = hf ? prefix_ + "embeddings." : "";
    const std::string patch = hf ? embed + "patch_embeddings.projection." : "patch_embed.proj.";
    p.cls_token = take(embed + "cls_token", {dim});
    if (c.distilled) p.dist_token = take(hf ? embed + "distillation_token" : "dist_token", {dim});
    p.pos_embed = take(positions_name(), {c.special() + int64_t{c.grid()} * c.grid(), dim});
    out_.dtype_in_file = file_.dtype(patch + "weight");
    p.patch_weight = take(patch + "weight", {dim, 3, side, side});
    p.patch_bias = file_.has(patch + "bias") ? take(patch + "bias", {dim}) : std::vector<float>(c.dim, 0.0f);
    for (int i = 0; i < c.layers; ++i) {
      const std::string at = block(i);
      VitBlockParameters b;
      const auto pair = [&](const char* timm, const char* other, std::vector<float>& w,
                            std::vector<float>& bias, int64_t out, int64_t in) {
        const std::string name = at + (hf ? other : timm);
        w = take(name + ".weight", in > 0 ? std::vector<int64_t>{out, in} : std::vector<int64_t>{out});
        bias = take(name + ".bias", {out});
      };
      pair("norm1", "layernorm_before", b.norm1_weight, b.norm1_bias, dim, 0);
      take_qkv(b, at, dim);
      pair("attn.proj", "attention.output.dense", b.proj_weight, b.proj_bias, dim, dim);
      pair("norm2", "layernorm_after", b.norm2_weight, b.norm2_bias, dim, 0);
      pair("mlp.fc1", "intermediate.dense", b.fc1_weight, b.fc1_bias, hidden, dim);
      pair("mlp.fc2", "output.dense", b.fc2_weight, b.fc2_bias, dim, hidden);
      p.blocks.push_back(std::move(b));
    }
    const std::string norm = hf ? prefix_ + "layernorm" : "norm";
    p.norm_weight = take(norm + ".weight", {dim});
    p.norm_bias = take(norm + ".bias", {dim});
    read_heads(classes, dim);
    for (int s = 0; file_.has(fmt::format("score_predictor.{}.in_conv.0.weight", s)) && s < 3; ++s)
      read_predictor(s, dim);
    if (!p.predictors.empty() && p.predictors.size() != 3)
      throw Error(fmt::format("{}: {} score predictors, wanted 3", file_.path(), p.predictors.size()));
  }

  void read_heads(int64_t classes, int64_t dim) {
    VitParameters& p = out_.parameters;
    const auto head = [&](const std::string& name, std::vector<float>& w, std::vector<float>& b) {
      w = take(name + ".weight", {classes, dim});
      b = file_.has(name + ".bias") ? take(name + ".bias", {classes})
                                    : std::vector<float>(static_cast<size_t>(classes), 0.0f);
    };
    if (!p.config.distilled) return head(huggingface() ? "classifier" : "head", p.head_weight, p.head_bias);
    if (!huggingface()) {
      head("head", p.head_weight, p.head_bias);
      return head("head_dist", p.head_dist_weight, p.head_dist_bias);
    }
    if (file_.has("cls_classifier.weight")) {
      head("cls_classifier", p.head_weight, p.head_bias);
      return head("distillation_classifier", p.head_dist_weight, p.head_dist_bias);
    }
    // A distillation token but one head, on the class token: the mean of twice that head and nothing is
    // exactly it.
    head("classifier", p.head_weight, p.head_bias);
    for (float& w : p.head_weight) w *= 2;
    for (float& b : p.head_bias) b *= 2;
    p.head_dist_weight.assign(p.head_weight.size(), 0.0f);
    p.head_dist_bias.assign(p.head_bias.size(), 0.0f);
    out_.notes.push_back("one head on the class token of a distilled model: the distillation token has none");
  }

  void read_predictor(int s, int64_t dim) {
    PredictorParameters q;
    const auto pair = [&](const char* name, std::vector<float>& w, std::vector<float>& b, int64_t out,
                          int64_t in) {
      const std::string at = fmt::format("score_predictor.{}.{}", s, name);
      w = take(at + ".weight", in > 0 ? std::vector<int64_t>{out, in} : std::vector<int64_t>{out});
      b = take(at + ".bias", {out});
    };
    pair("in_conv.0", q.norm_weight, q.norm_bias, dim, 0);
    pair("in_conv.1", q.in_weight, q.in_bias, dim, dim);
    pair("out_conv.0", q.out0_weight, q.out0_bias, dim / 2, dim);
    pair("out_conv.2", q.out2_weight, q.out2_bias, dim / 4, dim / 2);
    pair("out_conv.4", q.out4_weight, q.out4_bias, 2, dim / 4);
    out_.parameters.predictors.push_back(std::move(q));
  }

  void refuse_leftovers() const {
    for (const std::string& name : file_.names())
      if (used_.count(name) == 0 && name.find("pooler.") == std::string::npos &&
          name.find("position_ids") == std::string::npos)
        throw Error(fmt::format("{}: tensor {} has no place in a ViT that is supported", file_.path(), name));
  }

  const Checkpoint& file_;
  VitCheckpoint& out_;
  VitNames names_ = VitNames::timm;
  std::string prefix_;
  std::set<std::string> used_;
};

void resample_to(VitCheckpoint& model, int image_size) {
  VitConfig& c = model.parameters.config;
  if (image_size == 0 || image_size == c.image_size) return;
  VitConfig wanted = c;
  wanted.image_size = image_size;
  check_config(wanted, model.path);
  model.parameters.pos_embed = resample_positions(model.parameters, wanted.grid(), wanted.grid());
  model.notes.push_back(fmt::format("position embeddings resampled from {} x {} to {} x {}: {} (lineage {})",
                                    c.grid(), c.grid(), wanted.grid(), wanted.grid(), describe_resampling(c),
                                    model.lineage));
  c = wanted;
}

}  // namespace

VitCheckpoint load_vit(const std::string& model, int image_size) {
  VitCheckpoint out;
  if (model.rfind("random:", 0) == 0) {
    out.path = model;
    out.lineage = "random";
    out.dtype_in_file = "none";
    out.parameters = random_vit(model.substr(7));
  } else {
    out.path = find_model(model);
    const Checkpoint file = Checkpoint::open(out.path);
    Loader(file, out).load();
  }
  resample_to(out, image_size);
  const int side = out.parameters.config.image_size;
  out.preprocess = at_size(out.preprocess, side, side);
  return out;
}

}  // namespace hedgerow
