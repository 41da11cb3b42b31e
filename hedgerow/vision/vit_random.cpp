// SPDX-License-Identifier: Apache-2.0
// Weights are drawn like a fresh DeiT's (normal, 0.02), and norms near 1, so that activations and attention
// stay in a plausible range through all layers.
#include "hedgerow/vision/vit_random.h"

#include <fmt/format.h>

#include <charconv>
#include <map>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"

namespace hedgerow {
namespace {

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t end; (end = text.find(at, begin)) != std::string::npos; begin = end + 1)
    parts.push_back(text.substr(begin, end - begin));
  parts.push_back(text.substr(begin));
  return parts;
}

int number(const std::string& text, const std::string& where) {
  int n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 0)
    throw Error(fmt::format("{}: wanted a whole number, found \"{}\"", where, text));
  return n;
}

struct Shape {
  VitConfig config;
  bool predictors = false;
  uint64_t seed = 0;
};

Shape parse_shape(const std::string& text) {
  const std::string where = "random:" + text;
  Shape s;
  bool hidden_given = false;
  for (const std::string& part : split(text, ',')) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos) {
      const std::vector<std::string> flags = split(part, ':');
      const std::vector<std::string> named = split(flags[0], '@');
      const int heads = named[0] == "deit-tiny"    ? 3
                        : named[0] == "deit-small" ? 6
                        : named[0] == "deit-base"  ? 12
                                                   : 0;
      if (heads == 0 || named.size() > 2)
        throw Error(
            fmt::format("{}: \"{}\" should be deit-tiny, deit-small, deit-base or key=number", where, part));
      s.config.heads = heads;
      s.config.dim = 64 * heads;
      if (named.size() == 2) s.config.image_size = number(named[1], where);
      for (size_t i = 1; i < flags.size(); ++i) {
        if (flags[i] != "distilled")
          throw Error(fmt::format("{}: \"{}\" should be distilled", where, flags[i]));
        s.config.distilled = true;
      }
      continue;
    }
    const std::string key = part.substr(0, equals);
    const int value = number(part.substr(equals + 1), where);
    const std::map<std::string, int*> numbers = {
        {"dim", &s.config.dim},          {"heads", &s.config.heads},      {"layers", &s.config.layers},
        {"patch", &s.config.patch},      {"image", &s.config.image_size}, {"classes", &s.config.classes},
        {"hidden", &s.config.hidden_dim}};
    if (const auto it = numbers.find(key); it != numbers.end()) {
      *it->second = value;
      hidden_given = hidden_given || key == "hidden";
    } else if (key == "distilled") {
      s.config.distilled = value != 0;
    } else if (key == "predictors") {
      s.predictors = value != 0;
    } else if (key == "seed") {
      s.seed = static_cast<uint64_t>(value);
    } else {
      throw Error(fmt::format(
          "{}: \"{}\" is not dim, heads, layers, patch, image, classes, hidden, distilled, predictors "
          "or seed",
          where, key));
    }
  }
  if (!hidden_given && s.config.dim <= 8192) s.config.hidden_dim = 4 * s.config.dim;
  check_config(s.config, where);
  return s;
}

// Each array is a stream of its own: adding one never changes another.
class Source {
 public:
  explicit Source(uint64_t seed) : seed_(seed) {}
  std::vector<float> draw(size_t n, double std, double mean = 0) {
    const Rng rng{seed_, stream_++};
    std::vector<float> out(n);
    for (size_t i = 0; i < n; ++i) out[i] = static_cast<float>(mean + std * rng.normal(i));
    return out;
  }

 private:
  uint64_t seed_, stream_ = 0;
};

}  // namespace

void check_config(const VitConfig& c, const std::string& where) {
  const auto within = [&](const char* what, int value, int low, int high) {
    if (value < low || value > high)
      throw Error(fmt::format("{}: {} should be from {} to {}, found {}", where, what, low, high, value));
  };
  within("the patch side", c.patch, 4, 32);
  within("the image side", c.image_size, c.patch, 8192);
  within("the width (dim)", c.dim, 32, 8192);
  within("the number of layers", c.layers, 1, 256);
  within("the number of heads", c.heads, 1, 256);
  within("the MLP's width", c.hidden_dim, 1, 65536);
  within("the number of classes", c.classes, 1, 1'000'000);
  if (c.image_size % c.patch != 0)
    throw Error(
        fmt::format("{}: the image side {} is not a multiple of the patch {}", where, c.image_size, c.patch));
  if (c.dim % c.heads != 0 || (c.head_dim() != 32 && c.head_dim() != 64 && c.head_dim() != 128))
    throw Error(fmt::format("{}: {} heads on width {}: heads of 32, 64 and 128 are supported", where, c.heads,
                            c.dim));
}

VitParameters random_vit(const std::string& text) {
  const Shape shape = parse_shape(text);
  const VitConfig& c = shape.config;
  const size_t dim = c.dim, hidden = c.hidden_dim, classes = c.classes, grid = c.grid();
  Source from(shape.seed);
  const auto bias = [&](size_t n) { return from.draw(n, 0.02); };
  const auto scale = [&](size_t n) { return from.draw(n, 0.05, 1); };
  const auto weight = [&](size_t out, size_t in) { return from.draw(out * in, 0.02); };
  // Wide enough that softmax rows differ from uniform: what pruning methods look at.
  const auto sharp = [&](size_t out, size_t in) {
    return from.draw(out * in, 1.0 / std::sqrt(static_cast<double>(in)));
  };

  VitParameters p;
  p.config = c;
  p.cls_token = bias(dim);
  if (c.distilled) p.dist_token = bias(dim);
  p.pos_embed = bias((c.special() + grid * grid) * dim);
  p.patch_weight = weight(dim, 3 * static_cast<size_t>(c.patch) * c.patch);
  p.patch_bias = bias(dim);
  for (int i = 0; i < c.layers; ++i) {
    VitBlockParameters b;
    b.norm1_weight = scale(dim);
    b.norm1_bias = bias(dim);
    b.qkv_weight = sharp(3 * dim, dim);
    b.qkv_bias = bias(3 * dim);
    b.proj_weight = weight(dim, dim);
    b.proj_bias = bias(dim);
    b.norm2_weight = scale(dim);
    b.norm2_bias = bias(dim);
    b.fc1_weight = weight(hidden, dim);
    b.fc1_bias = bias(hidden);
    b.fc2_weight = weight(dim, hidden);
    b.fc2_bias = bias(dim);
    p.blocks.push_back(std::move(b));
  }
  p.norm_weight = scale(dim);
  p.norm_bias = bias(dim);
  p.head_weight = sharp(classes, dim);
  p.head_bias = bias(classes);
  if (c.distilled) {
    p.head_dist_weight = sharp(classes, dim);
    p.head_dist_bias = bias(classes);
  }
  for (int s = 0; shape.predictors && s < 3; ++s) {
    PredictorParameters q;
    q.norm_weight = scale(dim);
    q.norm_bias = bias(dim);
    q.in_weight = sharp(dim, dim);
    q.in_bias = bias(dim);
    q.out0_weight = sharp(dim / 2, dim);
    q.out0_bias = bias(dim / 2);
    q.out2_weight = sharp(dim / 4, dim / 2);
    q.out2_bias = bias(dim / 4);
    q.out4_weight = sharp(2, dim / 4);
    q.out4_bias = bias(2);
    p.predictors.push_back(std::move(q));
  }
  return p;
}

}  // namespace hedgerow
