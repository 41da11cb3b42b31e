// SPDX-License-Identifier: Apache-2.0
// Random matrices of codes, and products with them: what they should be by their definition, and, of rows in
// int8, by a plain model of the same arithmetic, to the bit.
#pragma once

#include "hedgerow/kernels/reference/reference.h"
#include "tests/ops/claims.h"

namespace hedgerow::test {

inline std::string text_of(const Quant& q) {
  static constexpr const char* kScales[] = {"values", "f16", "f16_min", "f16_zero", "k4", "k6"};
  return std::to_string(q.bits) + " bits, " + kScales[static_cast<int>(q.scales)] + ", groups of " +
         std::to_string(q.group) + ", " + name_of(q.values);
}
inline bool has_minimum(const Quant& q) {
  return q.scales == Scales::f16_min || q.scales == Scales::f16_zero || q.scales == Scales::k4;
}
inline bool k_quant(const Quant& q) { return q.scales == Scales::k4 || q.scales == Scales::k6; }

// Every kind of weights there is.
inline std::vector<Quant> quant_kinds(const std::vector<int>& groups = {32, 64, 128, 256, 512}) {
  std::vector<Quant> all;
  for (int bits : {4, 5, 8})
    for (int group : groups) {
      all.push_back({.bits = bits, .group = group, .scales = Scales::f16, .zero = 1 << (bits - 1)});
      all.push_back({.bits = bits, .group = group, .scales = Scales::f16_min});
      all.push_back({.bits = bits, .group = group, .scales = Scales::f16_zero, .zero = group < 256});
    }
  for (int bits : {4, 5}) all.push_back({.bits = bits, .group = 32, .scales = Scales::k4});
  all.push_back({.bits = 6, .group = 16, .scales = Scales::k6, .zero = 32});
  for (Dtype d : {Dtype::f32, Dtype::f16, Dtype::bf16}) all.push_back({.values = d});
  return all;
}

// Codes of the whole range; scales of both signs, some subnormal or zero.
struct QuantMatrix {
  Quant quant;
  int n, k;
  std::vector<int32_t> order;
  std::vector<QuantRow> rows;

