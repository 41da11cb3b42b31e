// SPDX-License-Identifier: Apache-2.0
// Every backend's whole model against its definition in double, every method.
//
// Place by place: from the rows that a run had at one place, the definition goes on to the next in double,
// under the run's own choices; there the run must be within the bound that the ops between the two derive
// (definition_ops.h). So an error is held against a worst case of a few roundings and is not carried on, and
// a fault shows where it is made. A choice must be one that scores within their bounds can lead to: its
// strain, at most 1 (definition_choice.h).
//
// As a whole: the logits that the definition reaches from the pixels alone. How far may they be? Every place
// adds an error of at most its bound; errors are as good as independent, and the model is smooth under
// imposed choices. So the definition is run with errors of the full bound and random signs: four times what
// that moves a logit at most (over all logits and two such runs, about two standard deviations) is what a
// run may be off.
#include "tests/vision/definition.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <list>
#include <map>
#include <set>

#include "hedgerow/core/rng.h"
#include "hedgerow/vision/methods.h"
#include "hedgerow/vision/vit_random.h"
#include "tests/vision/observed_run.h"

namespace hedgerow::test {
namespace {

// 16 to 36 patches, 12 blocks, as DiffRate's lists want it.
constexpr const char* kShape = "dim=64,heads=2,layers=12,patch=8,image=40,classes=10,hidden=128,predictors=1";

struct Case {
  PruneMethod method;
  Layout layout = Layout::ragged;
  KeepRule rule = KeepRule::rate;
  bool whole_last_block = false;
  const char* more = "";  // of the model

  std::string name() const {
    static const char* const kRules[] = {"", "_threshold", "_quantile", "_mass"};
    static const char* const kLayouts[] = {"", "_padded", "_padded_max"};
    std::string s = std::string(name_of(method)) + kLayouts[static_cast<int>(layout)] +
                    kRules[static_cast<int>(rule)] + (whole_last_block ? "_whole" : "") +
                    (*more ? "_distilled" : "");
    std::replace(s.begin(), s.end(), '-', '_');
    return s;
  }
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const PruneMethod m : all_prune_methods()) {
    all.push_back({m});
    if (traits_of(m).runs_full_grid) all.push_back({m, Layout::padded});
    all.push_back({m, Layout::padded_max});
  }
  for (const KeepRule rule : {KeepRule::threshold, KeepRule::quantile, KeepRule::mass}) {
    all.push_back({PruneMethod::threshold_l2, Layout::ragged, rule});
    all.push_back({PruneMethod::paper_ats, Layout::ragged, rule});
  }
  for (const PruneMethod m : {PruneMethod::none, PruneMethod::evit, PruneMethod::ats, PruneMethod::tome})
    all.push_back({m, Layout::ragged, KeepRule::rate, true, ",distilled=1"});
  return all;
}

struct Pictures {
  std::vector<std::vector<float>> pixels;
  std::vector<VitImage> images;
  std::vector<PruneBudget> budgets;

  Pictures() {
    const double keeps[] = {0.7, 0.3, 0.85};
    const int sides[][2] = {{40, 40}, {48, 48}, {32, 40}};
    for (size_t i = 0; i < 3; ++i) {
      const int height = sides[i][0], width = sides[i][1];
      std::vector<float> p(static_cast<size_t>(3 * height * width));
      for (size_t k = 0; k < p.size(); ++k) p[k] = static_cast<float>(Rng{i, 7}.normal(k));
      pixels.push_back(std::move(p));
      images.push_back({pixels.back().data(), height, width, i + 1});
      PruneBudget b;
      b.keep = b.mass = keeps[i];
      b.merge = 1 + 2 * static_cast<int>(i);
      b.floor = static_cast<int>(i);
      budgets.push_back(b);
    }
  }
  int patches(size_t i) const { return images[i].height / 8 * (images[i].width / 8); }
};

using Param = std::tuple<const Backend*, Dtype, Case>;

class Definition : public testing::TestWithParam<Param> {
 protected:
  void SetUp() override {
    if (!backend().runs_here())
      GTEST_SKIP() << backend().name << " needs " << backend().description
                   << ", which this machine does not have";
    if (!backend().traits().weights.has(dtype()))
      GTEST_SKIP() << backend().name << " has no " << name_of(dtype());
    if (!backend().host && which().layout == Layout::padded_max)
      GTEST_SKIP() << "padded-max runs in host memory only";
    if (!backend().host && which().layout == Layout::padded && which().method == PruneMethod::evit)
      GTEST_SKIP() << "fused rows in a full grid run in host memory only";

    // A device's fast kernels for packed rows, its invariant ones for the full grid.
    const VitOptions options{.sums = which().layout == Layout::padded ? Sums::fixed : Sums::fast};
    VitState state(pack_vit(parameters(), backend(), dtype()), {.max_batch = 3, .max_tokens = 38}, options);
    run_.prune.method = which().method, run_.prune.rule = which().rule;
    run_.prune.seed = 3;
    run_.prune.per_image = pictures().budgets;
    // Thresholds and quantiles in the middle of what the rows of this model have.
    for (PruneBudget& b : run_.prune.per_image)
      b.threshold = which().rule == KeepRule::quantile         ? 0.4
                    : which().method == PruneMethod::paper_ats ? 0.06
                                                               : 2.5;
    run_.layout = which().layout, run_.whole_last_block = which().whole_last_block;
    const Observer observer = seen_.observer();
    run_.observer = &observer;
    result_ = forward(state, pictures().images.data(), 3, run_);
    logits_.assign(result_.logits, result_.logits + 3 * result_.classes);
  }
  const Backend& backend() const { return *std::get<0>(GetParam()); }
  Dtype dtype() const { return std::get<1>(GetParam()); }
  const Case& which() const { return std::get<2>(GetParam()); }
  const VitParameters& parameters() const {
    static std::map<std::string, VitParameters> drawn;
    const auto [at, fresh] = drawn.try_emplace(which().more);
    if (fresh) at->second = random_vit(std::string(kShape) + which().more);
    return at->second;
  }

