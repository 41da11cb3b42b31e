// SPDX-License-Identifier: Apache-2.0
// config.json and float tensors of a Hugging Face folder. What changes the arithmetic and is not implemented
// is refused by name.
#include "hedgerow/language/hf_lm.h"

#include <fmt/format.h>

#include <set>

#include "hedgerow/core/error.h"
#include "hedgerow/io/checkpoint.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/gptq.h"

namespace hedgerow {
namespace {

std::string module_name(LmMatrix m, int layer) {
  static constexpr const char* kNames[] = {"model.embed_tokens", "lm_head",          "self_attn.q_proj",
                                           "self_attn.k_proj",   "self_attn.v_proj", "self_attn.o_proj",
                                           "mlp.gate_proj",      "mlp.up_proj",      "mlp.down_proj"};
  const char* name = kNames[static_cast<int>(m)];
  return layer < 0 ? name : fmt::format("model.layers.{}.{}", layer, name);
}
std::string tensor_name(LmVector v, int layer) {
  static constexpr const char* kNames[] = {"input_layernorm.weight", "post_attention_layernorm.weight",
                                           "model.norm.weight",      "self_attn.q_proj.bias",
                                           "self_attn.k_proj.bias",  "self_attn.v_proj.bias"};
  const char* name = kNames[static_cast<int>(v)];
  return layer < 0 ? name : fmt::format("model.layers.{}.{}", layer, name);
}

class Config {
 public:
  explicit Config(const Checkpoint& files)
      : where_(files.path() + "/config.json"), text_(files.text_beside("config.json")) {
    if (text_.empty()) throw Error(where_ + ": wanted a model's configuration, found none");
    json_ = parse_json(text_, where_);
  }
  const nlohmann::json& json() const { return json_; }
  int whole(const char* key, int64_t high, int64_t fallback) const {
    return static_cast<int>(json_int(json_, key, 1, high, fallback, where_));
  }
  // Error unless the field is absent or says this.
  void refuse(const char* key, bool bad, const std::string& wanted) const {
    if (bad)
      throw Error(fmt::format("{}: {}: wanted {}, found {}", where_, key, wanted,
                              printable(json_find(json_, key) ? json_find(json_, key)->dump() : "none")));
  }
  const std::string& where() const { return where_; }

 private:
  std::string where_, text_;
  nlohmann::json json_;
};

void read_rope(const Config& c, LlamaConfig* to) {
  const nlohmann::json& json = c.json();
  const nlohmann::json* rope = json_find(json, "rope_scaling");
  if (!rope) rope = json_find(json, "rope_parameters");
  to->rope_base = json_number(json, "rope_theta", 1.0001, 1e12, 10000, c.where());
  if (!rope) return;
  to->rope_base = json_number(*rope, "rope_theta", 1.0001, 1e12, to->rope_base, c.where());
  const std::string type =
      json_text(*rope, "rope_type", json_text(*rope, "type", "default", c.where()), c.where());
  const auto number = [&](const char* key, double fallback) {
    return json_number(*rope, key, 1e-6, 1e9, fallback, c.where());
  };
  if (type == "linear")
    to->rope_factors.assign(static_cast<size_t>(to->head_dim / 2), static_cast<float>(number("factor", 1)));
  else if (type == "llama3")
    to->rope_factors =
        llama3_factors(to->rope_base, to->head_dim, number("factor", 8), number("low_freq_factor", 1),
                       number("high_freq_factor", 4), number("original_max_position_embeddings", 8192));
  else if (type != "default")
    throw Error(
        fmt::format("{}: rope type: wanted default, linear or llama3, found {}", c.where(), printable(type)));
}

LlamaConfig config_of(const Config& c) {
  const nlohmann::json& json = c.json();
  LlamaConfig to;
  to.family = json_text(json, "model_type", "", c.where());
  c.refuse("model_type", to.family != "llama" && to.family != "qwen2", "llama or qwen2");
  const std::string act = json_text(json, "hidden_act", "silu", c.where());
  c.refuse("hidden_act", act != "silu", "silu");
  for (const char* key : {"use_sliding_window", "mlp_bias"})
    c.refuse(key, json_bool(json, key, false, c.where()), "false");
  c.refuse("partial_rotary_factor", json_number(json, "partial_rotary_factor", 0, 1, 1, c.where()) != 1, "1");
  if (to.family == "llama")
    c.refuse("attention_bias", json_bool(json, "attention_bias", false, c.where()), "false");
  to.dim = c.whole("hidden_size", 1 << 16, 4096),
  to.hidden_dim = c.whole("intermediate_size", 1 << 20, 11008);
  to.layers = c.whole("num_hidden_layers", 1024, 32), to.heads = c.whole("num_attention_heads", 1024, 32);
  to.kv_heads = c.whole("num_key_value_heads", 1024, to.heads);
  to.head_dim = c.whole("head_dim", 1024, std::max(1, to.dim / to.heads));
  to.vocab = c.whole("vocab_size", 1 << 22, 32000);
  to.context = c.whole("max_position_embeddings", 1 << 24, 2048);
  to.eps = static_cast<float>(json_number(json, "rms_norm_eps", 1e-12, 1, 1e-6, c.where()));
  to.tied = json_bool(json, "tie_word_embeddings", false, c.where());
  read_rope(c, &to);
  return to;
}

class HfLm final : public LmFile {
 public:
  HfLm(const std::string& folder, const std::string& gptq_zeros) : files_(Checkpoint::open(folder)) {
    where_ = folder;
    const Config c(files_);
    config_ = config_of(c);
    check_config(config_, c.where());
    if (const nlohmann::json* q = json_find(c.json(), "quantization_config"))
      gptq_ = std::make_unique<Gptq>(files_, *q, c.where(), gptq_zeros);
    else if (const std::string beside = files_.text_beside("quantize_config.json"); !beside.empty())
      gptq_ = std::make_unique<Gptq>(files_, parse_json(beside, folder + "/quantize_config.json"),
                                     folder + "/quantize_config.json", gptq_zeros);
    if (!config_.tied && !files_.has("lm_head.weight") && !coded(LmMatrix::output, -1)) config_.tied = true;
    check_tensors();
    if (gptq_) notes_ = gptq_->notes();
  }

