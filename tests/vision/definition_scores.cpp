// SPDX-License-Identifier: Apache-2.0
// Attention, what ranks rows, and what folds rows into others: definitions and their bounds.
#include <algorithm>
#include <cmath>

#include "hedgerow/kernels/reference/reference.h"
#include "tests/vision/definition_given.h"

namespace hedgerow::test {
namespace {

std::vector<double> magnitudes(const Rows& x) {
  std::vector<double> y;
  for (double v : x.value) y.push_back(std::fabs(v));
  return y;
}

Rows column_of(std::vector<double> values) {
  const int n = static_cast<int>(values.size());
  return result(n, 1, std::move(values));
}

double length(const double* x, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += x[i] * x[i];
  return std::sqrt(sum);
}

}  // namespace

// A logit is a chain over head_dim (what q and k are off comes in front), times the scale, plus log(size).
// Where all logits of a query are off by at most d, a probability is off by a factor of 1 + 2 d to first
// order (4 d is taken), by the chain over keys and by 2^x (1.5e-7 twice; 16-bit rows: a shorter polynomial,
// 2e-4, and probabilities rounded to 16 bits in the sum and against the values).
Ops::Attended Ops::attention(const Rows& q, const Rows& k, const Rows& v, const Rows& size, int heads) const {
  const int keys = k.count, head_dim = k.width / heads;
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim));
  std::vector<float> bias;
  double bias_off = 0;
  for (size_t j = 0; j < size.value.size(); ++j) {
    bias.push_back(static_cast<float>(std::log(size.value[j])));
    bias_off =
        std::max(bias_off, 8 * kUnit * std::fabs(std::log(size.value[j])) + off(size, j) / size.value[j]);
  }
  const Given given_q(q), given_k(k), given_v(v), size_of_v(magnitudes(v), v.count, v.width);
  AttentionArgs args{.q = given_q.heads(heads),
                     .kv = {given_k.heads(heads), given_v.heads(heads)},
                     .q_rows = given_q.ragged(),
                     .kv_rows = given_k.ragged(),
                     .scale = static_cast<float>(scale),
                     .out = {}};
  if (!bias.empty()) args.key_bias = vector_view(bias.data(), Dtype::f32, keys);
  const reference::Attended got = reference::attention(args);
  args.kv.v = size_of_v.heads(heads);
  const std::vector<double> sizes = reference::attention(args).out;  // of p |v|

  const bool narrow = bytes_of(numerics_.dtype) == 2;
  const double least = numerics_.dtype == Dtype::f16 ? 0x1p-24 : 0;
  Attended a{result(q.count, q.width, got.out), result(keys, heads, got.first_row)};
  std::vector<double> most_off(static_cast<size_t>(v.width)), all(static_cast<size_t>(v.width));
  for (int j = 0; j < keys; ++j)
    for (int c = 0; c < v.width; ++c) {
      most_off[static_cast<size_t>(c)] = std::max(most_off[static_cast<size_t>(c)], off(v, j, c));
      all[static_cast<size_t>(c)] += std::fabs(v.row(j)[c]);
    }
  for (int i = 0; i < q.count; ++i)
    for (int h = 0; h < heads; ++h) {
      double d = 0;
      for (int j = 0; j < keys; ++j) {
        double sum = 0;
        for (int c = h * head_dim; c < (h + 1) * head_dim; ++c) {
          const double x = std::fabs(q.row(i)[c]), y = std::fabs(k.row(j)[c]);
          sum += (chain(head_dim) + 4 * kUnit) * x * y + off(q, i, c) * y + off(k, j, c) * (x + off(q, i, c));
        }
        d = std::max(d, scale * sum);
      }
      const double factor = 4 * (d + bias_off) + 2 * chain(keys) + 32 * kUnit + 3e-7 +
                            (narrow ? 2 * half_of_last_place(numerics_.dtype) + 2e-4 : 0);
      for (int c = h * head_dim; c < (h + 1) * head_dim; ++c)
        a.out.off(i)[c] =
            factor * sizes[static_cast<size_t>(i) * static_cast<size_t>(q.width) + static_cast<size_t>(c)] +
            most_off[static_cast<size_t>(c)] + least * all[static_cast<size_t>(c)];
      for (int j = 0; i == 0 && j < keys; ++j) a.first_row.off(j)[h] = factor * a.first_row.row(j)[h] + least;
    }
  store_rows(a.out);
  return a;
}

