// SPDX-License-Identifier: Apache-2.0
// Definitions of the dense, attention and row-moving ops. Choosing and merging: select.cpp.
#include "hedgerow/kernels/reference/reference.h"

#include <algorithm>
#include <cmath>

namespace hedgerow::reference {
namespace {

double value(const Tensor& t, int64_t at) {
  switch (t.dtype) {
    case Dtype::f32:
      return t.as<float>()[at];
    case Dtype::bf16:
      return bf16_to_f32(t.as<uint16_t>()[at]);
    case Dtype::f16:
      return f16_to_f32(t.as<uint16_t>()[at]);
    case Dtype::i32:
      return t.as<int32_t>()[at];
    case Dtype::u8:
      return t.as<uint8_t>()[at];
    case Dtype::e4m3:
      return static_cast<double>(e4m3_to_f32(t.as<uint8_t>()[at])) * t.unit;
    case Dtype::i8:
      return t.as<int8_t>()[at];
  }
  return 0;
}
double value(const Tensor& t, int64_t i, int64_t j) { return value(t, i * t.strides[0] + j * t.strides[1]); }
double value(const Tensor& t, int64_t i, int64_t h, int64_t d) {
  return value(t, i * t.strides[0] + h * t.strides[1] + d * t.strides[2]);
}

// Row i of any rank, flattened.
std::vector<double> row(const Tensor& t, int64_t i) {
  std::vector<double> out;
  const int64_t second = t.rank > 1 ? t.extents[1] : 1, third = t.rank > 2 ? t.extents[2] : 1;
  for (int64_t j = 0; j < second; ++j)
    for (int64_t d = 0; d < third; ++d)
      out.push_back(value(
          t, i * t.strides[0] + (t.rank > 1 ? j * t.strides[1] : 0) + (t.rank > 2 ? d * t.strides[2] : 0)));
  return out;
}

void append(std::vector<double>& to, const std::vector<double>& values) {
  to.insert(to.end(), values.begin(), values.end());
}

std::vector<double> rows_of(const Tensor& t, int64_t rows) {
  std::vector<double> out;
  for (int64_t i = 0; i < rows; ++i) append(out, row(t, i));
  return out;
}

double activate(double x, Activation act) {
  switch (act) {
    case Activation::none:
      return x;
    case Activation::gelu_erf:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
  return x;
}

struct Moments {
  double mean = 0, variance = 0;
};
Moments moments(const std::vector<double>& x) {
  const double dim = static_cast<double>(x.size());
  Moments m;
  for (double v : x) m.mean += v / dim;
  for (double v : x) m.variance += (v - m.mean) * (v - m.mean) / dim;
  return m;
}

// Layer norm of one row, in place.
void normalise(std::vector<double>& x, const Tensor& gamma, const Tensor& beta, float eps) {
  const Moments m = moments(x);
  for (size_t c = 0; c < x.size(); ++c)
    x[c] = (x[c] - m.mean) / std::sqrt(m.variance + eps) * (gamma ? value(gamma, c) : 1) +
           (beta ? value(beta, c) : 0);
}

// To the nearest value that `to` holds (f16 without its overflow).
double rounded(double v, Dtype to) {
  if (to == Dtype::bf16) return bf16_to_f32(f32_to_bf16(static_cast<float>(v)));
  if (to != Dtype::f16 || v == 0) return v;
  const double unit = std::ldexp(1.0, std::max(std::ilogb(v), -14) - 10);
  return std::nearbyint(v / unit) * unit;
}

double length_of(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return std::sqrt(sum);
}

// Rows that take part in a sequence's choice.
bool candidate(const Ragged& rows, const Tensor& alive, int special, int sequence, int j) {
  return j - rows.begin(sequence) >= special && (!alive || value(alive, j) != 0);
}

}  // namespace

std::vector<double> linear(const LinearArgs& a, const float* w, const float* bias, int n, int k) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    std::vector<double> x = row(a.x, a.index ? static_cast<int64_t>(value(a.index, i)) : i);
    if (a.norm_gamma) {
      normalise(x, a.norm_gamma, a.norm_beta, a.norm_eps);
      for (double& v : x) v = rounded(v, a.w->dtype);
    }
    if (a.divided) {
      const double deviation = std::sqrt(moments(x).variance + a.norm_eps);
      for (double& v : x) v /= deviation;
    }
    for (int o = 0; o < n; ++o) {
      double sum = bias ? bias[o] : 0;
      for (int c = 0; c < k; ++c) sum += x[c] * w[static_cast<int64_t>(o) * k + c];
      out.push_back(activate(sum, a.act) + (a.residual ? value(a.residual, i, o) : 0));
    }
  }
  return out;
}