  QuantMatrix(const Quant& q, int outputs, int columns, uint64_t key = 1) : quant(q), n(outputs), k(columns) {
    const Rng rng{3, key};
    uint64_t draw = 0;
    const auto whole = [&](int count) {
      return static_cast<uint8_t>(rng.bits(draw++) % static_cast<uint64_t>(count));
    };
    const auto half = [&] {
      const double v = 0.02 * rng.normal(draw++);
      const int kind = whole(40);
      return f32_to_f16(static_cast<float>(kind == 0 ? 0 : kind == 1 ? v * 1e-4 : v));
    };
    const int groups = q.bits ? (k + q.group - 1) / q.group : 0,
              scales = k_quant(q) ? k / kQuantBlock : groups;
    for (int r = 0; r < n; ++r) {
      QuantRow row;
      for (int c = 0; c < k && q.bits; ++c) row.codes.push_back(whole(1 << q.bits));
      for (int g = 0; g < scales; ++g) row.scales.push_back(half()), row.minimums.push_back(half());
      for (int g = 0; g < groups; ++g) {
        row.small.push_back(whole(q.scales == Scales::k6         ? 256
                                  : q.scales == Scales::f16_zero ? 1 << q.bits
                                                                 : 64));
        row.small_min.push_back(whole(64));
      }
      for (int c = 0; c < k && !q.bits; ++c) {
        const float v = static_cast<float>(rng.normal(draw++));
        row.values.push_back(q.values == Dtype::f16    ? f16_to_f32(f32_to_f16(v))
                             : q.values == Dtype::bf16 ? bf16_to_f32(f32_to_bf16(v))
                                                       : v);
      }
      rows.push_back(row);
    }
  }
  // Columns of codes meet those of x in an order of chance.
  QuantMatrix& shuffle(uint64_t key) {
    for (int c = 0; c < k; ++c) order.push_back(c);
    for (int c = k - 1; c > 0; --c)
      std::swap(order[static_cast<size_t>(c)],
                order[Rng{4, key}.bits(static_cast<uint64_t>(c)) % static_cast<uint64_t>(c + 1)]);
    return *this;
  }
  QuantSource source() const {
    return {.quant = quant,
            .n = n,
            .k = k,
            .read =
                [this](int first, int count, QuantRow* to) {
                  for (int i = 0; i < count; ++i) to[i] = rows[static_cast<size_t>(first + i)];
                },
            .order = order};
  }
};

// A row of x in int8: to nearest even of a 127th of the largest of each 32 columns.
struct Int8Chunk {
  int code[kQuantChunk] = {};
  float scale = 0;
  int sum(int from, int to) const {
    int s = 0;
    for (int i = from; i < to; ++i) s += code[i];
    return s;
  }
};
inline Int8Chunk int8_chunk(const std::vector<float>& x) {
  Int8Chunk chunk;
  float most = 0;
  for (const float v : x) most = std::max(most, std::fabs(v));
  chunk.scale = most / 127.0f;
  for (size_t i = 0; i < x.size() && most > 0; ++i)
    chunk.code[i] = static_cast<int>(std::nearbyint(std::min(x[i] * (127.0f / most), 127.0f)));
  return chunk;
}

// One output of a product with rows in int8: exact sums of a chunk, one fused chain over chunks.
inline float int8_output(const QuantMatrix& m, const QuantRow& w, const std::vector<Int8Chunk>& x) {
  const Quant& q = m.quant;
  float y = 0;
  for (size_t c = 0; c < x.size(); ++c) {
    const size_t first = c * kQuantChunk, last = std::min(first + kQuantChunk, static_cast<size_t>(m.k));
    const int parts = q.scales == Scales::k6 ? 2 : 1, size = kQuantChunk / parts;
    for (int p = 0; p < parts; ++p) {
      int sum = has_minimum(q) ? 0 : -q.zero * x[c].sum(p * size, (p + 1) * size);
      for (int i = p * size; i < (p + 1) * size && first + static_cast<size_t>(i) < last; ++i)
        sum += w.codes[first + static_cast<size_t>(i)] * x[c].code[i];
      const size_t group = (first + static_cast<size_t>(p * size)) / static_cast<size_t>(q.group);
      float scale = f16_to_f32(w.scales[k_quant(q) ? first / kQuantBlock : group]);
      if (q.scales == Scales::k6) scale *= static_cast<int8_t>(w.small[group]);
      if (q.scales == Scales::k4) scale *= w.small[group];
      y = std::fmaf(static_cast<float>(sum), scale * x[c].scale, y);
      if (!has_minimum(q)) continue;
      const float minimum = q.scales == Scales::f16_min ? f16_to_f32(w.minimums[group])
                            : q.scales == Scales::f16_zero
                                ? -scale * static_cast<float>(w.small[group] + q.zero)
                                : -(f16_to_f32(w.minimums[first / kQuantBlock]) * w.small_min[group]);
      y = std::fmaf(minimum, x[c].scale * static_cast<float>(x[c].sum(0, kQuantChunk)), y);
    }
  }
  return y;
}

// Sums of all bands of one row of x, before bias.
inline void append_int8_sums(const std::vector<QuantMatrix>& parts, const std::vector<double>& x,
                             std::vector<double>& to) {
  for (const QuantMatrix& m : parts) {
    std::vector<Int8Chunk> chunks;
    for (int first = 0; first < m.k; first += kQuantChunk) {
      std::vector<float> some;
      for (int c = first; c < std::min(first + kQuantChunk, m.k); ++c)
        some.push_back(static_cast<float>(x[static_cast<size_t>(m.order.empty() ? c : m.order[c])]));
      chunks.push_back(int8_chunk(some));
    }
    for (const QuantRow& w : m.rows) to.push_back(int8_output(m, w, chunks));
  }
}

// A product: x, weights, and room on its way.
struct QuantProblem {
  Batch& b;
  std::vector<QuantMatrix> parts;
  Activation act;
  RowsOf rows_of;
  PackedLinear w;
  std::vector<float> bias;
  Array x, out, residual;
  bool adds = false;
  Buffer room;

