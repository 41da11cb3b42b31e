// SPDX-License-Identifier: Apache-2.0
// The matrix product alone, on the layer shapes of DeiT: share of the multiply-add peak, which is measured
// right beside every sample, because a shared machine's clock drifts. Median of many short windows.
//
//   linear_bench [--level avx512bf16] [--threads N] [--dtype f32|bf16] [--model T|S|B] [--rows 14,50,...]
//   [--cold] [--gelu]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "hedgerow/core/clock.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/kernels/cpu/level.h"
#include "hedgerow/kernels/cpu/linear/split.h"

namespace hedgerow {
namespace {

constexpr double kWindow_s = 2e-3;  // short: a window that the host interrupts is an outlier, not a bias
constexpr int kWindows = 21;
constexpr size_t kColdBytes = 160u << 20;  // several times the last-level cache

struct Options {
  std::string level = "avx512bf16", dtype, model;
  std::vector<int> rows = {1, 14, 20, 50, 99, 100, 197, 1576};
  int threads = 1;
  bool cold = false, gelu = false;
};

using PeakLoop = double (*)(Dtype, int64_t) noexcept;

struct Shape {
  const char* model;
  const char* layer;
  int n, k;
};
constexpr Shape kShapes[] = {{"T", "patch", 192, 768}, {"T", "qkv", 576, 192},   {"T", "proj", 192, 192},
                             {"T", "fc1", 768, 192},   {"T", "fc2", 192, 768},   {"S", "patch", 384, 768},
                             {"S", "qkv", 1152, 384},  {"S", "proj", 384, 384},  {"S", "fc1", 1536, 384},
                             {"S", "fc2", 384, 1536},  {"B", "patch", 768, 768}, {"B", "qkv", 2304, 768},
                             {"B", "proj", 768, 768},  {"B", "fc1", 3072, 768},  {"B", "fc2", 768, 3072}};

// One shape and row count, with as many copies of the weights as the caches must not hold.
class Case {
 public:
  Case(const Options& o, const Shape& s, int rows, Dtype dtype)
      : level_(*cpu::level_named(o.level.c_str())),
        pool_(o.threads),
        rows_(rows),
        shape_(s),
        offsets_{0, rows} {
    const size_t bytes = level_.packed_bytes(s.n, s.k, dtype);
    std::vector<float> w(static_cast<size_t>(s.n) * s.k);
    for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(Rng{1, 2}.uniform(i)) - 0.5f;
    weights_.resize(o.cold ? kColdBytes / bytes + 2 : 1);
    for (PackedLinear& p : weights_) {
      p.dtype = dtype, p.n = s.n, p.k = s.k, p.panel = level_.panel(dtype);
      p.data = Buffer(bytes);
      if (&p == &weights_[0])
        level_.pack(w.data(), s.n, s.k, dtype, p.data.as());
      else
        std::memcpy(p.data.as(), weights_[0].data.as(), bytes);
      p.bias = Buffer(4 * static_cast<size_t>(s.n + level_.panel(dtype)));
    }
    x_ = Buffer(static_cast<size_t>(rows) * s.k * bytes_of(dtype));
    for (size_t i = 0; i < static_cast<size_t>(rows) * s.k; ++i) {
      const float v = static_cast<float>(Rng{3, 4}.uniform(i)) - 0.5f;
      dtype == Dtype::f32 ? void(x_.as<float>()[i] = v) : void(x_.as<uint16_t>()[i] = f32_to_bf16(v));
    }
    out_ = Buffer(static_cast<size_t>(rows) * s.n * 4);
    args_.x = matrix_view(x_.as(), dtype, rows, s.k);
    args_.out = matrix_view(out_.as(), o.gelu ? dtype : Dtype::f32, rows, s.n);
    args_.act = o.gelu ? Activation::gelu_erf : Activation::none;
    args_.rows = {offsets_, 1, rows, rows};
    for (int t = 0; t < o.threads; ++t) scratch_.emplace_back(level_.linear_scratch_bytes());
  }
  double operations() const { return 2.0 * rows_ * shape_.n * shape_.k; }
  void call() {
    args_.w = &weights_[next_++ % weights_.size()];
    const int threads = pool_.threads();
    pool_.run(cpu::linear_tasks(args_, level_, threads), [&](int task, int worker) {
      level_.linear(args_, cpu::linear_tile(args_, level_, threads, task), scratch_[worker].as());
    });
  }
  Pool& pool() { return pool_; }