std::vector<double> mlp(const MlpArgs& a, const float* w1, const float* bias1, const float* w2,
                        const float* bias2) {
  const int dim = a.w1->k, hidden = a.w1->n;
  std::vector<double> out, inside(hidden);
  for (int i = 0; i < a.rows.rows(); ++i) {
    std::vector<double> x = row(a.x, i);
    normalise(x, a.norm_gamma, a.norm_beta, a.norm_eps);
    for (double& v : x) v = rounded(v, a.w1->dtype);
    for (int h = 0; h < hidden; ++h) {
      double sum = bias1[h];
      for (int c = 0; c < dim; ++c) sum += x[c] * w1[static_cast<int64_t>(h) * dim + c];
      inside[h] = rounded(activate(sum, a.act), a.w1->dtype);
    }
    for (int o = 0; o < dim; ++o) {
      double sum = value(a.x, i, o) + bias2[o];
      for (int h = 0; h < hidden; ++h) sum += inside[h] * w2[static_cast<int64_t>(o) * hidden + h];
      out.push_back(sum);
    }
  }
  return out;
}

std::vector<double> layer_norm(const LayerNormArgs& a) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    std::vector<double> x = row(a.x, a.index ? static_cast<int64_t>(value(a.index, i)) : i);
    normalise(x, a.gamma, a.beta, a.eps);
    out.insert(out.end(), x.begin(), x.end());
  }
  return out;
}

Attended attention(const AttentionArgs& a) {
  const int64_t heads = a.q.extents[1], head_dim = a.q.extents[2];
  Attended result;
  result.out.assign(a.q_rows.rows() * heads * head_dim, 0);
  result.first_row.assign(a.kv_rows.rows() * heads, 0);
  for (int s = 0; s < a.q_rows.batch; ++s)
    for (int64_t h = 0; h < heads; ++h)
      for (int i = a.q_rows.begin(s); i < a.q_rows.end(s); ++i) {
        const int64_t asks = a.q_index ? static_cast<int64_t>(value(a.q_index, i)) : i;
        std::vector<double> logit(a.kv_rows.length(s));
        double top = -INFINITY, total = 0;
        for (int j = 0; j < a.kv_rows.length(s); ++j) {
          const int64_t key = a.kv_rows.begin(s) + j;
          double dot = 0;
          for (int64_t d = 0; d < head_dim; ++d) dot += value(a.q, asks, h, d) * value(a.kv.k, key, h, d);
          logit[j] = a.scale * dot;
          if (a.key_bias) {
            const double bias = value(a.key_bias, key);
            logit[j] = bias == -INFINITY ? bias : logit[j] + bias;  // hidden, whatever the key holds
          }
          top = std::max(top, logit[j]);
        }
        for (double& l : logit) total += l = l == -INFINITY ? 0 : std::exp(l - top);
        for (int j = 0; j < a.kv_rows.length(s); ++j) {
          if (logit[j] == 0) continue;
          const int64_t key = a.kv_rows.begin(s) + j;
          for (int64_t d = 0; d < head_dim; ++d)
            result.out[(i * heads + h) * head_dim + d] += logit[j] / total * value(a.kv.v, key, h, d);
          if (i == a.q_rows.begin(s)) result.first_row[key * heads + h] = logit[j] / total;
        }
      }
  return result;
}

std::vector<double> patchify(const PatchifyArgs& a) {
  std::vector<double> out;
  for (int image = 0; image < a.rows.batch; ++image) {
    const int height = a.heights[image], width = a.widths[image];
    out.insert(out.end(), static_cast<size_t>(a.special) * 3 * a.patch * a.patch, 0.0);
    for (int gy = 0; gy < height / a.patch; ++gy)
      for (int gx = 0; gx < width / a.patch; ++gx)
        for (int channel = 0; channel < 3; ++channel)
          for (int y = 0; y < a.patch; ++y)
            for (int x = 0; x < a.patch; ++x)
              out.push_back(
                  a.images[image][(static_cast<int64_t>(channel) * height + gy * a.patch + y) * width +
                                  gx * a.patch + x]);
  }
  return out;
}