  QuantProblem(Batch& batch, std::vector<QuantMatrix> given, RowsOf of, bool biased = false,
               Activation activation = Activation::none)
      : b(batch),
        parts(std::move(given)),
        act(activation),
        rows_of(of),
        x(Dtype::f32, b.capacity(), parts[0].k),
        out(Dtype::f32, b.capacity(), outputs()),
        residual(Dtype::f32, b.capacity(), outputs()) {
    std::vector<QuantSource> sources;
    int n = 0;
    for (const QuantMatrix& m : parts) sources.push_back(m.source()), n += m.n;
    for (int i = 0; biased && i < n; ++i)
      bias.push_back(static_cast<float>(Rng{5, 5}.normal(static_cast<uint64_t>(i))));
    w = pack_quant(*under_test.backend, sources, biased ? bias.data() : nullptr, rows_of);
    room = allocate_on(*under_test.backend, linear_workspace_bytes(b.capacity(), w) + 64);
    x.normals(1, b.rows()), residual.normals(2, b.rows());
  }
  int outputs() const {
    int n = 0;
    for (const QuantMatrix& m : parts) n += m.n;
    return act == Activation::silu_gated ? n / 2 : n;
  }
  LinearArgs args(const Part& p) {
    return {.x = x.matrix(p),
            .w = &w,
            .act = act,
            .residual = adds ? residual.matrix(p) : Tensor{},
            .out = out.matrix(p),
            .between = {.data = room.as(), .bytes = room.bytes()},
            .rows = p.rows};
  }
  const float* biases() const { return bias.empty() ? nullptr : bias.data(); }
  std::vector<double> weights() const {
    std::vector<double> all;
    for (const QuantMatrix& m : parts) {
      const auto some = reference::quant_values(m.source());
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }
  // f32 rows: each weight rounds at most once, each term of a chain twice (product and sum); int8 rows of
  // codes: exactly the model's bits. A gate's slope is at most 1.1;
  // its exponent rounds with the gate, (2 |gate|) units.
  Output wanted() {
    const int n = w.n, half = n / 2;
    const bool gated = act == Activation::silu_gated, exact = rows_of == RowsOf::int8;
    const auto all = weights();
    Output o{&out, {}};
    const auto want =
        exact ? std::vector<double>{} : reference::quant_linear(args(b.all(Side::host)), all, biases());
    for (int r = 0; r < b.rows(); ++r) {
      std::vector<double> row, sums, off(static_cast<size_t>(n));
      for (int c = 0; c < x.cols(); ++c) row.push_back(x.value(r, c));
      if (exact) append_int8_sums(parts, row, sums);
      for (int i = 0; i < n; ++i) {
        const float plus = bias.empty() ? 0 : bias[static_cast<size_t>(i)];
        if (exact) {
          sums[static_cast<size_t>(i)] =
              bias.empty() ? sums[static_cast<size_t>(i)]
                           : static_cast<double>(static_cast<float>(sums[static_cast<size_t>(i)]) + plus);
          continue;
        }
        double sum = plus, size = std::fabs(plus);
        for (size_t c = 0; c < row.size(); ++c) {
          const size_t at = static_cast<size_t>(i) * row.size() + c;
          sum += row[c] * all[at], size += std::fabs(row[c]) * std::fabs(all[at]);
        }
        sums.push_back(sum);
        off[static_cast<size_t>(i)] = kUnit * (2.0 * static_cast<double>(row.size()) + 3) * size;
      }
      for (int i = 0; i < (gated ? half : n); ++i) {
        const auto g = static_cast<size_t>(i), u = static_cast<size_t>(i + half);
        double y = sums[g], error = off[g];
        if (gated) {
          const double silu = y / (1 + std::exp(-y));
          error = 1.1 * off[g] * (std::fabs(sums[u]) + off[u]) + std::fabs(silu) * off[u] +
                  (16 + 2 * std::fabs(sums[g])) * kUnit * std::fabs(silu * sums[u]) + 1e-30;
          y = silu * sums[u];
        }
        if (adds) {
          const double plus = residual.value(r, i);
          if (exact && !gated)
            y = static_cast<double>(static_cast<float>(y) + static_cast<float>(plus));
          else
            y += plus, error += kUnit * (std::fabs(y) + error);
        }
        o.want.push_back(exact ? y : want[o.want.size()]), o.bound.push_back(error);
      }
    }
    return o;
  }
};

}  // namespace hedgerow::test
