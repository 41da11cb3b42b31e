// SPDX-License-Identifier: Apache-2.0
// timm's and Hugging Face's config.json. Every number is bounded here, so that nothing later can overflow.
#include "hedgerow/vision/vit_describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"

namespace hedgerow {
namespace {

using nlohmann::json;

constexpr int kMaxSide = 8192, kMaxClasses = 1'000'000;

// A side given as n, [n, n] or [3, n, n].
int square_side(const json& obj, const char* key, const std::string& where) {
  const json* v = json_find(obj, key);
  if (!v) return 0;
  if (!v->is_array()) return static_cast<int>(json_int(obj, key, 1, kMaxSide, 0, where));
  const size_t n = v->size();
  const auto side = [&](size_t i) { return json_int(json{{key, (*v)[i]}}, key, 1, kMaxSide, 0, where); };
  if (n != 2 && n != 3)
    throw Error(fmt::format("{}: \"{}\" should be a side or two, found {} numbers", where, key, n));
  if (side(n - 1) != side(n - 2))
    throw Error(fmt::format("{}: \"{}\" is {} x {}: only models trained on squares are supported", where, key,
                            side(n - 2), side(n - 1)));
  return static_cast<int>(side(n - 1));
}

void three_numbers(const json& obj, const char* key, double low, double high, float out[3],
                   const std::string& where) {
  const json* v = json_find(obj, key);
  if (!v) return;
  if (!v->is_array() || v->size() != 3)
    throw Error(fmt::format("{}: \"{}\" should be three numbers", where, key));
  for (int c = 0; c < 3; ++c)
    out[c] =
        static_cast<float>(json_number(json{{key, (*v)[static_cast<size_t>(c)]}}, key, low, high, 0, where));
}

void normalisation(const json& obj, const char* mean, const char* std, Preprocess& p,
                   const std::string& where) {
  three_numbers(obj, mean, -1000, 1000, p.mean, where);
  three_numbers(obj, std, 1e-6, 1000, p.std, where);
}

// Default names ("LABEL_7") say nothing and are left out.
std::vector<std::string> class_names(const json& config, const std::string& where) {
  std::vector<std::string> names;
  if (const json* list = json_find(config, "label_names"); list && list->is_array()) {
    if (list->size() > kMaxClasses) throw Error(where + ": too many label_names");
    for (const json& name : *list) names.push_back(name.is_string() ? name.get<std::string>() : name.dump());
    return names;
  }
  const json* map = json_find(config, "id2label");
  if (!map || !map->is_object() || map->size() > kMaxClasses) return names;
  names.resize(map->size());
  bool telling = false;
  for (const auto& [id, name] : map->items()) {
    const bool digits = !id.empty() && id.size() < 9 &&
                        std::all_of(id.begin(), id.end(), [](char c) { return c >= '0' && c <= '9'; });
    const size_t i = digits ? std::stoul(id) : names.size();
    if (i >= names.size() || !name.is_string())
      throw Error(fmt::format("{}: \"id2label\" should map 0 to {} to names, found key \"{}\"", where,
                              names.size() - 1, printable(id)));
    names[i] = name.get<std::string>();
    telling = telling || names[i] != "LABEL_" + id;
  }
  return telling ? names : std::vector<std::string>();
}

Activation activation_named(const std::string& name, const std::string& where) {
  if (name == "gelu") return Activation::gelu_erf;
  if (name == "gelu_tanh" || name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  throw Error(fmt::format("{}: activation \"{}\" is not supported (gelu and its tanh form are)", where,
                          printable(name)));
}

void refuse_unless(bool ok, const std::string& where, const std::string& what) {
  if (!ok) throw Error(fmt::format("{}: {} is not supported", where, what));
}

void describe_timm(const json& config, VitDescription& d, const std::string& where) {
  const std::string pool = json_text(config, "global_pool", "token", where);
  refuse_unless(pool == "token", where, "global_pool \"" + printable(pool) + "\" (only the class token is)");
  d.classes = static_cast<int>(json_int(config, "num_classes", 0, kMaxClasses, 0, where));
  if (const json* args = json_find(config, "model_args")) {
    d.image_size = square_side(*args, "img_size", where);
    d.patch = square_side(*args, "patch_size", where);
    d.heads = static_cast<int>(json_int(*args, "num_heads", 1, 256, 0, where));
    d.activation = activation_named(json_text(*args, "act_layer", "gelu", where), where);
    for (const char* key : {"norm_layer", "mlp_layer", "embed_layer", "block_fn", "attn_layer"})
      refuse_unless(!json_find(*args, key), where, fmt::format("model_args \"{}\"", key));
  }
  if (d.architecture.find("quickgelu") != std::string::npos) refuse_unless(false, where, "quickgelu");
  // The head count is not to be seen in any shape. Of timm's plain ViTs, only the largest have heads of other
  // than 64.
  for (const char* large : {"huge", "giant", "gigantic", "so400m"})
    if (d.heads == 0 && d.architecture.find(large) != std::string::npos) d.heads = 16;

  const json* pretrained = json_find(config, "pretrained_cfg");
  const json& p = pretrained ? *pretrained : config;
  if (const int side = square_side(p, "input_size", where)) {
    d.preprocess.width = d.preprocess.height = side;
    if (d.image_size == 0) d.image_size = side;
  }
  d.preprocess.crop_pct = json_number(p, "crop_pct", 0.05, 4, 0.875, where);
  const std::string mode = json_text(p, "crop_mode", "center", where);
  refuse_unless(mode == "center" || mode == "squash", where, "crop_mode \"" + printable(mode) + "\"");
  d.preprocess.squash = mode == "squash";
  d.preprocess.interpolation = interpolation_named(json_text(p, "interpolation", "bicubic", where));
  normalisation(p, "mean", "std", d.preprocess, where);
  if (!pretrained && !json_find(config, "mean"))
    d.notes.push_back("the file says nothing of preprocessing: ImageNet's usual is assumed");
}

// Hugging Face resizes to `size` (both sides, unless "shortest_edge"), then crops to `crop_size` where
// do_center_crop.
void describe_preprocessor(const json& p, VitDescription& d, const std::string& where) {
  Preprocess& out = d.preprocess;
  const auto side_of = [&](const char* key) -> int {
    const json* v = json_find(p, key);
    if (!v) return 0;
    if (!v->is_object()) return square_side(p, key, where);
    if (json_find(*v, "shortest_edge"))
      return static_cast<int>(json_int(*v, "shortest_edge", 1, kMaxSide, 0, where));
    const int64_t h = json_int(*v, "height", 1, kMaxSide, 0, where),
                  w = json_int(*v, "width", 1, kMaxSide, 0, where);
    refuse_unless(h == w && h > 0, where, fmt::format("\"{}\" of {} x {}", key, h, w));
    return static_cast<int>(h);
  };
  const json* size = json_find(p, "size");
  const int resized = side_of("size"),
            cropped = json_bool(p, "do_center_crop", false, where) ? side_of("crop_size") : 0;
  if (resized > 0) {
    out.resize = resized;
    out.width = out.height = cropped > 0 ? cropped : resized;
    out.squash = !(size->is_object() && json_find(*size, "shortest_edge"));
  }
  constexpr Interpolation kResample[] = {Interpolation::nearest, Interpolation::lanczos,
                                         Interpolation::bilinear, Interpolation::bicubic};
  out.interpolation = kResample[json_int(p, "resample", 0, 3, 2, where)];
  const double factor = json_number(p, "rescale_factor", 1e-9, 1e3, 1.0 / 255, where);
  refuse_unless(std::fabs(factor * 255 - 1) < 1e-3, where, "a rescale_factor other than 1/255");
  normalisation(p, "image_mean", "image_std", out, where);
}

void describe_huggingface(const json& config, const std::string& preprocessor, VitDescription& d,
                          const std::string& where) {
  const auto number = [&](const char* key, int64_t high) {
    return static_cast<int>(json_int(config, key, 1, high, 0, where));
  };
  d.image_size = square_side(config, "image_size", where);
  d.patch = square_side(config, "patch_size", where);
  d.dim = number("hidden_size", 8192);
  d.layers = number("num_hidden_layers", 256);
  d.heads = number("num_attention_heads", 256);
  d.hidden_dim = number("intermediate_size", 65536);
  d.activation = activation_named(json_text(config, "hidden_act", "gelu", where), where);
  d.norm_eps = static_cast<float>(json_number(config, "layer_norm_eps", 0, 0.1, 1e-12, where));
  if (d.norm_eps < 1e-9f)
    d.notes.push_back(
        fmt::format("the file says LayerNorm eps {:g}; it is used, though such models are trained with 1e-6",
                    d.norm_eps));
  d.preprocess.mean[0] = d.preprocess.mean[1] = d.preprocess.mean[2] = 0.5f;
  d.preprocess.std[0] = d.preprocess.std[1] = d.preprocess.std[2] = 0.5f;
  d.preprocess.interpolation = Interpolation::bilinear;
  d.preprocess.squash = true;
  d.preprocess.width = d.preprocess.height = d.preprocess.resize = d.image_size > 0 ? d.image_size : 224;
  if (preprocessor.empty()) {
    d.notes.push_back("no preprocessor_config.json: " + describe(d.preprocess) + " is assumed");
    return;
  }
  describe_preprocessor(parse_json(preprocessor, where), d, where);
  // The faulty files do not name the model; the folder, as a rule, does.
  const std::string name = where + json_text(config, "_name_or_path", "", where);
  if (name.find("deit") != std::string::npos && d.preprocess.mean[0] == 0.5f && d.preprocess.squash &&
      d.preprocess.resize == d.preprocess.width)
    d.notes.push_back(
        "the file's preprocessing is not what DeiT was trained with and loses accuracy; better: --mean "
        "0.485,0.456,0.406 "
        "--std 0.229,0.224,0.225 --resize 256 --crop 224 --interpolation bicubic");
}

}  // namespace

VitDescription describe_vit(const std::string& config_text, const std::string& preprocessor,
                            const std::string& where) {
  VitDescription d;
  if (config_text.empty()) {
    d.notes.push_back("no config.json: heads of 64, eps 1e-6 and ImageNet's usual preprocessing are assumed");
    return d;
  }
  const json config = parse_json(config_text, where);
  if (!config.is_object()) throw Error(where + ": wanted a JSON object");
  d.architecture = json_text(config, "architecture", "", where);
  const std::string type = json_text(config, "model_type", "", where);
  if (!type.empty()) {
    refuse_unless(type == "vit" || type == "deit", where, "model_type \"" + printable(type) + "\"");
    d.lineage = "huggingface";
    d.architecture = type;
    describe_huggingface(config, preprocessor, d, where);
  } else {
    describe_timm(config, d, where);
  }
  d.lineage = json_text(config, "lineage", d.lineage, where);
  for (const char* known : {"timm", "huggingface", "deit", "dynamicvit", "evit", "ats", "hedgerow"})
    if (d.lineage == known) {
      d.class_names = class_names(config, where);
      return d;
    }
  throw Error(fmt::format("{}: lineage \"{}\" is not known", where, printable(d.lineage)));
}

}  // namespace hedgerow