  Quant stored_as(LmMatrix which, int layer) const override {
    if (coded(which, layer)) return gptq_->stored_as(module_name(which, layer), shape_of(config_, which).k);
    const std::string& dtype = files_.dtype(module_name(which, layer) + ".weight");
    return {.values = dtype == "F32" ? Dtype::f32 : dtype == "F16" ? Dtype::f16 : Dtype::bf16};
  }

  QuantSource matrix(LmMatrix which, int layer) const override {
    const MatrixShape s = shape_of(config_, which);
    if (coded(which, layer)) return gptq_->matrix(module_name(which, layer), s.n, s.k);
    QuantSource out;
    const std::string name = module_name(which, layer) + ".weight";
    const std::string& dtype = files_.dtype(name);
    out.quant = stored_as(which, layer);
    out.n = s.n, out.k = s.k;
    const size_t row = static_cast<size_t>(s.k) * static_cast<size_t>(bytes_of(out.quant.values));
    out.read = [this, name, row, k = s.k, dtype](int first, int count, QuantRow* to) {
      std::vector<uint8_t> bytes(row * static_cast<size_t>(count));
      files_.read(name, static_cast<uint64_t>(first) * row, bytes.data(), bytes.size());
      TensorEntry entry;
      entry.dtype = dtype;
      for (int r = 0; r < count; ++r)
        values_to_f32(entry, bytes.data() + static_cast<size_t>(r) * row, static_cast<size_t>(k),
                      to[r].values.data(), where_);
    };
    return out;
  }

  std::vector<float> vector(LmVector which, int layer) const override {
    const std::string name = tensor_name(which, layer);
    if (!files_.has(name)) return {};
    std::vector<float> v = files_.load_f32(name, {length_of(config_, which)});
    const bool bias = which != LmVector::attention_norm && which != LmVector::feed_forward_norm &&
                      which != LmVector::final_norm;
    if (bias && std::all_of(v.begin(), v.end(), [](float x) { return x == 0; })) return {};
    return v;
  }

 private:
  bool coded(LmMatrix m, int layer) const { return gptq_ && files_.has(module_name(m, layer) + ".qweight"); }

  void check_tensors() const {
    std::set<std::string> known;
    const auto matrix_there = [&](LmMatrix m, int layer) {
      const std::string name = module_name(m, layer);
      const MatrixShape s = shape_of(config_, m);
      if (coded(m, layer)) {
        for (const std::string& part : gptq_->check(name, s.n, s.k)) known.insert(part);
        return;
      }
      const auto& shape = files_.shape(name + ".weight");
      const std::string& dtype = files_.dtype(name + ".weight");
      if (shape != std::vector<int64_t>{s.n, s.k})
        throw Error(fmt::format("{}: tensor {}.weight: wanted {}, found {}", where_, name,
                                shape_text({s.n, s.k}), shape_text(shape)));
      if (dtype != "F32" && dtype != "F16" && dtype != "BF16")
        throw Error(fmt::format("{}: tensor {}.weight: wanted F32, F16 or BF16, found {}", where_, name,
                                printable(dtype)));
      known.insert(name + ".weight");
    };
    const auto vector_there = [&](LmVector v, int layer, bool needed) {
      const std::string name = tensor_name(v, layer);
      if (!needed && !files_.has(name)) return;
      if (files_.shape(name) != std::vector<int64_t>{length_of(config_, v)})
        throw Error(fmt::format("{}: tensor {}: wanted {} values, found {}", where_, name,
                                length_of(config_, v), shape_text(files_.shape(name))));
      known.insert(name);
    };
    matrix_there(LmMatrix::embedding, -1);
    if (!config_.tied) matrix_there(LmMatrix::output, -1);
    vector_there(LmVector::final_norm, -1, true);
    for (int i = 0; i < config_.layers; ++i) {
      for (const LmMatrix m : kLayerMatrices) matrix_there(m, i);
      for (const LmVector v : kLayerNorms) vector_there(v, i, true);
      for (const LmVector v : kLayerBiases) vector_there(v, i, config_.family == "qwen2");
    }
    for (const std::string& name : files_.names()) {
      if (known.count(name) || name.ends_with("rotary_emb.inv_freq") ||
          (config_.tied && name == "lm_head.weight"))
        continue;
      // Old GPTQ files carry biases of zeros.
      if (name.ends_with(".bias")) {
        const std::vector<float> v = files_.load_f32(name, files_.shape(name));
        if (std::all_of(v.begin(), v.end(), [](float x) { return x == 0; })) continue;
      }
      throw Error(
          fmt::format("{}: tensor {}: wanted one of a llama or qwen2 model, found one that is not known",
                      where_, printable(name)));
    }
  }

  Checkpoint files_;
  std::unique_ptr<Gptq> gptq_;
};

}  // namespace

std::unique_ptr<LmFile> open_hf_lm(const std::string& folder, const std::string& gptq_zeros) {
  return std::make_unique<HfLm>(folder, gptq_zeros);
}

}  // namespace hedgerow
