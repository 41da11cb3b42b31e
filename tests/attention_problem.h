// SPDX-License-Identifier: Apache-2.0
// One attention call for tests: random inputs, guarded outputs, its definition in double.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "hedgerow/core/rng.h"
#include "hedgerow/kernels/cpu/level.h"
#include "hedgerow/kernels/kernels.h"

namespace hedgerow {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kEps = 0x1p-24, kEpsBf16 = 0x1p-8;
constexpr uint8_t kGuard = 0xa5;
constexpr int kGuardBytes = 256;

inline std::vector<const Backend*> cpu_backends() {
  std::vector<const Backend*> found;
  for (const Backend* b : all_backends())
    if (b->runs_here() && std::strcmp(b->name, "cuda") != 0) found.push_back(b);
  return found;
}

// One call: lengths, one fused projection (queries use its q part, at the rows of q_index), and everything
// optional.
struct Problem {
  Dtype dtype = Dtype::f32, out_dtype = Dtype::f32;
  int heads = 2, head_dim = 64;
  float scale = 0.2f;
  std::vector<int> q_lengths, kv_lengths;
  std::vector<float> q, k, v;    // [rows, heads, head_dim]; already rounded to dtype
  std::vector<int32_t> q_index;  // optional
  std::vector<float> key_bias;   // optional
  bool first_row = false;
  int threads = 1;

  int q_rows() const { return total(q_lengths); }
  int kv_rows() const { return total(kv_lengths); }
  int dim() const { return heads * head_dim; }
  static int total(const std::vector<int>& lengths) {
    int n = 0;
    for (int l : lengths) n += l;
    return n;
  }
};

inline float rounded(double x, Dtype dtype) {
  const float f = static_cast<float>(x);
  return dtype == Dtype::bf16 ? bf16_to_f32(f32_to_bf16(f)) : f;
}

inline Problem make(Dtype dtype, int heads, int head_dim, std::vector<int> q_lengths,
                    std::vector<int> kv_lengths, uint64_t seed, double spread = 1) {
  Problem p;
  p.dtype = p.out_dtype = dtype;
  p.heads = heads;
  p.head_dim = head_dim;
  p.scale = 1 / std::sqrt(static_cast<float>(head_dim));
  p.q_lengths = std::move(q_lengths);
  p.kv_lengths = std::move(kv_lengths);
  const auto fill = [&](std::vector<float>& x, int rows, uint64_t key, double size) {
    x.resize(static_cast<size_t>(rows) * p.dim());
    for (size_t i = 0; i < x.size(); ++i) x[i] = rounded(size * Rng{seed, key}.normal(i), dtype);
  };
  fill(p.q, p.q_rows(), 1, spread);
  fill(p.k, p.kv_rows(), 2, spread);
  fill(p.v, p.kv_rows(), 3, 1);
  return p;
}

struct Result {
  std::vector<float> out;        // [q_rows, heads, head_dim]
  std::vector<float> first_row;  // [kv_rows, heads]
};

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * 4) == 0);
}

// Memory between guard bytes.
struct Guarded {
  std::vector<uint8_t> bytes;
  explicit Guarded(size_t n) : bytes(n + 2 * kGuardBytes, kGuard) {}
  uint8_t* data() { return bytes.data() + kGuardBytes; }
  bool intact() const {
    return std::all_of(bytes.begin(), bytes.begin() + kGuardBytes, [](uint8_t b) { return b == kGuard; }) &&
           std::all_of(bytes.end() - kGuardBytes, bytes.end(), [](uint8_t b) { return b == kGuard; });
  }
};

inline void put(uint8_t* at, size_t i, float x, Dtype dtype) {
  if (dtype == Dtype::bf16) {
    const uint16_t h = f32_to_bf16(x);
    std::memcpy(at + 2 * i, &h, 2);
  } else {
    std::memcpy(at + 4 * i, &x, 4);
  }
}

inline float get(const uint8_t* at, size_t i, Dtype dtype) {
  uint16_t h;
  float f;
  if (dtype == Dtype::bf16) return std::memcpy(&h, at + 2 * i, 2), bf16_to_f32(h);
  return std::memcpy(&f, at + 4 * i, 4), f;
}

