// SPDX-License-Identifier: Apache-2.0
// Whole models on the device: every method against the CPU, and one recorded graph against eager runs while
// sizes, budgets and pictures change. Weights are random, pictures too.
#include <cstring>

#include "hedgerow/vision/methods.h"
#include "hedgerow/vision/prune_schedule.h"
#include "hedgerow/vision/vit_random.h"
#include "tests/cuda/harness.h"

namespace hedgerow::cuda::test {
namespace {

using CudaVit = CudaTest;

constexpr const char* kShape =
    "dim=128,heads=2,layers=12,patch=8,image=64,classes=24,hidden=256,predictors=1";
constexpr int kPictures = 6, kTokens = 66;

struct Pictures {
  std::vector<std::vector<float>> pixels;
  std::vector<VitImage> images;
  std::vector<PruneBudget> budgets;

  explicit Pictures(uint64_t seed) {
    const Rng rng{seed, 11};
    for (int i = 0; i < kPictures; ++i) {
      const uint64_t u = static_cast<uint64_t>(i);
      const int side = rng.uniform(u) < 0.3 ? 48 : 64;
      std::vector<float> p(3 * static_cast<size_t>(side) * static_cast<size_t>(side));
      for (size_t k = 0; k < p.size(); ++k) p[k] = static_cast<float>(Rng{seed, 100 + u}.normal(k));
      pixels.push_back(std::move(p));
      PruneBudget budget;
      budget.keep = 0.05 + 0.95 * rng.uniform(u + 10);
      budget.threshold = 11 + rng.uniform(u + 20);
      budget.mass = budget.keep;
      budget.floor = i;
      budget.merge = static_cast<int>(12 * rng.uniform(u + 30));
      budgets.push_back(budget);
      images.push_back({nullptr, side, side, u + 1});
    }
    for (size_t i = 0; i < images.size(); ++i) images[i].pixels = pixels[i].data();
  }
};

// Random pictures of 224 x 224.
struct Noise {
  std::vector<float> pixels;
  std::vector<VitImage> images;