  template <class At>
  Defined define_picture(size_t i, At&& at) const {
    const std::vector<ImposedChoice> choices = seen_.choices(static_cast<int>(i), pictures().patches(i));
    DefinedRun run{.numerics = Numerics::of(backend(), dtype()),
                   .prune = run_.prune,
                   .layout = run_.layout,
                   .whole_last_block = run_.whole_last_block,
                   .imposed = &choices,
                   .at = at};
    run.prune.per_image.clear();
    run.prune.budget = run_.prune.per_image[i];
    return define(parameters(), pictures().images[i], run);
  }

  // Logits from the pixels alone, and how far errors of the full bound move one. Backends that compute alike
  // and choose alike have the same.
  struct Answer {
    std::vector<ImposedChoice> choices;
    bool folds_norms;
    std::vector<double> logits;
    double moved = 0;
  };
  const Answer& answer(size_t i) const {
    static std::map<std::tuple<std::string, Dtype, size_t>, std::list<Answer>> known;
    std::list<Answer>& all = known[{which().name(), dtype(), i}];
    const std::vector<ImposedChoice> choices = seen_.choices(static_cast<int>(i), pictures().patches(i));
    const bool folds = Numerics::of(backend(), dtype()).folds_norms;
    for (const Answer& a : all)
      if (a.choices == choices && a.folds_norms == folds) return a;
    Answer& a = all.emplace_back(Answer{choices, folds, define_picture(i, nullptr).logits.value});
    for (uint64_t seed = 1; seed <= 2; ++seed) {
      uint64_t draw = 0;
      const Defined noisy = define_picture(i, [&](const char*, int, Rows& rows, const std::vector<int32_t>&) {
        for (size_t k = 0; k < rows.value.size(); ++k)
          rows.value[k] += (Rng{seed, 5}.bits(draw++) & 1 ? 1 : -1) * rows.bound[k], rows.bound[k] = 0;
      });
      for (size_t k = 0; k < a.logits.size(); ++k)
        a.moved = std::max(a.moved, std::fabs(noisy.logits.value[k] - a.logits[k]));
    }
    return a;
  }

  static const Pictures& pictures() {
    static const Pictures drawn;
    return drawn;
  }
  VitRun run_;
  VitResult result_;
  std::vector<float> logits_;
  ObservedRun seen_{which().layout, *which().more ? 2 : 1};
};

void report(const std::string& what, double value) {
  testing::Test::RecordProperty(what, fmt::format("{:.3g}", value));
  if (std::getenv("HEDGEROW_VERBOSE")) fmt::print("{}: {:.3g}\n", what, value);
}

TEST_P(Definition, holds_from_place_to_place_and_at_every_choice) {
  std::map<std::string, double> furthest;
  std::set<std::pair<std::string, int>> met;
  double strain = 0;
  for (size_t i = 0; i < 3; ++i) {
    const Defined want =
        define_picture(i, [&](const char* place, int block, Rows& rows, const std::vector<int32_t>& code) {
          const double off =
              seen_.distance(static_cast<int>(i), pictures().patches(i), place, block, rows, code, true);
          EXPECT_LE(off, 1) << "picture " << i << " " << place << " of block " << block;
          furthest[place] = std::max(furthest[place], off);
          met.emplace(place, block);
        });
    EXPECT_LE(want.strain, 1) << "picture " << i;
    EXPECT_EQ(want.kept, result_.kept[i]) << "picture " << i;
    if (which().layout == Layout::padded_max)
      EXPECT_GE(result_.macs[i], want.macs);
    else
      EXPECT_EQ(want.macs, result_.macs[i]) << "picture " << i;
    strain = std::max(strain, want.strain);
  }
  EXPECT_EQ(met.size(), seen_.places()) << "a run has places that its definition does not";
  // Nothing of this would mean much if every row stayed, or none.
  const auto behind = [&](size_t i) { return result_.kept[i][10] - (*which().more ? 2 : 1); };
  if (which().method != PruneMethod::none) {
    EXPECT_GT(behind(0), 0);
    EXPECT_LT(behind(0), pictures().patches(0));
  }
  for (const auto& [place, off] : furthest) report("share of the bound at " + place, off);
  report("strain", strain);
}

TEST_P(Definition, gives_the_logits_from_the_pixels_alone) {
  if (which().layout != Layout::ragged) GTEST_SKIP() << "all layouts give the same bits: vit_test";
  for (size_t i = 0; i < 3; ++i) {
    const Answer& want = answer(i);
    double off = 0;
    for (size_t k = 0; k < want.logits.size(); ++k)
      off = std::max(off, std::fabs(logits_[i * want.logits.size() + k] - want.logits[k]));
    EXPECT_LE(off, 4 * want.moved) << "picture " << i;
    EXPECT_TRUE(std::isfinite(off) && std::isfinite(want.moved));
    report(fmt::format("picture {} logits off", i), off);
    report(fmt::format("picture {} logits may be off", i), 4 * want.moved);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Definition,
                         testing::Combine(testing::ValuesIn(all_backends()),
                                          testing::Values(Dtype::f32, Dtype::bf16, Dtype::f16),
                                          testing::ValuesIn(cases())),
                         [](const testing::TestParamInfo<Param>& info) {
                           return std::string(std::get<0>(info.param)->name) + "_" +
                                  name_of(std::get<1>(info.param)) + "_" + std::get<2>(info.param).name();
                         });

}  // namespace
}  // namespace hedgerow::test