inline std::vector<int32_t> offsets_of(const std::vector<int>& lengths) {
  std::vector<int32_t> offsets{0};
  for (int l : lengths) offsets.push_back(offsets.back() + l);
  return offsets;
}

inline int longest(const std::vector<int>& lengths) {
  return lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
}

// Runs the public op on strided views of fused rows [rows, 3 dim + 16]; everything in the gaps is NaN.
inline Result run(const Backend& backend, const Problem& p) {
  const int size = bytes_of(p.dtype), dim = p.dim(), width = 3 * dim + 16;
  const int rows = std::max(static_cast<int>(p.q.size()) / dim, p.kv_rows());
  Guarded fused(static_cast<size_t>(rows) * width * size),
      out(static_cast<size_t>(p.q_rows()) * dim * bytes_of(p.out_dtype)),
      first(static_cast<size_t>(p.kv_rows()) * p.heads * 4);
  for (size_t i = 0; i < static_cast<size_t>(rows) * width; ++i) put(fused.data(), i, kNan, p.dtype);
  const auto spread = [&](const std::vector<float>& x, int part) {
    for (size_t i = 0; i < x.size(); ++i)
      put(fused.data(), i / dim * width + static_cast<size_t>(part) * dim + i % dim, x[i], p.dtype);
    return heads_view(fused.data() + static_cast<size_t>(part) * dim * size, p.dtype, rows, p.heads,
                      p.head_dim, width);
  };
  const std::vector<int32_t> q_offsets = offsets_of(p.q_lengths), kv_offsets = offsets_of(p.kv_lengths);
  AttentionArgs a;
  a.q = spread(p.q, 0);
  a.kv = {spread(p.k, 1), spread(p.v, 2)};
  a.q_rows = {q_offsets.data(), static_cast<int>(p.q_lengths.size()), p.q_rows(), longest(p.q_lengths)};
  a.kv_rows = {kv_offsets.data(), static_cast<int>(p.kv_lengths.size()), p.kv_rows(), longest(p.kv_lengths)};
  if (!p.q_index.empty()) a.q_index = vector_view(p.q_index.data(), Dtype::i32, p.q_rows());
  if (!p.key_bias.empty()) a.key_bias = vector_view(p.key_bias.data(), Dtype::f32, p.kv_rows());
  a.scale = p.scale;
  a.out = heads_view(out.data(), p.out_dtype, p.q_rows(), p.heads, p.head_dim);
  if (p.first_row) a.first_row = matrix_view(first.data(), Dtype::f32, p.kv_rows(), p.heads);
  Context on(backend, p.threads);
  on.reserve_scratch(
      backend.scratch_bytes(std::max(a.q_rows.max_len, a.kv_rows.max_len), p.heads, p.head_dim));
  attention(on, a);
  EXPECT_TRUE(fused.intact() && out.intact() && first.intact())
      << backend.name << ": wrote outside its output";
  Result r;
  for (size_t i = 0; i < static_cast<size_t>(p.q_rows()) * dim; ++i)
    r.out.push_back(get(out.data(), i, p.out_dtype));
  if (p.first_row)
    for (size_t i = 0; i < static_cast<size_t>(p.kv_rows()) * p.heads; ++i)
      r.first_row.push_back(get(first.data(), i, Dtype::f32));
  return r;
}