Rows Ops::row_norm(const Rows& x, int heads) const {
  const Given in(x);
  Rows y = column_of(
      reference::row_norm({.x = heads == 1 ? in.matrix() : in.heads(heads), .out = {}, .rows = in.ragged()}));
  for (int i = 0; i < x.count; ++i) {
    double sum = 0;
    for (int c = 0; c < x.width; ++c) sum += off(x, i, c) * off(x, i, c);
    y.bound[static_cast<size_t>(i)] = std::sqrt(sum) + short_chains(x.width) * y.row(i)[0];
  }
  return y;
}

Rows Ops::head_score(const Rows& p, double divisor, const Rows& weight) const {
  const Given in(p), by(weight);
  Rows y = column_of(reference::head_score({.probs = in.matrix(),
                                            .weight = weight.count ? by.column() : Tensor{},
                                            .divisor = static_cast<float>(divisor),
                                            .out = {},
                                            .rows = in.ragged()}));
  for (int i = 0; i < p.count; ++i) {
    double sum = 0, moved = 0;
    for (int h = 0; h < p.width; ++h) sum += p.row(i)[h] / divisor, moved += off(p, i, h) / divisor;
    const double w = weight.count ? weight.row(i)[0] : 1, w_off = weight.count ? off(weight, i, 0) : 0;
    y.bound[static_cast<size_t>(i)] = moved * (w + w_off) + sum * w_off + chain(p.width) * sum * w;
  }
  return y;
}

// log_softmax falls by the other's probability for what the difference of its inputs grows.
Rows Ops::keep_log_prob(const Rows& two) const {
  const Given in(two);
  Rows y = column_of(reference::keep_log_prob({.x = in.matrix(), .out = {}, .rows = in.ragged()}));
  for (int i = 0; i < two.count; ++i) {
    const double moved = off(two, i, 0) + off(two, i, 1);
    y.off(i)[0] =
        moved * std::min(1.0, -std::expm1(y.row(i)[0]) + moved) +
        4 * kUnit * (1 + std::fabs(two.row(i)[0]) + std::fabs(two.row(i)[1]) + std::fabs(y.row(i)[0]));
  }
  return y;
}

Rows Ops::global_half(const Rows& x, int special) const {
  const Given in(x);
  Rows y = result(x.count, x.width,
                  reference::global_half({.x = in.matrix(), .special = special, .rows = in.ragged()}));
  const int members = x.count - special;
  for (int c = 0; c < x.width; ++c) {
    double moved = 0, size = 0;
    for (int i = special; i < x.count; ++i)
      moved += off(x, i, c) / members, size += std::fabs(x.row(i)[c]) / members;
    for (int i = 0; i < x.count; ++i)
      y.off(i)[c] = i < special || c < x.width / 2 ? off(x, i, c) : moved + chain(members) * size;
  }
  store_rows(y);
  return y;
}

Rows Ops::directions(const Rows& x, int heads) const {
  const Given in(x);
  const int width = x.width / heads;
  Rows y = result(x.count, width,
                  reference::direction(
                      {.x = heads == 1 ? in.matrix() : in.heads(heads), .out = {}, .rows = in.ragged()}));
  for (int i = 0; i < x.count; ++i) {
    std::vector<double> mean(static_cast<size_t>(width)), moved(mean);
    for (int c = 0; c < x.width; ++c) {
      const size_t at = static_cast<size_t>(c % width);
      mean[at] += x.row(i)[c] / heads;
      moved[at] += (off(x, i, c) + chain(heads) * std::fabs(x.row(i)[c])) / heads;
    }
    const double size = length(mean.data(), width);
    // Of two vectors of about this length, directions differ by at most twice what the vectors do.
    std::fill_n(y.off(i), width, (size > 0 ? 2 * length(moved.data(), width) / size : 0) + chain(width));
  }
  return y;
}

