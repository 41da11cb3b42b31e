// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/gguf_lm.h"

#include <fmt/format.h>

#include <set>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"
#include "hedgerow/io/safetensors.h"
#include "hedgerow/language/ggml_blocks.h"

namespace hedgerow {
namespace {

std::string tensor_name(LmMatrix m, int layer) {
  static constexpr const char* kNames[] = {"token_embd",  "output",   "attn_q", "attn_k",  "attn_v",
                                           "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
  const std::string name = std::string(kNames[static_cast<int>(m)]) + ".weight";
  return layer < 0 ? name : fmt::format("blk.{}.{}", layer, name);
}
std::string tensor_name(LmVector v, int layer) {
  static constexpr const char* kNames[] = {"attn_norm.weight", "ffn_norm.weight", "output_norm.weight",
                                           "attn_q.bias",      "attn_k.bias",     "attn_v.bias"};
  return layer < 0 ? kNames[static_cast<int>(v)]
                   : fmt::format("blk.{}.{}", layer, kNames[static_cast<int>(v)]);
}

// What changes the arithmetic and is not implemented is refused by name.
void refuse_unknown(const GgufHeader& h, const std::string& arch) {
  const std::string scaling = h.text(arch + ".rope.scaling.type", "none");
  if (scaling != "none" && scaling != "linear")
    throw Error(fmt::format("{}: {}.rope.scaling.type: wanted none or linear, found {}", h.where, arch,
                            printable(scaling)));
  for (const char* key :
       {".attention.sliding_window", ".expert_count", ".attention.causal", ".attn_logit_softcapping",
        ".logit_scale", ".embedding_scale", ".residual_scale", ".attention.scale"})
    if (h.has(arch + key) && !(std::string(key) == ".expert_count" && h.whole(arch + key, 0, 1 << 20) == 0))
      throw Error(
          fmt::format("{}: {}{}: wanted a model without it, which is not implemented", h.where, arch, key));
}

LlamaConfig config_of(const GgufHeader& h, const std::string& arch) {
  LlamaConfig c;
  c.family = arch;
  const auto whole = [&](const char* key, int64_t high) {
    return static_cast<int>(h.whole(arch + key, 1, high));
  };
  c.layers = whole(".block_count", 1024), c.dim = whole(".embedding_length", 1 << 16);
  c.hidden_dim = whole(".feed_forward_length", 1 << 20), c.heads = whole(".attention.head_count", 1024);
  c.kv_heads = static_cast<int>(h.whole(arch + ".attention.head_count_kv", 1, 1024, c.heads));
  c.context = whole(".context_length", 1 << 24);
  c.eps = static_cast<float>(h.number(arch + ".attention.layer_norm_rms_epsilon", 1e-5));
  c.rope_base = h.number(arch + ".rope.freq_base", 10000);
  c.head_dim = static_cast<int>(h.whole(arch + ".attention.key_length", 1, 1024, c.dim / c.heads));
  const int64_t value = h.whole(arch + ".attention.value_length", 1, 1024, c.head_dim),
                turned = h.whole(arch + ".rope.dimension_count", 1, 1024, c.head_dim);
  if (value != c.head_dim || turned != c.head_dim)
    throw Error(
        fmt::format("{}: value length and rotary dimensions: wanted those of the keys, {}, found {} and {}",
                    h.where, c.head_dim, value, turned));
  const auto embedding = h.tensors.find("token_embd.weight");
  if (embedding == h.tensors.end() || embedding->second.shape.size() != 2)
    throw Error(fmt::format("{}: token_embd.weight: wanted a matrix, found {}", h.where,
                            embedding == h.tensors.end() ? "none" : shape_text(embedding->second.shape)));
  c.vocab = static_cast<int>(embedding->second.shape[0]);
  c.tied = !h.tensors.count("output.weight");
  if (h.text(arch + ".rope.scaling.type", "none") == "linear")
    c.rope_factors.assign(static_cast<size_t>(c.head_dim / 2),
                          static_cast<float>(h.number(arch + ".rope.scaling.factor", 1)));
  else if (const double s = h.number(arch + ".rope.scale_linear", 1); s != 1)
    c.rope_factors.assign(static_cast<size_t>(c.head_dim / 2), static_cast<float>(s));
  return c;
}

}  // namespace

GgufLm::GgufLm(const std::string& path) : file_(path), header_(read_gguf(file_)) {
  where_ = path;
  const std::string arch = header_.text("general.architecture", "");
  if (arch != "llama" && arch != "qwen2")
    throw Error(
        fmt::format("{}: general.architecture: wanted llama or qwen2, found '{}'", path, printable(arch)));
  refuse_unknown(header_, arch);
  config_ = config_of(header_, arch);
  neighbours_ = arch == "llama";
  std::set<std::string> known;
  if (const GgufTensor* factors = find("rope_freqs.weight")) {
    if (!config_.rope_factors.empty())
      throw Error(path + ": rope_freqs.weight: wanted no other rope scaling beside it, found linear");
    config_.rope_factors = values(*factors);
    known.insert("rope_freqs.weight");
  }
  check_config(config_, path);
  // Every matrix and vector is there in its shape, and nothing else is.
  const auto matrix_there = [&](LmMatrix m, int layer) {
    const MatrixShape s = shape_of(config_, m);
    known.insert(need(tensor_name(m, layer), {s.n, s.k}).name);
  };
  matrix_there(LmMatrix::embedding, -1);
  if (!config_.tied) matrix_there(LmMatrix::output, -1);
  known.insert(need(tensor_name(LmVector::final_norm, -1), {config_.dim}).name);
  for (int layer = 0; layer < config_.layers; ++layer) {
    for (const LmMatrix m : kLayerMatrices) matrix_there(m, layer);
    for (const LmVector v : kLayerNorms)
      known.insert(need(tensor_name(v, layer), {length_of(config_, v)}).name);
    for (const LmVector v : kLayerBiases)
      if (find(tensor_name(v, layer)))
        known.insert(need(tensor_name(v, layer), {length_of(config_, v)}).name);
  }
  for (const auto& [name, tensor] : header_.tensors)
    if (!known.count(name))
      throw Error(
          fmt::format("{}: {}: wanted a tensor of a llama or qwen2 model, found one that is not known", path,
                      printable(name)));
}

const GgufTensor* GgufLm::find(const std::string& name) const {
  const auto it = header_.tensors.find(name);
  return it == header_.tensors.end() ? nullptr : &it->second;
}

const GgufTensor& GgufLm::need(const std::string& name, const std::vector<int64_t>& shape) const {
  const GgufTensor* t = find(name);
  if (!t || t->shape != shape)
    throw Error(fmt::format("{}: {}: wanted {}, found {}", where_, name, shape_text(shape),
                            t ? shape_text(t->shape) : "none"));
  return *t;
}

std::vector<float> GgufLm::values(const GgufTensor& t) const {
  const GgmlType& type = *ggml_type(t.type);
  if (type.block != 1)
    throw Error(fmt::format("{}: {}: wanted F32, F16 or BF16, found {}", where_, t.name, type.name));
  std::vector<uint8_t> bytes(t.end - t.begin);
  file_.read(t.begin, bytes.data(), bytes.size());
  QuantRow row;
  const int count = static_cast<int>(bytes.size() / static_cast<size_t>(type.bytes));
  row.values.resize(static_cast<size_t>(count));
  unpack_ggml(t.type, bytes.data(), count, row);
  return row.values;
}

Quant GgufLm::stored_as(LmMatrix which, int layer) const {
  return quant_of_ggml(find(tensor_name(which, layer))->type);
}

QuantSource GgufLm::matrix(LmMatrix which, int layer) const {
  const GgufTensor& t = *find(tensor_name(which, layer));
  const GgmlType& type = *ggml_type(t.type);
  QuantSource s;
  s.quant = quant_of_ggml(t.type), s.n = static_cast<int>(t.shape[0]), s.k = static_cast<int>(t.shape[1]);
  const size_t row_bytes = static_cast<size_t>(s.k / type.block * type.bytes);
  const bool swap = neighbours_ && (which == LmMatrix::q || which == LmMatrix::k);
  s.read = [this, &t, row_bytes, swap, k = s.k](int first, int count, QuantRow* to) {
    std::vector<uint8_t> bytes(row_bytes * static_cast<size_t>(swap ? 1 : count));
    if (!swap) file_.read(t.begin + static_cast<uint64_t>(first) * row_bytes, bytes.data(), bytes.size());
    for (int r = 0; r < count; ++r) {
      const uint8_t* row = bytes.data() + (swap ? 0 : static_cast<size_t>(r) * row_bytes);
      if (swap)
        file_.read(t.begin + static_cast<uint64_t>(neighbours_row(first + r, config_.head_dim)) * row_bytes,
                   bytes.data(), row_bytes);
      unpack_ggml(t.type, row, k, to[r]);
    }
  };
  return s;
}

std::vector<float> GgufLm::vector(LmVector which, int layer) const {
  const GgufTensor* t = find(tensor_name(which, layer));
  if (!t) return {};
  std::vector<float> v = values(*t);
  if (neighbours_ && (which == LmVector::q_bias || which == LmVector::k_bias)) {
    std::vector<float> swapped(v.size());
    for (size_t i = 0; i < v.size(); ++i)
      swapped[i] = v[static_cast<size_t>(neighbours_row(static_cast<int>(i), config_.head_dim))];
    return swapped;
  }
  return v;
}

}  // namespace hedgerow
