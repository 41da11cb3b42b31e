// SPDX-License-Identifier: Apache-2.0
// One attention call on strided views of a fused projection, and how far its result may be from the
// definition.
#pragma once

#include "hedgerow/kernels/reference/reference.h"
#include "tests/ops/claims.h"

namespace hedgerow::test {

struct AttentionProblem {
  Dtype dtype = Dtype::f32;
  int heads = 2, head_dim = 64;
  Batch q_rows, kv_rows;
  float scale;
  bool first_row = false;
  Array qkv;  // what does not belong to q, k or v is NaN
  Array index, bias, out, first;
  bool indexed = false, biased = false;

  AttentionProblem(Dtype in, int heads_, int head_dim_, const std::vector<int>& q_lengths,
                   const std::vector<int>& kv_lengths, uint64_t seed, double spread = 1)
      : dtype(in),
        heads(heads_),
        head_dim(head_dim_),
        q_rows(q_lengths),
        kv_rows(kv_lengths),
        scale(1 / std::sqrt(static_cast<float>(head_dim_))),
        qkv(in, std::max(q_rows.capacity(), kv_rows.capacity()), 3 * dim(), 16),
        index(Dtype::i32, q_rows.capacity()),
        bias(Dtype::f32, kv_rows.capacity()),
        out(in, q_rows.capacity(), dim()),
        first(Dtype::f32, kv_rows.capacity(), heads) {
    for (int part = 0; part < 3; ++part)
      for (int i = 0; i < (part ? kv_rows : q_rows).rows() * dim(); ++i)
        at(part, i / dim(), i % dim(),
           (part < 2 ? spread : 1) *
               Rng{seed, 1u + static_cast<uint64_t>(part)}.normal(static_cast<uint64_t>(i)));
  }
  int dim() const { return heads * head_dim; }
  void at(int part, int row, int c, double v) { qkv.set(row, part * dim() + c, v); }
  double at(int part, int row, int c) const { return qkv.value(row, part * dim() + c); }
  // Query i asks with row f(i).
  template <class F>
  void ask(F&& f) {
    indexed = true;
    for (int i = 0; i < q_rows.rows(); ++i) index.set(i, f(i));
  }
  template <class F>
  void bias_by(F&& f) {
    biased = true;
    for (int j = 0; j < kv_rows.rows(); ++j) bias.set(j, f(j));
  }

  AttentionArgs args(const Part& q, Array& values) {
    const Part kv = q.sequence < 0 ? kv_rows.all(q.side) : kv_rows.alone(q.side, q.sequence);
    return {
        .q = qkv.heads(indexed ? whole(q.side) : q, heads, head_dim),
        .kv = {.k = qkv.heads(kv, heads, head_dim, dim()), .v = values.heads(kv, heads, head_dim, 2 * dim())},
        .q_rows = q.rows,
        .kv_rows = kv.rows,
        .q_index = indexed ? index.vector(q) : Tensor{},
        .key_bias = biased ? bias.vector(kv) : Tensor{},
        .scale = scale,
        .out = out.heads(q, heads, head_dim),
        .first_row = first_row ? first.matrix(kv) : Tensor{}};
  }
  AttentionArgs args(const Part& q) { return args(q, qkv); }
  Size size() const { return {std::max(q_rows.longest(), kv_rows.longest()), heads, head_dim}; }

  // The outputs, wanted as the definition has them. A logit is a sum of head_dim products: off by at most
  // d = 3 (head_dim + 4) kUnit scale sum |q k| (3: a product and a sum may round apart, pairs of bf16 round
  // more often) plus the rounding of the logit and its bias in base 2. A probability is then off by a factor
  // of 1 + 2 d, the sums over keys by (keys + 16) kUnit, 2^x by 3e-7; where probabilities are of 16 bits also
  // by their rounding twice (in the sum and against the values), a shorter polynomial, and what is subnormal
  // there.
  std::vector<Output> wanted() {
    const reference::Attended want = reference::attention(args(q_rows.all(Side::host)));
    Array sizes = qkv.as(Dtype::f32);
    for (int64_t i = 0; i < sizes.rows() * sizes.cols(); ++i) sizes.set(i, std::fabs(sizes.get(i)));
    AttentionArgs other = args(q_rows.all(Side::host));
    const AttentionArgs of_sizes = args(q_rows.all(Side::host), sizes);
    other.kv.v = of_sizes.kv.v;
    const std::vector<double> size = reference::attention(other).out;
    const bool narrow =
        dtype != Dtype::f32 && (on_device() || !std::strcmp(under_test.backend->name, "avx512bf16"));
    const double unit = dtype == Dtype::f16 ? 0x1p-11 : 0x1p-8;
    double largest = 0;
    for (int i = 0; i < kv_rows.rows() * dim(); ++i)
      if (const double v = std::fabs(at(2, i / dim(), i % dim())); v < kInf) largest = std::max(largest, v);

    std::vector<double> bound, first_bound(want.first_row.size());
    for (int s = 0; s < q_rows.size(); ++s)
      for (int i = q_rows.begin(s); i < q_rows.begin(s) + q_rows.length(s); ++i)
        for (int h = 0; h < heads; ++h) {
          const int keys = kv_rows.length(s), asks = indexed ? static_cast<int>(index.get(i)) : i;
          double off = 0;
          for (int j = kv_rows.begin(s); j < kv_rows.begin(s) + keys; ++j) {
            const double b = biased ? bias.get(j) : 0;
            double products = 0;
            for (int c = h * head_dim; c < (h + 1) * head_dim; ++c)
              products += std::fabs(at(0, asks, c) * at(1, j, c));
            const double d = 3 * (head_dim + 4) * std::fabs(scale) * products + 8 * std::fabs(b);
            if (b != -kInf) off = std::max(off, kUnit * d);
          }
          const double factor = 4 * off + 3 * (keys + 16) * kUnit + (on_device() ? 1e-6 : 3e-7) +
                                (narrow ? 2 * unit + 2e-4 : 0);
          const double tiny = dtype == Dtype::f16 ? keys * 0x1p-24 * largest : 0;
          for (int d = 0; d < head_dim; ++d) {
            const double sums = factor * size[bound.size()] + tiny;
            bound.push_back(sums + (out.dtype() == Dtype::f32
                                        ? 0
                                        : rounding(out.dtype(), std::fabs(want.out[bound.size()]) + sums)));
          }
          for (int j = 0; i == q_rows.begin(s) && j < keys; ++j) {
            const size_t n = static_cast<size_t>((kv_rows.begin(s) + j) * heads + h);
            first_bound[n] = factor * want.first_row[n] + 1e-30;
          }
        }
    std::vector<Output> outputs = {{&out, want.out, bound}};
    if (first_row) outputs.push_back({&first, want.first_row, first_bound});
    return outputs;
  }

  void expect_definition() {
    expect_outputs(
        wanted(), [&](Context& on) { attention(on, args(q_rows.all(Side::backend))); }, size());
  }
  // As `out` was computed; first rows in `first`.
  std::vector<double> run_once() {
    out.restore(), first.restore();
    run([&](Context& on) { attention(on, args(q_rows.all(Side::backend))); }, 1, size());
    out.pull();
    if (first_row) first.pull();
    return out.values(q_rows.rows());
  }
};

}  // namespace hedgerow::test