Rows Ops::fused(const Rows& x, const Rows& score, const std::vector<int>& dropped) const {
  std::vector<int32_t> kept;
  for (int i = 0; i < x.count; ++i)
    if (std::find(dropped.begin(), dropped.end(), i) == dropped.end()) kept.push_back(i);
  kept.push_back(-1);
  const int n = static_cast<int>(kept.size());
  Rows all(n, x.width);
  const Given in(x), by(score), out(all);
  const std::vector<double> rows = reference::fuse_dropped({.x = in.matrix(),
                                                            .score = by.column(),
                                                            .kept = vector_view(kept.data(), Dtype::i32, n),
                                                            .from = in.ragged(),
                                                            .to = out.ragged(),
                                                            .special = 0,
                                                            .out = out.matrix()});
  Rows y = result(1, x.width, {rows.end() - x.width, rows.end()});
  for (int j : dropped)
    for (int c = 0; c < x.width; ++c)
      y.off(0)[c] +=
          off(score, j, 0) * (std::fabs(x.row(j)[c]) + off(x, j, c)) +
          std::fabs(score.row(j)[0]) *
              (off(x, j, c) + chain(static_cast<int64_t>(dropped.size())) * std::fabs(x.row(j)[c]));
  store(y, numerics_.stream);
  return y;
}

Rows Ops::merged(const Rows& x, Rows& size, const std::vector<int>& kept, const std::vector<int>& into,
                 const Rows& similarity, MergeRule rule) const {
  const int n = static_cast<int>(kept.size());
  Rows all(n, x.width);
  const Given in(x), sizes(size), alike(similarity), out(all);
  reference::Merged got = reference::merge({.x = in.matrix(),
                                            .size = sizes.column(),
                                            .into = vector_view(into.data(), Dtype::i32, x.count),
                                            .similarity = alike.column(),
                                            .kept = vector_view(kept.data(), Dtype::i32, n),
                                            .from = in.ragged(),
                                            .to = out.ragged(),
                                            .rule = rule,
                                            .out = {},
                                            .out_size = {}});
  Rows y = result(n, x.width, std::move(got.out)), new_size = column_of(std::move(got.out_size));
  const bool weighted = rule == MergeRule::size_weighted;
  for (int o = 0; o < n; ++o) {
    double total = 0, size_off = 0;
    int members = 0;
    for (int j = 0; j < x.count; ++j) {
      const bool target = j == kept[static_cast<size_t>(o)];
      if (!target && into[static_cast<size_t>(j)] != kept[static_cast<size_t>(o)]) continue;
      const double s = size.row(j)[0], alike_by = weighted || target ? 1 : std::fabs(similarity.row(j)[0]);
      total += weighted ? s : 1, ++members;
      size_off += alike_by * off(size, j, 0) + (weighted || target ? 0 : off(similarity, j, 0) * s);
      for (int c = 0; c < x.width; ++c)
        y.off(o)[c] +=
            (weighted ? s : 1) * (off(x, j, c) + (4 + members) * 2 * kUnit * std::fabs(x.row(j)[c])) +
            (weighted ? off(size, j, 0) * std::fabs(x.row(j)[c]) : 0);
    }
    for (int c = 0; c < x.width; ++c)
      y.off(o)[c] = y.off(o)[c] / total + chain(members) * std::fabs(y.row(o)[c]);
    new_size.off(o)[0] = size_off + chain(members) * std::fabs(new_size.row(o)[0]);
  }
  size = std::move(new_size);
  store(y, numerics_.stream);
  return y;
}

}  // namespace hedgerow::test
