// SPDX-License-Identifier: Apache-2.0
// Attention: every kernel, dtype and head size; lengths around every tile edge; hidden keys that hold NaN.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/cuda/twin.h"

namespace hedgerow::cuda::test {
namespace {

struct Case {
  Dtype dtype;
  int head_dim, heads;
  std::vector<AttentionKernel> kernels;
  bool bias, fewer_queries, first_row;
  std::vector<int> lengths;
};

constexpr const char* kKernels[] = {"automatic", "mma", "light", "one_group", "two_groups", "halves"};

void run(const Case& c, const std::string& title) {
  const int dim = c.heads * c.head_dim;
  Batch kv(c.lengths);
  std::vector<int> asked = c.lengths;
  if (c.fewer_queries) {
    for (size_t i = 0; i < asked.size(); ++i)
      asked[i] = i % 3 == 0 ? asked[i] / 2 : (i % 3 == 1 ? (asked[i] > 0) : asked[i]);
  }
  Batch q(asked);
  Twin qkv(c.dtype, static_cast<size_t>(kv.capacity()) * 3 * dim);
  qkv.random(11 + c.head_dim);
  for (size_t i = static_cast<size_t>(kv.rows) * 3 * dim; i < qkv.count; ++i) qkv.set(i, kNan);
  Twin index(Dtype::i32, q.capacity()), bias(Dtype::f32, kv.capacity());
  const Rng rng{5, 3};
  for (int s = 0, at = 0, from = 0; s < static_cast<int>(asked.size()); from += c.lengths[s++]) {
    for (int i = 0; i < asked[s]; ++i) index.set(at++, static_cast<float>(from + (c.lengths[s] - 1 - i)));
  }
  for (int j = 0; j < kv.rows; ++j) {
    const bool hidden = rng.uniform(j) < 0.2;
    bias.set(j, hidden ? -kInfinity : static_cast<float>(rng.normal(j + 1000)));
    if (c.bias && hidden && j % 3 == 0) {
      for (int d = dim; d < 3 * dim; ++d) qkv.set(static_cast<size_t>(j) * 3 * dim + d, kNan);
    }
  }
  qkv.push(), index.push(), bias.push();
  Twin out(c.dtype, static_cast<size_t>(q.capacity()) * dim),
      row(Dtype::f32, static_cast<size_t>(kv.capacity()) * c.heads);
  auto args = [&](bool on) {
    AttentionArgs a;
    auto part = [&](int i) {
      char* p = static_cast<char*>(qkv.at(on)) + static_cast<size_t>(i) * dim * bytes_of(c.dtype);
      return heads_view(p, c.dtype, kv.capacity(), c.heads, c.head_dim, 3 * dim);
    };
    a.q = part(0), a.kv = {part(1), part(2)};
    a.q_rows = q.view(on), a.kv_rows = kv.view(on);
    if (c.fewer_queries) a.q_index = vector_view(index.at(on), Dtype::i32, q.capacity());
    if (c.bias) a.key_bias = vector_view(bias.at(on), Dtype::f32, kv.capacity());
    a.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
    a.out = heads_view(out.at(on), c.dtype, q.capacity(), c.heads, c.head_dim);
    if (c.first_row) a.first_row = matrix_view(row.at(on), Dtype::f32, kv.capacity(), c.heads);
    return a;
  };
  const reference::Attended want = reference::attention(args(false));
  for (AttentionKernel kernel : c.kernels) {
    const std::string name = title + " " + kKernels[static_cast<int>(kernel)];
    std::vector<unsigned char> before;
    for (int repeat = 0; repeat < 2; ++repeat) {
      out.fill(kNan), row.fill(kNan);
      queued(attention(nullptr, args(true), kernel), name);
      out.pull(), row.pull();
      if (repeat == 0) before = out.host;
    }
    tally.check(before == out.host, name + ": two runs differ");
    const double bound = c.dtype == Dtype::f32 ? 2e-5 : c.dtype == Dtype::f16 ? 4e-3 : 3e-2;
    close(out, want.out, bound, name);
    untouched(out, static_cast<size_t>(q.rows) * dim, name);
    if (c.first_row) {
      close(row, want.first_row, c.dtype == Dtype::f32 ? 1e-5 : 1e-4, name + " first row");
      untouched(row, static_cast<size_t>(kv.rows) * c.heads, name + " first row");
    }
  }
}

}  // namespace

void test_attention() {
  const std::vector<int> edges = {0, 1, 15, 16, 17, 63, 64, 65, 0, 127, 128, 129, 197, 250, 2},
                         brief = {20, 1, 14, 0, 9}, mid = {20, 31, 3, 32}, even = {64, 64, 40},
                         odd = {77, 5, 80, 0, 48}, thin = {1, 47, 96, 33}, small = {48, 33, 2, 47},
                         wide = {128, 0, 127, 65, 1, 113, 112, 64}, ring = {400, 3, 513};
  for (Dtype dtype : {Dtype::f16, Dtype::bf16, Dtype::f32}) {
    for (int head_dim : {64, 32, 128}) {
      std::vector<AttentionKernel> kernels = {AttentionKernel::automatic};
      if (dtype != Dtype::f32 && head_dim == 64) {
        kernels.clear();
        for (int i = 0; i < 6; ++i) kernels.push_back(static_cast<AttentionKernel>(i));
      }
      for (int variant = 0; variant < 8; ++variant) {
        for (const auto* lengths : {&edges, &brief, &mid, &even, &odd, &thin, &small, &wide, &ring}) {
          if (lengths == &ring && kernels.size() == 1) continue;  // longer than a ring of keys is only here
          const Case c{
              dtype,   head_dim, 2, kernels, (variant & 1) != 0, (variant & 2) != 0, (variant & 4) != 0,
              *lengths};
          run(c, std::string("attention ") + name_of(dtype) + " dim " + std::to_string(head_dim) +
                     (c.bias ? " bias" : "") + (c.fewer_queries ? " index" : "") +
                     (c.first_row ? " first" : "") + " of " + std::to_string(lengths->size()));
        }
      }
    }
  }
}

}  // namespace hedgerow::cuda::test