// The definition, in double, and how far a result may be from it.
//
// A logit is a sum of head_dim products: off by at most d = 3 (head_dim + 4) eps scale sum |q k| (3: a
// product and a sum may round apart, pairs of bf16 round more often) plus the rounding of the logit and its
// bias in base 2. A probability is then off by a factor of 1 + 2 d, the sums over keys by (keys + 16) eps,
// 2^x by 1.5e-7, and where probabilities are bf16 by their rounding twice (in the sum and against the values)
// and the shorter polynomial.
inline void compare_with_definition(const char* backend, const Problem& p, const Result& got) {
  const bool pairs = p.dtype == Dtype::bf16 && cpu::level_named(backend)->multiplies_bf16;
  int q_begin = 0, kv_begin = 0;
  for (size_t s = 0; s < p.q_lengths.size(); q_begin += p.q_lengths[s], kv_begin += p.kv_lengths[s], ++s) {
    const int keys = p.kv_lengths[s];
    for (int i = q_begin; i < q_begin + p.q_lengths[s]; ++i) {
      for (int h = 0; h < p.heads; ++h) {
        const float* q =
            &p.q[(static_cast<size_t>(p.q_index.empty() ? i : p.q_index[i]) * p.heads + h) * p.head_dim];
        std::vector<double> logit(keys);
        double top = -kInf, off = 0;
        for (int j = 0; j < keys; ++j) {
          const float* k = &p.k[(static_cast<size_t>(kv_begin + j) * p.heads + h) * p.head_dim];
          double dot = 0, size = 0;
          for (int d = 0; d < p.head_dim; ++d)
            dot += double{q[d]} * k[d], size += std::abs(double{q[d]} * k[d]);
          const double bias = p.key_bias.empty() ? 0 : p.key_bias[kv_begin + j];
          logit[j] = p.scale * dot + bias;
          top = std::max(top, logit[j]);
          if (bias != -kInf)
            off =
                std::max(off, kEps * (3 * (p.head_dim + 4) * std::abs(p.scale) * size + 8 * std::abs(bias)));
        }
        double sum = 0;
        for (int j = 0; j < keys; ++j) sum += logit[j] == -kInf ? 0 : std::exp(logit[j] - top);
        const double factor = 4 * off + 3 * (keys + 16) * kEps + 3e-7 + (pairs ? 2 * kEpsBf16 + 2e-4 : 0);
        const auto probability = [&](int j) {
          return sum == 0 || logit[j] == -kInf ? 0 : std::exp(logit[j] - top) / sum;
        };
        for (int d = 0; d < p.head_dim; ++d) {
          double want = 0, size = 0;
          for (int j = 0; j < keys; ++j) {
            const double x = p.v[(static_cast<size_t>(kv_begin + j) * p.heads + h) * p.head_dim + d];
            want += probability(j) * x, size += probability(j) * std::abs(x);
          }
          const double found = got.out[(static_cast<size_t>(i) * p.heads + h) * p.head_dim + d];
          const double allowed =
              factor * size + (p.out_dtype == Dtype::bf16 ? kEpsBf16 * std::abs(found) : 0);
          ASSERT_LE(std::abs(found - want), allowed)
              << backend << " " << name_of(p.dtype) << " head_dim " << p.head_dim << " sequence " << s
              << " keys " << keys << " query " << i - q_begin << " head " << h << " d " << d << ": got "
              << found << ", want " << want;
        }
        for (int j = 0; i == q_begin && p.first_row && j < keys; ++j)
          ASSERT_LE(std::abs(got.first_row[static_cast<size_t>(kv_begin + j) * p.heads + h] - probability(j)),
                    factor * probability(j) + 1e-30)
              << backend << " first_row, sequence " << s << " key " << j;
      }
    }
  }
}

// Sequence s of p alone.
inline Problem alone(const Problem& p, size_t s) {
  Problem one = p;
  const int q = Problem::total({p.q_lengths.begin(), p.q_lengths.begin() + static_cast<long>(s)});
  const int kv = Problem::total({p.kv_lengths.begin(), p.kv_lengths.begin() + static_cast<long>(s)});
  one.q_lengths = {p.q_lengths[s]};
  one.kv_lengths = {p.kv_lengths[s]};
  const auto cut = [](auto& x, int begin, int n, int width) {
    if (!x.empty())
      x = {x.begin() + static_cast<long>(begin) * width, x.begin() + static_cast<long>(begin + n) * width};
  };
  if (p.q_index.empty()) cut(one.q, q, p.q_lengths[s], p.dim());
  cut(one.q_index, q, p.q_lengths[s], 1);
  cut(one.k, kv, p.kv_lengths[s], p.dim());
  cut(one.v, kv, p.kv_lengths[s], p.dim());
  cut(one.key_bias, kv, p.kv_lengths[s], 1);
  return one;
}

const std::vector<int> kLengths = {0, 1, 2, 15, 16, 17, 20, 24, 31, 33, 64, 65, 197};

inline void for_all(const std::function<void(const Backend&, Dtype)>& f) {
  for (const Backend* b : cpu_backends())
    for (Dtype d : {Dtype::f32, Dtype::bf16}) f(*b, d);
}

}  // namespace hedgerow