 private:
  const cpu::Level& level_;
  Pool pool_;
  int rows_;
  Shape shape_;
  int32_t offsets_[2];
  std::vector<PackedLinear> weights_;
  Buffer x_, out_;
  std::vector<Buffer> scratch_;
  LinearArgs args_;
  size_t next_ = 0;
};

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + v.size() / 2, v.end());
  return v[v.size() / 2];
}

double peak(Pool& pool, PeakLoop loop, Dtype dtype, double seconds) {
  std::vector<double> done(pool.threads());
  int64_t rounds = 1000;
  for (;;) {
    const double start = now_s();
    pool.run(pool.threads(), [&](int task, int) { done[task] = loop(dtype, rounds); });
    const double took = now_s() - start;
    double all = 0;
    for (double d : done) all += d;
    if (took >= seconds) return all / took;
    rounds = static_cast<int64_t>(rounds * std::clamp(1.2 * seconds / took, 1.5, 100.0));
  }
}

// Share of the peak, median over windows.
double share(Case& c, PeakLoop loop, Dtype dtype, double* call_us) {
  int64_t calls = 1;
  c.call();
  for (;;) {
    const double start = now_s();
    for (int64_t i = 0; i < calls; ++i) c.call();
    const double took = now_s() - start;
    if (took >= kWindow_s / 2) break;
    calls *= 2;
  }
  std::vector<double> shares, us;
  for (int w = 0; w < kWindows; ++w) {
    const double before = peak(c.pool(), loop, dtype, kWindow_s / 8);
    const double start = now_s();
    for (int64_t i = 0; i < calls; ++i) c.call();
    const double took = now_s() - start;
    const double after = peak(c.pool(), loop, dtype, kWindow_s / 8);
    shares.push_back(c.operations() * static_cast<double>(calls) / took / (0.5 * (before + after)));
    us.push_back(took / static_cast<double>(calls) * 1e6);
  }
  *call_us = median(us);
  return median(shares);
}

int run(const Options& o) {
  const cpu::Level* const level = cpu::level_named(o.level.c_str());
  if (!level) return std::fprintf(stderr, "no level %s here\n", o.level.c_str()), 2;
  const auto loop = level->peak;
  for (Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    if (!o.dtype.empty() && o.dtype != name_of(dtype)) continue;
    std::printf("\n%s, %s, %d thread%s, weights %s%s: %% of peak (us per call)\n", o.level.c_str(),
                name_of(dtype), o.threads, o.threads > 1 ? "s" : "", o.cold ? "cold" : "hot",
                o.gelu ? ", bias + GELU" : "");
    std::printf("%-8s", "layer");
    for (int rows : o.rows) std::printf("%16d", rows);
    std::printf("\n");
    for (const Shape& s : kShapes) {
      if (!o.model.empty() && o.model != s.model) continue;
      std::printf("%s %-6s", s.model, s.layer);
      for (int rows : o.rows) {
        Case c(o, s, rows, dtype);
        double us = 0;
        const double sh = share(c, loop, dtype, &us);
        std::printf("  %5.1f (%6.1f)", 100 * sh, us);
        std::fflush(stdout);
      }
      std::printf("\n");
    }
  }
  return 0;
}

}  // namespace
}  // namespace hedgerow

int main(int argc, char** argv) {
  hedgerow::Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (a == "--cold")
      o.cold = true;
    else if (a == "--gelu")
      o.gelu = true;
    else if (a == "--level")
      o.level = value, ++i;
    else if (a == "--dtype")
      o.dtype = value, ++i;
    else if (a == "--model")
      o.model = value, ++i;
    else if (a == "--threads")
      o.threads = std::max(1, std::atoi(value)), ++i;
    else if (a == "--rows") {
      o.rows.clear();
      for (const char* p = value; *p; p += *p == ',')
        o.rows.push_back(static_cast<int>(std::strtol(p, const_cast<char**>(&p), 10)));
      ++i;
    } else
      return std::fprintf(stderr, "unknown option %s\n", a.c_str()), 2;
  }
  return hedgerow::run(o);
}
