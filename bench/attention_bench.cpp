// SPDX-License-Identifier: Apache-2.0
// Share of the multiply-add peak reached by ragged attention, straight from a fused projection [rows, 3 heads
// head_dim].
//
//   attention_bench [level] [threads] [head_dim] [heads]
//
// Useful work is 4 n m head_dim operations per head for n queries and m keys; softmax and packing count as
// nothing. The peak loop runs beside every sample, on as many threads, because the clock drifts; a figure is
// the median over windows, and beside it the fastest window over the fastest peak. Every case is compared
// with the scalar level first: a wrong kernel is not timed.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/kernels/cpu/level.h"
#include "hedgerow/kernels/kernels.h"

namespace {

using namespace hedgerow;

constexpr int kSamples = 81;
constexpr double kSampleSeconds = 4e-4;  // short: a window that the host interrupts is an outlier, not a bias

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<long>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

struct Case {
  int keys, queries, batch;
};

// A batch of equal lengths; the first `queries` rows of each sequence ask.
struct Batch {
  std::vector<int32_t> q_offsets, kv_offsets, q_index;
  Buffer qkv, out;
  AttentionArgs args;

  Batch(Case c, Dtype dtype, int heads, int head_dim) {
    const int rows = c.keys * c.batch, dim = heads * head_dim, size = bytes_of(dtype);
    for (int i = 0; i <= c.batch; ++i) {
      q_offsets.push_back(i * c.queries);
      kv_offsets.push_back(i * c.keys);
      for (int j = 0; j < c.queries && i < c.batch; ++j) q_index.push_back(i * c.keys + j);
    }
    qkv = Buffer(static_cast<size_t>(rows) * 3 * dim * size);
    out = Buffer(static_cast<size_t>(rows) * dim * size);
    const Rng rng{1, 2};
    for (int64_t i = 0; i < int64_t{rows} * 3 * dim; ++i) {
      const float x = static_cast<float>(rng.uniform(static_cast<uint64_t>(i)) * 3 - 1.5);
      if (dtype == Dtype::bf16)
        qkv.as<uint16_t>()[i] = f32_to_bf16(x);
      else
        qkv.as<float>()[i] = x;
    }
    const auto view = [&](int part) {
      return heads_view(qkv.as<char>() + static_cast<int64_t>(part) * dim * size, dtype, rows, heads,
                        head_dim, 3 * dim);
    };
    args.q = view(0);
    args.kv = {view(1), view(2)};
    args.q_rows = {q_offsets.data(), c.batch, c.queries * c.batch, c.queries};
    args.kv_rows = {kv_offsets.data(), c.batch, rows, c.keys};
    if (c.queries != c.keys) args.q_index = vector_view(q_index.data(), Dtype::i32, c.queries * c.batch);
    args.scale = 1 / std::sqrt(static_cast<float>(head_dim));
    args.out = heads_view(out.as<>(), dtype, c.queries * c.batch, heads, head_dim);
  }
};

void check(Context& on, Batch& b, int head_dim) {
  Context plain(find_backend("scalar"), 1);
  plain.reserve_scratch(
      plain.backend().scratch_bytes(b.args.kv_rows.max_len, static_cast<int>(b.args.q.extents[1]), head_dim));
  attention(plain, b.args);
  const int64_t n = b.args.q_rows.rows() * b.args.out.strides[0];
  std::vector<float> want(static_cast<size_t>(n));
  const auto at = [&](int64_t i) {
    return b.args.out.dtype == Dtype::bf16 ? bf16_to_f32(b.out.as<uint16_t>()[i]) : b.out.as<float>()[i];
  };
  for (int64_t i = 0; i < n; ++i) want[static_cast<size_t>(i)] = at(i);
  attention(on, b.args);
  const double tolerance = b.args.q.dtype == Dtype::bf16 ? 2e-2 : 1e-5;
  for (int64_t i = 0; i < n; ++i)
    require(std::abs(at(i) - want[static_cast<size_t>(i)]) <= tolerance,
            "attention_bench: result " + std::to_string(i) + " differs from the scalar level's");
}

// Seconds per round of `f`, about kSampleSeconds long.
template <class F>
double sample(int rounds, F&& f) {
  const double start = now_s();
  for (int i = 0; i < rounds; ++i) f();
  return (now_s() - start) / rounds;
}

void bench(Context& on, Case c, Dtype dtype, int heads, int head_dim) {
  Batch b(c, dtype, heads, head_dim);
  on.reserve_scratch(on.backend().scratch_bytes(c.keys, heads, head_dim));
  check(on, b, head_dim);
  const auto peak = cpu::level_named(on.backend().name)->peak;
  const auto run = [&] { attention(on, b.args); };
  const double flops = 4.0 * c.queries * c.keys * head_dim * heads * c.batch;
  const int rounds = std::max(1, static_cast<int>(kSampleSeconds / sample(2, run)));
  std::vector<double> share, us;
  double fastest = 1e9, best_peak = 0;
  for (int i = 0; i < kSamples; ++i) {
    std::vector<double> ops(static_cast<size_t>(on.threads()));
    const auto beat = [&] {
      on.pool().run(on.threads(), [&](int task, int) { ops[static_cast<size_t>(task)] = peak(dtype, 4000); });
    };
    const double before = sample(1, beat);
    const double seconds = sample(rounds, run);
    const double after = sample(1, beat);
    double done = 0;
    for (double o : ops) done += o;
    best_peak = std::max(best_peak, done / std::min(before, after));
    fastest = std::min(fastest, seconds);
    share.push_back(flops / seconds / (done / std::min(before, after)));
    us.push_back(seconds * 1e6 / (heads * c.batch));
  }
  std::printf("%-5s %5d %5d %4d %6.1f %% %6.1f %% %10.2f\n", name_of(dtype), c.queries, c.keys, head_dim,
              100 * median(share), 100 * flops / fastest / best_peak, median(us));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Backend& backend = find_backend(argc > 1 ? argv[1] : "");
    require(cpu::level_named(backend.name) != nullptr, "attention_bench: wanted a CPU level");
    Context on(backend, argc > 2 ? std::atoi(argv[2]) : 1);
    const int head_dim = argc > 3 ? std::atoi(argv[3]) : 64, heads = argc > 4 ? std::atoi(argv[4]) : 3;
    std::printf("%s, %d threads, %d heads\ndtype     n  keys  dim   median    best  us/(seq,head)\n",
                backend.name, on.threads(), heads);
    for (Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      for (int n : {1, 8, 14, 20, 50, 99, 138, 197, 577})
        bench(on, {n, n, n > 90 ? 1 : 8}, dtype, heads, head_dim);
      for (int n : {50, 197}) bench(on, {n, 1, 4}, dtype, heads, head_dim);
    }
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
