// SPDX-License-Identifier: Apache-2.0
// Every naming loads to the same parameters, and what is not supported is refused by name.
#include "hedgerow/vision/vit_load.h"

#include "hedgerow/vision/vit_describe.h"
#include "hedgerow/vision/vit_random.h"
#include "loading.h"

namespace hedgerow {
namespace {

using Tensors = std::map<std::string, Values>;

void put(Tensors& t, const std::string& name, std::vector<int64_t> shape) {
  t[name] = drawn(name, std::move(shape));
}

void pair(Tensors& t, const std::string& name, std::vector<int64_t> shape) {
  put(t, name + ".bias", {shape[0]});
  put(t, name + ".weight", std::move(shape));
}

// dim 64, 2 blocks, patch 8, 3 x 3 patches, 5 classes.
Tensors timm(bool distilled) {
  Tensors t;
  put(t, "cls_token", {1, 1, 64});
  if (distilled) put(t, "dist_token", {1, 1, 64});
  put(t, "pos_embed", {1, distilled ? 11 : 10, 64});
  pair(t, "patch_embed.proj", {64, 3, 8, 8});
  for (const char* b : {"blocks.0.", "blocks.1."}) {
    const std::string at = b;
    pair(t, at + "norm1", {64});
    pair(t, at + "attn.qkv", {192, 64});
    pair(t, at + "attn.proj", {64, 64});
    pair(t, at + "norm2", {64});
    pair(t, at + "mlp.fc1", {128, 64});
    pair(t, at + "mlp.fc2", {64, 128});
  }
  pair(t, "norm", {64});
  pair(t, "head", {5, 64});
  if (distilled) pair(t, "head_dist", {5, 64});
  return t;
}

// The same values under Hugging Face's names.
Tensors huggingface(const Tensors& timm, const std::string& prefix) {
  Tensors t;
  const bool distilled = timm.count("dist_token") != 0;
  const std::vector<std::pair<std::string, std::string>> names = {
      {"patch_embed.proj", prefix + "embeddings.patch_embeddings.projection"},
      {"cls_token", prefix + "embeddings.cls_token"},
      {"dist_token", prefix + "embeddings.distillation_token"},
      {"pos_embed", prefix + "embeddings.position_embeddings"},
      {"head_dist", "distillation_classifier"},
      {"head", distilled ? "cls_classifier" : "classifier"},
      {".attn.proj", ".attention.output.dense"},
      {".norm1", ".layernorm_before"},
      {".norm2", ".layernorm_after"},
      {".mlp.fc1", ".intermediate.dense"},
      {".mlp.fc2", ".output.dense"},
      {"blocks.", prefix + "encoder.layer."}};
  for (const auto& [name, v] : timm) {
    std::string other = name.rfind("norm.", 0) == 0 ? prefix + "layer" + name : name;
    for (const auto& [from, to] : names)
      if (const size_t at = other.find(from); at != std::string::npos &&
                                              other.rfind(prefix + "layernorm.", 0) != 0 &&
                                              (at == 0 || from[0] == '.'))
        other.replace(at, from.size(), to);
    const size_t qkv = other.find(".attn.qkv.");
    if (qkv == std::string::npos) {
      t[other] = v;
      continue;
    }
    const char* parts[] = {"query", "key", "value"};
    const size_t third = v.values.size() / 3;
    for (size_t i = 0; i < 3; ++i) {
      Values part{v.shape, {v.values.begin() + i * third, v.values.begin() + (i + 1) * third}};
      part.shape[0] /= 3;
      t[other.substr(0, qkv) + ".attention.attention." + parts[i] + other.substr(qkv + 9)] = part;
    }
  }
  return t;
}

std::string hf_config(const char* type, const std::string& more = "") {
  return std::string("{\"model_type\": \"") + type +
         "\", \"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 2, " +
         "\"intermediate_size\": 128, \"image_size\": 24, \"patch_size\": 8, \"layer_norm_eps\": 1e-6" +
         more + "}";
}

VitCheckpoint load(const Tensors& tensors, const std::string& config, int size = 0) {
  const Folder folder;
  folder.write("model.safetensors", safetensors_of(tensors));
  if (!config.empty()) folder.write("config.json", config);
  return load_vit(folder.path(), size);
}

void expect_same(const VitParameters& a, const VitParameters& b) {
  EXPECT_EQ(a.cls_token, b.cls_token);
  EXPECT_EQ(a.dist_token, b.dist_token);
  EXPECT_EQ(a.pos_embed, b.pos_embed);
  EXPECT_EQ(a.patch_weight, b.patch_weight);
  EXPECT_EQ(a.patch_bias, b.patch_bias);
  ASSERT_EQ(a.blocks.size(), b.blocks.size());
  for (size_t i = 0; i < a.blocks.size(); ++i) {
    EXPECT_EQ(a.blocks[i].norm1_weight, b.blocks[i].norm1_weight);
    EXPECT_EQ(a.blocks[i].qkv_weight, b.blocks[i].qkv_weight);
    EXPECT_EQ(a.blocks[i].qkv_bias, b.blocks[i].qkv_bias);
    EXPECT_EQ(a.blocks[i].proj_weight, b.blocks[i].proj_weight);
    EXPECT_EQ(a.blocks[i].norm2_bias, b.blocks[i].norm2_bias);
    EXPECT_EQ(a.blocks[i].fc1_weight, b.blocks[i].fc1_weight);
    EXPECT_EQ(a.blocks[i].fc2_bias, b.blocks[i].fc2_bias);
  }
  EXPECT_EQ(a.norm_weight, b.norm_weight);
  EXPECT_EQ(a.head_weight, b.head_weight);
  EXPECT_EQ(a.head_bias, b.head_bias);
  EXPECT_EQ(a.head_dist_weight, b.head_dist_weight);
}

TEST(VitLoad, timm_names_are_known) {
  const Tensors t = timm(false);
  const VitCheckpoint c =
      load(t, "{\"model_args\": {\"num_heads\": 2}, \"label_names\": [\"a\",\"b\",\"c\",\"d\",\"e\"]}");
  EXPECT_EQ(c.parameters.config.dim, 64);
  EXPECT_EQ(c.parameters.config.heads, 2);
  EXPECT_EQ(c.parameters.config.layers, 2);
  EXPECT_EQ(c.parameters.config.image_size, 24);
  EXPECT_EQ(c.parameters.config.hidden_dim, 128);
  EXPECT_FALSE(c.parameters.config.distilled);
  EXPECT_EQ(c.parameters.blocks[1].qkv_weight, t.at("blocks.1.attn.qkv.weight").values);
  EXPECT_EQ(c.class_names[4], "e");
  EXPECT_EQ(c.lineage, "timm");
  EXPECT_EQ(c.dtype_in_file, "F32");
  EXPECT_EQ(load(t, "").parameters.config.heads, 1);  // nothing said: heads of 64
}

TEST(VitLoad, hugging_face_names_give_the_same_parameters) {
  for (bool distilled : {false, true})
    for (const char* type : {"vit", "deit"}) {
      SCOPED_TRACE(type);
      const Tensors t = timm(distilled);
      const VitCheckpoint a = load(t, "{\"model_args\": {\"num_heads\": 2}}");
      const VitCheckpoint b = load(huggingface(t, std::string(type) + "."), hf_config(type));
      expect_same(a.parameters, b.parameters);
      EXPECT_EQ(b.parameters.config.heads, 2);
      EXPECT_EQ(b.lineage, "huggingface");
    }
}

TEST(VitLoad, one_head_on_a_distilled_model_counts_alone) {
  Tensors t = huggingface(timm(true), "deit.");
  for (const char* part : {"weight", "bias"}) {
    t[std::string("classifier.") + part] = t.at(std::string("cls_classifier.") + part);
    t.erase(std::string("cls_classifier.") + part);
    t.erase(std::string("distillation_classifier.") + part);
  }
  const VitParameters p = load(t, hf_config("deit")).parameters;
  EXPECT_EQ(p.head_weight[7], 2 * t.at("classifier.weight").values[7]);
  EXPECT_EQ(p.head_dist_weight[7], 0);
}

TEST(VitLoad, predictors_are_found_and_missing_biases_are_zero) {
  Tensors t = timm(false);
  t.erase("blocks.0.attn.qkv.bias");
  for (int s = 0; s < 3; ++s) {
    const std::string at = "score_predictor." + std::to_string(s) + ".";
    pair(t, at + "in_conv.0", {64});
    pair(t, at + "in_conv.1", {64, 64});
    pair(t, at + "out_conv.0", {32, 64});
    pair(t, at + "out_conv.2", {16, 32});
    pair(t, at + "out_conv.4", {2, 16});
  }
  const VitCheckpoint c = load(t, "{\"lineage\": \"dynamicvit\"}");
  EXPECT_EQ(c.parameters.predictors.size(), 3u);
  EXPECT_EQ(c.parameters.predictors[2].out4_weight, t.at("score_predictor.2.out_conv.4.weight").values);
  EXPECT_EQ(c.parameters.blocks[0].qkv_bias, std::vector<float>(192, 0.0f));
  EXPECT_EQ(c.parameters.config.resample, VitConfig::Resample::bilinear);
  t.erase("score_predictor.2.in_conv.0.weight");
  EXPECT_ERROR(load(t, ""), "2 score predictors, wanted 3");
}

TEST(VitLoad, refuses_by_name) {
  const struct {
    const char* tensor;
    std::vector<int64_t> shape;
    const char* message;
  } kBad[] = {{"blocks.0.ls1.gamma", {64}, "LayerScale"},
              {"reg_token", {1, 4, 64}, "register tokens"},
              {"fc_norm.weight", {64}, "average pooling"},
              {"blocks.0.attn.q_norm.weight", {64}, "query and key norm"},
              {"norm_pre.weight", {64}, "a norm before"},
              {"blocks.0.mlp.w12.weight", {64}, "SwiGLU"},
              {"attn_pool.q.weight", {64}, "attention pooling"},
              {"something.else", {64}, "something.else has no place"},
              {"pos_embed", {1, 9, 64}, "DeiT III"},
              {"pos_embed", {1, 12, 64}, "not a square grid"},
              {"cls_token", {1, 1, 65}, "wanted shape [64], found [1, 1, 65]"},
              {"blocks.1.mlp.fc1.weight", {127, 64}, "wanted shape [128, 64], found [127, 64]"},
              {"patch_embed.proj.weight", {64, 1, 8, 8}, "wanted [dim, 3, patch, patch]"},
              {"patch_embed.proj.weight", {48, 3, 8, 8}, "heads of 32, 64 and 128"},
              {"patch_embed.proj.weight", {64, 3, 2, 2}, "the patch side should be from 4 to 32"}};
  for (const auto& bad : kBad) {
    SCOPED_TRACE(bad.tensor);
    Tensors t = timm(false);
    put(t, bad.tensor, bad.shape);
    EXPECT_ERROR(load(t, ""), bad.message);
  }
  for (const auto& [name, values] : timm(true)) {
    if (name.find("bias") != std::string::npos &&
        (name.find("qkv") != std::string::npos || name.find("head") != std::string::npos ||
         name.find("patch") != std::string::npos))
      continue;
    SCOPED_TRACE(name);
    Tensors t = timm(true);
    t.erase(name);
    error_of([&] { load(t, ""); });
  }
  EXPECT_ERROR(load(timm(false), "{\"model_args\": {\"num_heads\": 3}}"), "3 heads on width 64");
  EXPECT_ERROR(load(timm(false), "{\"num_classes\": 4}"), "config.json says classes 4, the tensors say 5");
  EXPECT_ERROR(load(timm(false), "{\"label_names\": [\"a\"]}"), "1 class names for 5 classes");
}

TEST(VitLoad, describes_both_kinds) {
  const VitDescription a = describe_vit(slurp(data_path("timm_config.json")), "", "c");
  EXPECT_EQ(a.lineage, "dynamicvit");
  EXPECT_EQ(a.activation, Activation::gelu_tanh);
  EXPECT_EQ(a.preprocess.resize_target(), 248);
  EXPECT_EQ(a.preprocess.std[2], 0.25f);
  EXPECT_EQ(a.class_names.size(), 3u);
  const VitDescription b = describe_vit(slurp(data_path("huggingface_config.json")),
                                        slurp(data_path("huggingface_preprocessor.json")), "c");
  EXPECT_EQ(b.heads, 3);
  EXPECT_EQ(b.class_names[1], "goldfish");
  EXPECT_TRUE(b.preprocess.squash);
  EXPECT_EQ(b.preprocess.resize, 256);
  EXPECT_EQ(b.preprocess.width, 224);
  EXPECT_EQ(b.preprocess.interpolation, Interpolation::bicubic);
  // Named so that one can tell: DeiT's published preprocessing on this hub is wrong, and said to be.
  const VitDescription c =
      describe_vit(hf_config("vit"), R"({"size": 24, "resample": 3})", "deit-tiny/config.json");
  ASSERT_FALSE(c.notes.empty());
  EXPECT_NE(c.notes.back().find("not what DeiT was trained with"), std::string::npos);
  EXPECT_TRUE(describe_vit(hf_config("vit"), R"({"size": 24})", "vit/config.json").notes.empty());
}

TEST(VitLoad, refuses_configs_that_make_no_sense) {
  const char* const kBad[][2] = {{"[]", "wanted a JSON object"},
                                 {"{", "not valid JSON"},
                                 {R"({"model_type": "swin"})", "model_type \"swin\""},
                                 {R"({"model_type": 3})", "should be a short text"},
                                 {R"({"global_pool": "avg"})", "global_pool \"avg\""},
                                 {R"({"lineage": "x"})", "lineage \"x\""},
                                 {R"({"num_classes": -1})", "from 0 to 1000000, found -1"},
                                 {R"({"num_classes": 1e3})", "found 1000.0"},
                                 {R"({"num_classes": 99999999999999999999})", "whole number"},
                                 {R"({"num_classes": 18446744073709551615})", "whole number"},
                                 {R"({"input_size": [3, 224, 192]})", "only models trained on squares"},
                                 {R"({"input_size": []})", "found 0 numbers"},
                                 {R"({"crop_mode": "border"})", "crop_mode \"border\""},
                                 {R"({"mean": [1, 2]})", "three numbers"},
                                 {R"({"std": [1, 2, 0]})", "\"std\" should be a number"},
                                 {R"({"crop_pct": "x"})", "should be a number"},
                                 {R"({"interpolation": "box"})", "wanted nearest"},
                                 {R"({"model_args": {"act_layer": "relu"}})", "activation \"relu\""},
                                 {R"({"model_args": {"norm_layer": "rms"}})", "norm_layer"},
                                 {R"({"architecture": "vit_base_patch16_clip_quickgelu_224"})", "quickgelu"},
                                 {R"({"id2label": {"5": "a"}})", "should map 0 to 0"},
                                 {R"({"model_type": "vit", "hidden_act": "relu"})", "activation"},
                                 {R"({"model_type": "vit", "hidden_size": 9000})", "from 1 to 8192"}};
  for (const auto& bad : kBad) {
    SCOPED_TRACE(bad[0]);
    EXPECT_ERROR(describe_vit(bad[0], "", "c"), bad[1]);
  }
  EXPECT_ERROR(describe_vit(std::string(40, '[') + std::string(40, ']'), "", "c"), "nested deeper");
  EXPECT_ERROR(describe_vit(hf_config("vit"), R"({"rescale_factor": 1})", "c"), "rescale_factor");
  EXPECT_ERROR(describe_vit(hf_config("vit"), R"({"do_center_crop": 1})", "c"), "true or false");
  EXPECT_ERROR(describe_vit(hf_config("vit"), R"({"size": {"height": 5, "width": 6}})", "c"), "5 x 6");
}
}  // namespace
}  // namespace hedgerow
