// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/random_lm.h"

#include <cmath>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/io/json.h"

namespace hedgerow {
namespace {

struct Shape {
  const char* name;
  const char* family;
  int dim, layers, heads, kv_heads, head_dim, hidden, vocab, context;
  double base;
  bool tied;
};
constexpr Shape kShapes[] = {
    {"llama-2-7b", "llama", 4096, 32, 32, 32, 128, 11008, 32000, 4096, 1e4, false},
    {"tinyllama-1.1b", "llama", 2048, 22, 32, 4, 64, 5632, 32000, 2048, 1e4, false},
    {"llama-3.2-1b", "llama", 2048, 16, 32, 8, 64, 8192, 128256, 131072, 5e5, true},
    {"qwen2.5-0.5b", "qwen2", 896, 24, 14, 2, 64, 4864, 151936, 32768, 1e6, true},
    {"qwen2.5-1.5b", "qwen2", 1536, 28, 12, 2, 128, 8960, 151936, 32768, 1e6, true},
    {"smollm2-135m", "llama", 576, 30, 9, 3, 64, 1536, 49152, 8192, 1e5, true},
    {"small", "llama", 256, 2, 4, 2, 64, 512, 512, 1024, 1e4, true},
};
struct Type {
  const char* name;
  Quant quant;
};
const Type kTypes[] = {
    {"q4_0", {.bits = 4, .group = 32, .scales = Scales::f16, .zero = 8}},
    {"q8_0", {.bits = 8, .group = 32, .scales = Scales::f16, .zero = 128}},
    {"f32", {.values = Dtype::f32}},
    {"f16", {.values = Dtype::f16}},
    {"bf16", {.values = Dtype::bf16}},
};

class RandomLm final : public LmFile {
 public:
  RandomLm(const std::string& name, const Shape& s, const Quant& quant) : quant_(quant) {
    where_ = "random:" + name;
    config_ = {.family = s.family,
               .dim = s.dim,
               .layers = s.layers,
               .heads = s.heads,
               .kv_heads = s.kv_heads,
               .head_dim = s.head_dim,
               .hidden_dim = s.hidden,
               .vocab = s.vocab,
               .context = s.context,
               .rope_base = s.base,
               .rope_factors = {},
               .tied = s.tied};
  }
  Quant stored_as(LmMatrix, int) const override { return quant_; }
  QuantSource matrix(LmMatrix which, int layer) const override {
    const MatrixShape shape = shape_of(config_, which);
    QuantSource s;
    s.quant = quant_, s.n = shape.n, s.k = shape.k;
    const uint64_t key = static_cast<uint64_t>(layer + 1) * 16 + static_cast<uint64_t>(which);
    s.read = [quant = quant_, key, k = shape.k](int first, int count, QuantRow* to) {
      // Values of deviation 1 / sqrt(k): four bits of a code are spread over [-8, 8) of it.
      const float spread = 1.0f / std::sqrt(static_cast<float>(k));
      for (int r = 0; r < count; ++r) {
        uint64_t state = Rng::mix(key << 32 ^ static_cast<uint64_t>(first + r));
        const auto next = [&] {
          return state = state * 6364136223846793005ull + 1442695040888963407ull, state >> 33;
        };
        for (uint8_t& c : to[r].codes) c = static_cast<uint8_t>(next() & ((1u << quant.bits) - 1));
        for (float& v : to[r].values) v = spread * (static_cast<float>(next() & 65535) / 18918.0f - 1.732f);
        const float one = spread / (quant.bits == 8 ? 74.0f : 4.6f);
        for (uint16_t& d : to[r].scales)
          d = f32_to_f16(one * (0.75f + static_cast<float>(next() & 255) / 512.0f));
      }
    };
    return s;
  }
  std::vector<float> vector(LmVector which, int) const override {
    const bool norm = which == LmVector::attention_norm || which == LmVector::feed_forward_norm ||
                      which == LmVector::final_norm;
    if (!norm && config_.family != "qwen2") return {};
    return std::vector<float>(static_cast<size_t>(length_of(config_, which)), norm ? 1.0f : 0.01f);
  }

 private:
  Quant quant_;
};

}  // namespace

std::unique_ptr<LmFile> open_random_lm(const std::string& name) {
  std::string names;
  for (const Shape& s : kShapes) {
    for (const Type& t : kTypes)
      if (name == std::string(s.name) + "-" + t.name) return std::make_unique<RandomLm>(name, s, t.quant);
    names += std::string(names.empty() ? "" : ", ") + s.name;
  }
  throw Error("random: wanted one of " + names + " and -q4_0, -q8_0, -f32, -f16 or -bf16 behind it, found " +
              printable(name));
}

}  // namespace hedgerow