std::vector<double> gather(const GatherArgs& a) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    const int64_t from = static_cast<int64_t>(value(a.index, i));
    append(out, from < 0 ? std::vector<double>(row(a.out, i).size(), 0.0) : row(a.x, from));
  }
  return out;
}

std::vector<double> scatter(const ScatterArgs& a) {
  std::vector<double> out = rows_of(a.out, a.out.extents[0]);
  for (int i = 0; i < a.rows.rows(); ++i) {
    const int64_t to = static_cast<int64_t>(value(a.index, i));
    const std::vector<double> x = row(a.x, i);
    if (to >= 0) std::copy(x.begin(), x.end(), out.begin() + to * static_cast<int64_t>(x.size()));
  }
  return out;
}

std::vector<double> row_norm(const RowNormArgs& a) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) out.push_back(length_of(row(a.x, i)));
  return out;
}

std::vector<double> head_score(const HeadScoreArgs& a) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    double sum = 0;
    for (double p : row(a.probs, i)) sum += p;
    out.push_back(sum / a.divisor * (a.weight ? value(a.weight, i) : 1));
  }
  return out;
}

std::vector<double> fuse_dropped(const FuseDroppedArgs& a) {
  std::vector<double> out = rows_of(a.out, a.to.rows());
  const int64_t dim = a.x.extents[1];
  const int32_t* kept = a.kept.as<int32_t>();
  for (int s = 0; s < a.to.batch; ++s) {
    const int last = a.to.end(s) - 1;
    if (a.to.length(s) == 0 || kept[last] >= 0) continue;
    std::fill_n(out.begin() + last * dim, dim, 0.0);
    for (int j = a.from.begin(s); j < a.from.end(s); ++j) {
      const bool stays = std::find(kept + a.to.begin(s), kept + last, j) != kept + last;
      if (stays || !candidate(a.from, a.alive, a.special, s, j)) continue;
      for (int64_t c = 0; c < dim; ++c) out[last * dim + c] += value(a.score, j) * value(a.x, j, c);
    }
  }
  return out;
}

std::vector<double> global_half(const GlobalHalfArgs& a) {
  const int64_t dim = a.x.extents[1];
  std::vector<double> out = rows_of(a.x, a.rows.rows());
  for (int s = 0; s < a.rows.batch; ++s)
    for (int64_t c = dim / 2; c < dim; ++c) {
      double sum = 0, members = 0;
      for (int j = a.rows.begin(s); j < a.rows.end(s); ++j)
        if (candidate(a.rows, a.alive, a.special, s, j)) sum += value(a.x, j, c), members += 1;
      for (int j = a.rows.begin(s); j < a.rows.end(s); ++j)
        if (candidate(a.rows, a.alive, a.special, s, j)) out[j * dim + c] = sum / members;
    }
  return out;
}

std::vector<double> keep_log_prob(const KeepLogProbArgs& a) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    const double x0 = value(a.x, i, 0), x1 = value(a.x, i, 1), top = std::max(x0, x1);
    out.push_back(x0 - top - std::log(std::exp(x0 - top) + std::exp(x1 - top)));
  }
  return out;
}

std::vector<double> unit_row(const UnitRowArgs& a) {
  std::vector<double> out;
  for (int i = 0; i < a.rows.rows(); ++i) {
    std::vector<double> v;
    if (a.x.rank == 2) {
      v = row(a.x, i);
    } else {
      v.assign(a.x.extents[2], 0);
      for (int64_t h = 0; h < a.x.extents[1]; ++h)
        for (int64_t d = 0; d < a.x.extents[2]; ++d)
          v[d] += value(a.x, i, h, d) / static_cast<double>(a.x.extents[1]);
    }
    const double length = length_of(v);
    for (double& x : v) x = length == 0 ? 0 : x / length;
    append(out, v);
  }
  return out;
}

}  // namespace hedgerow::reference