  Noise(int count, uint64_t stream) {
    constexpr size_t kValues = 3 * 224 * 224;
    const Rng rng{8, stream};
    pixels.resize(static_cast<size_t>(count) * kValues);
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<float>(rng.normal(i));
    for (size_t i = 0; i < static_cast<size_t>(count); ++i)
      images.push_back({pixels.data() + i * kValues, 224, 224, 1});
  }
};

// The largest difference of two lists; infinite where one holds a NaN.
double furthest(const float* a, const float* b, size_t count) {
  double worst = 0;
  for (size_t i = 0; i < count; ++i) {
    const double d = std::fabs(static_cast<double>(a[i]) - b[i]);
    worst = std::isnan(d) ? kInf : std::max(worst, d);
  }
  return worst;
}

struct Results {
  std::vector<float> logits;
  std::vector<std::vector<int32_t>> kept;
  std::vector<double> macs;
};
Results run(VitState& state, const Pictures& p, VitRun how) {
  how.prune.per_image = p.budgets;
  const VitResult& r = forward(state, p.images.data(), kPictures, how);
  return {{r.logits, r.logits + r.batch * r.classes}, r.kept, r.macs};
}

// Kept rows and logits as on the CPU. f16 may decide near ties otherwise: only pictures that kept the same
// rows count.
void against_cpu(PruneMethod method, KeepRule rule, Layout layout, Dtype dtype, const char* more) {
  const VitParameters parameters = random_vit(std::string(kShape) + more);
  const VitLimits limits{.max_batch = kPictures, .max_tokens = kTokens};
  VitState cpu(pack_vit(parameters, find_backend(), Dtype::f32), limits, 4);
  VitState gpu(pack_vit(parameters, backend(), dtype), limits, 1);
  VitRun how;
  how.prune.method = method, how.prune.rule = rule, how.layout = layout;
  const std::string name = std::string("vit ") + name_of(method) + " " + name_of(dtype) + " rule " +
                           std::to_string(static_cast<int>(rule)) +
                           (layout == Layout::padded ? " padded" : "") + more;
  int alike = 0;
  double worst = 0;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const Pictures pictures(seed);
    how.whole_last_block = seed == 3;
    const Results want = run(cpu, pictures, how), got = run(gpu, pictures, how);
    const size_t classes = got.logits.size() / kPictures;
    for (size_t i = 0; i < kPictures; ++i) {
      if (want.kept[i] != got.kept[i]) continue;
      ++alike;
      EXPECT_TRUE(std::fabs(want.macs[i] - got.macs[i]) <= 1e-9 * want.macs[i]) << name + ": multiply-adds";
      worst = std::max(worst, furthest(&want.logits[i * classes], &got.logits[i * classes], classes));
    }
  }
  // Data-dependent cuts sit on near ties more often than counts do, and ATS cuts nine times in a row.
  const bool samples = method == PruneMethod::ats && dtype != Dtype::f32;
  EXPECT_TRUE(alike >= (dtype == Dtype::f32 ? 3 * kPictures - 1
                        : samples           ? 3
                                            : 3 * kPictures / 3))
      << name + ": only " + std::to_string(alike) + " pictures kept what the CPU keeps";
  // f16: other sets of the same size do not show in the counts; the bound is that of one swapped near tie.
  const double bound = dtype == Dtype::f32 ? 1e-4 : dtype == Dtype::bf16 ? 2.0 : samples ? 1.0 : 0.25;
  EXPECT_TRUE(worst <= bound) << name + ": logits off by " + std::to_string(worst);
}

// Few rows of a real width: norms that are part of products, low tiles, weights fetched ahead.
void few_rows(const char* shape, Dtype dtype) {
  const VitParameters parameters = random_vit(shape);
  VitState cpu(pack_vit(parameters, find_backend(), Dtype::f32), {.max_batch = 1}, 4);
  VitState gpu(pack_vit(parameters, backend(), dtype), {.max_batch = 1}, 1);
  const Noise noise(1, 8);
  const VitImage& image = noise.images[0];
  for (const PruneMethod method : {PruneMethod::none, PruneMethod::paper_l2}) {
    VitRun how;
    how.prune.method = method;
    how.prune.budget.keep = 0.5;
    const VitResult& want = forward(cpu, &image, 1, how);
    const std::vector<float> logits(want.logits, want.logits + want.classes);
    const VitResult& got = forward(gpu, &image, 1, how);
    const double worst = furthest(logits.data(), got.logits, logits.size());
    EXPECT_TRUE(worst <= (dtype == Dtype::f16 ? 0.05 : 0.4)) << std::string("vit few rows ") + shape + " " +
                                                                    name_of(method) + " " + name_of(dtype) +
                                                                    ": off by " + std::to_string(worst);
  }
}

// So many rows that products hand on moments instead of norms being launched: as the same pictures alone.
TEST_F(CudaVit, many_rows_give_what_the_same_pictures_give_alone) {
  constexpr int kMany = 64;
  VitState state(pack_vit(random_vit("deit-base,layers=3"), backend(), Dtype::f16), {.max_batch = kMany}, 1);
  EXPECT_TRUE(gives_moments(kMany * 197, 768, 768) == takes_eight_bits())
      << "vit many rows: moments, on Hopper";
  const Noise noise(kMany, 10);
  const std::vector<VitImage>& images = noise.images;
  for (const bool whole : {false, true}) {
    for (const PruneMethod method : {PruneMethod::none, PruneMethod::paper_l2}) {
      VitRun how;
      how.prune.method = method, how.prune.after = 1, how.prune.budget.keep = 0.96,
      how.whole_last_block = whole;
      const VitResult& all = forward(state, images.data(), kMany, how);
      const std::vector<float> logits(all.logits, all.logits + kMany * all.classes);
      double worst = 0;
      for (const size_t i : {0, 31, 63}) {
        const VitResult& one = forward(state, &images[i], 1, how);
        const size_t classes = static_cast<size_t>(one.classes);
        worst = std::max(worst, furthest(&logits[i * classes], one.logits, classes));
      }
      EXPECT_TRUE(worst <= 0.1) << std::string("vit many rows ") + name_of(method) + ": off by " +
                                       std::to_string(worst);
    }
  }
}

// fp8 rounds every factor of 33 products to 4 bits: what is left is a model whose logits are off by about a
// tenth of their spread. A fifth is the bound, of int8 a tenth; a wrong scale, channel or row would be off by
// the spread itself.
void eight_bits(const char* shape, int batch, Dtype dtype, double bound) {
  const VitParameters parameters = random_vit(shape);
  const VitLimits limits{.max_batch = batch};
  VitState cpu(pack_vit(parameters, find_backend(), Dtype::f32), limits, 4);
  VitState gpu(pack_vit(parameters, backend(), dtype), limits, 1);
  const Noise noise(batch, 9);
  const std::vector<VitImage>& images = noise.images;
  for (const bool whole : {false, true}) {
    VitRun how;
    how.whole_last_block = whole;
    const VitResult& want = forward(cpu, images.data(), batch, how);
    const std::vector<float> logits(want.logits, want.logits + batch * want.classes);
    const VitResult& got = forward(gpu, images.data(), batch, how);
    double sum = 0, squares = 0, off = 0;
    for (size_t k = 0; k < logits.size(); ++k) {
      sum += logits[k], squares += logits[k] * logits[k];
      off += (logits[k] - got.logits[k]) * (logits[k] - got.logits[k]);
    }
    const double n = static_cast<double>(logits.size()),
                 spread = std::sqrt(squares / n - sum / n * (sum / n));
    const double share = std::sqrt(off / n) / spread;
    const std::string name = std::string(name_of(dtype)) + " " + shape + " batch " + std::to_string(batch);
    EXPECT_LE(share, bound) << name << ": off by so much of the logits' spread";
    EXPECT_GE(share, 0.001) << name << ": nothing was rounded to 8 bits";
  }
}

// A picture's bits: alone, in any order, in any batch, packed or in the full grid.
void one_result(PruneMethod method, Dtype dtype) {
  const VitLimits limits{.max_batch = kPictures, .max_tokens = kTokens};
  VitState state(pack_vit(random_vit(kShape), backend(), dtype), limits, VitOptions{.sums = Sums::fixed});
  const Pictures pictures(77);
  VitRun how;
  how.prune.method = method;
  const std::string name = std::string("vit invariant ") + name_of(method) + " " + name_of(dtype);
  const Results together = run(state, pictures, how);
  const size_t classes = together.logits.size() / kPictures;
  const auto same = [&](size_t i, const float* logits, const std::vector<int32_t>& kept, const char* where) {
    EXPECT_TRUE(!std::memcmp(logits, &together.logits[i * classes], classes * 4) && kept == together.kept[i])
        << name + ": picture " + std::to_string(i) + " differs " + where;
  };
  for (size_t i = 0; i < kPictures; ++i) {
    how.prune.per_image = {pictures.budgets[i]};
    const VitResult& r = forward(state, &pictures.images[i], 1, how);
    same(i, r.logits, r.kept[0], "alone");
  }
  std::vector<VitImage> backwards(pictures.images.rbegin(), pictures.images.rend());
  how.prune.per_image.assign(pictures.budgets.rbegin(), pictures.budgets.rend());
  const VitResult& r = forward(state, backwards.data(), kPictures, how);
  for (size_t i = 0; i < kPictures; ++i)
    same(i, r.logits + (kPictures - 1 - i) * classes, r.kept[kPictures - 1 - i], "backwards");
  if (traits_of(method).merges || method == PruneMethod::evit) return;
  how.layout = Layout::padded;
  const Results grid = run(state, pictures, how);
  for (size_t i = 0; i < kPictures; ++i) same(i, &grid.logits[i * classes], grid.kept[i], "in the full grid");
}

void graph_against_eager(PruneMethod method, KeepRule rule, int rounds, Dtype dtype = Dtype::f16) {
  const auto weights = pack_vit(random_vit(kShape), backend(), dtype);
  const VitLimits limits{.max_batch = kPictures, .max_tokens = kTokens};
  VitState recorded(weights, limits, 1), eager(weights, limits, 1);
  VitRun how;
  how.prune.method = method, how.prune.rule = rule;
  VitRun each = how;
  each.eager = true;
  int differ = 0, not_finite = 0;
  size_t before = 0, after = 0, total = 0;
  for (int round = 0; round < rounds; ++round) {
    const Pictures pictures(static_cast<uint64_t>(round) + 50);
    how.prune.seed = each.prune.seed =
        static_cast<uint64_t>(round / 5 % 2);  // paper-dynamicvit draws its gate from it
    const Results want = run(eager, pictures, each), got = run(recorded, pictures, how),
                  again = run(recorded, pictures, how);
    differ += want.logits != got.logits || want.kept != got.kept || again.logits != got.logits;
    for (float v : got.logits) not_finite += !std::isfinite(v);
    if (round == 20) cudaMemGetInfo(&before, &total);
  }
  cudaMemGetInfo(&after, &total);
  const std::string name = std::string("vit graph ") + name_of(method) + " " + name_of(dtype);
  EXPECT_EQ(differ, 0) << name << ": replays differ from eager runs";
  EXPECT_EQ(not_finite, 0) << name << ": logits are not finite";
  EXPECT_TRUE(rounds <= 21 || after >= before) << name + ": memory grew";
}

TEST_F(CudaVit, agrees_with_the_cpu_by_every_method) {
  for (const PruneMethod method : all_prune_methods())
    for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16})
      against_cpu(method, KeepRule::rate, Layout::ragged, dtype, "");
}

