// SPDX-License-Identifier: Apache-2.0
// Shapes that all formats share, recognising a format, and rounding weights on the way in.
#include "hedgerow/language/lm_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hedgerow/core/error.h"
#include "hedgerow/language/gguf_lm.h"
#include "hedgerow/language/hf_lm.h"
#include "hedgerow/language/random_lm.h"

namespace hedgerow {

MatrixShape shape_of(const LlamaConfig& c, LmMatrix which) {
  const int queries = c.heads * c.head_dim, keys = c.kv_heads * c.head_dim;
  switch (which) {
    case LmMatrix::embedding:
    case LmMatrix::output:
      return {c.vocab, c.dim};
    case LmMatrix::q:
      return {queries, c.dim};
    case LmMatrix::k:
    case LmMatrix::v:
      return {keys, c.dim};
    case LmMatrix::o:
      return {c.dim, queries};
    case LmMatrix::gate:
    case LmMatrix::up:
      return {c.hidden_dim, c.dim};
    case LmMatrix::down:
      return {c.dim, c.hidden_dim};
  }
  return {0, 0};
}
int length_of(const LlamaConfig& c, LmVector which) {
  switch (which) {
    case LmVector::q_bias:
      return c.heads * c.head_dim;
    case LmVector::k_bias:
    case LmVector::v_bias:
      return c.kv_heads * c.head_dim;
    default:
      return c.dim;
  }
}

std::unique_ptr<LmFile> open_lm(const LmOpen& what) {
  if (what.path.starts_with("random:")) return open_random_lm(what.path.substr(7));
  if (is_folder(what.path)) return open_hf_lm(what.path, what.gptq_zeros);
  if (!is_file(what.path))
    throw Error(what.path + ": wanted a GGUF file or a model's folder, found nothing there");
  if (is_gguf(what.path)) return std::make_unique<GgufLm>(what.path);
  throw Error(what.path + ": wanted a GGUF file or a model's folder, found a file of another kind");
}

Quant rounded_to(const Quant& stored, WeightsAs as) {
  if (as == WeightsAs::file || stored.bits) return stored;
  if (as == WeightsAs::bf16) return {.values = Dtype::bf16};
  const int bits = as == WeightsAs::int8 ? 8 : 4;
  return {.bits = bits, .group = 32, .scales = Scales::f16, .zero = 1 << (bits - 1)};
}

QuantSource rounded_to(QuantSource values, WeightsAs as) {
  if (as == WeightsAs::file || values.quant.bits) return values;
  QuantSource s;
  s.n = values.n, s.k = values.k, s.quant = rounded_to(values.quant, as);
  if (as == WeightsAs::bf16) {
    s.read = std::move(values.read);
    return s;
  }
  s.read = [from = std::move(values), bits = s.quant.bits](int first, int count, QuantRow* to) {
    std::vector<QuantRow> rows(static_cast<size_t>(count));
    for (QuantRow& r : rows) r.values.resize(static_cast<size_t>(from.k));
    from.read(first, count, rows.data());
    for (int r = 0; r < count; ++r)
      for (int at = 0, g = 0; at < from.k; at += 32, ++g) {
        const float* w = rows[static_cast<size_t>(r)].values.data() + at;
        const int n = std::min(32, from.k - at), zero = 1 << (bits - 1);
        // The value of the largest size becomes the code farthest from zero, so that no level is lost.
        float largest = 0;
        for (int i = 0; i < n; ++i) largest = std::fabs(w[i]) > std::fabs(largest) ? w[i] : largest;
        const uint16_t half = f32_to_f16(bits == 8 ? std::fabs(largest) / 127 : largest / -8);
        const float scale = f16_to_f32(half);
        to[r].scales[static_cast<size_t>(g)] = half;
        for (int i = 0; i < n; ++i) {
          const float code = scale != 0 ? std::nearbyint(w[i] / scale) : 0;
          to[r].codes[static_cast<size_t>(at + i)] =
              static_cast<uint8_t>(std::clamp(static_cast<int>(code) + zero, 0, 2 * zero - 1));
        }
      }
  };
  return s;
}

}  // namespace hedgerow