TEST_F(CudaVit, agrees_with_the_cpu_by_every_rule_padded_and_with_two_read_outs) {
  for (const KeepRule rule : {KeepRule::threshold, KeepRule::quantile, KeepRule::mass})
    against_cpu(PruneMethod::threshold_l2, rule, Layout::ragged, Dtype::f32, "");
  for (const PruneMethod method : {PruneMethod::none, PruneMethod::threshold_l2, PruneMethod::dynamicvit,
                                   PruneMethod::evit_unfused, PruneMethod::ats})
    against_cpu(method, KeepRule::rate, Layout::padded, Dtype::f32, "");
  for (const PruneMethod method : {PruneMethod::evit, PruneMethod::ats, PruneMethod::tome})
    against_cpu(method, KeepRule::rate, Layout::ragged, Dtype::f32, ",distilled=1");
}

TEST_F(CudaVit, agrees_with_the_cpu_on_few_rows) {
  for (const char* shape : {"deit-tiny", "deit-small"})
    for (const Dtype dtype : {Dtype::f16, Dtype::bf16}) few_rows(shape, dtype);
}

TEST_F(CudaVit, agrees_with_the_cpu_in_eight_bits) {
  if (!takes_eight_bits()) GTEST_SKIP() << "this device has no 8-bit products";
  for (const char* shape : {"deit-tiny", "deit-base,layers=4"})
    eight_bits(shape, 3, Dtype::e4m3, 0.2), eight_bits(shape, 3, Dtype::i8, 0.1);
}

TEST_F(CudaVit, a_picture_has_the_same_bits_alone_and_in_any_batch_where_sums_are_fixed) {
  for (const PruneMethod method : all_prune_methods())
    for (const Dtype dtype : {Dtype::f16, Dtype::bf16, Dtype::e4m3, Dtype::i8})
      if (takes_eight_bits() || !is_quantised(dtype)) one_result(method, dtype);
}

// Changing lengths and budgets through one graph, so many batches a method.
TEST_F(CudaVit, recordings_replay_what_eager_runs_give) {
  const char* asked = std::getenv("HEDGEROW_GRAPH_ROUNDS");
  const int rounds = asked ? std::atoi(asked) : 25;
  for (const PruneMethod method : all_prune_methods()) graph_against_eager(method, KeepRule::rate, rounds);
  graph_against_eager(PruneMethod::threshold_l2, KeepRule::mass, rounds);
  if (!takes_eight_bits()) return;
  for (const PruneMethod method : all_prune_methods())
    graph_against_eager(method, KeepRule::rate, rounds, Dtype::e4m3);
  graph_against_eager(PruneMethod::threshold_l2, KeepRule::rate, rounds, Dtype::i8);
}

}  // namespace
}  // namespace hedgerow::cuda::test
