// SPDX-License-Identifier: Apache-2.0
// hedgerow info: what is in a checkpoint, and what each pruning method would do to it.
#include <fmt/format.h>

#include <cmath>

#include "hedgerow/cli/bench_support.h"
#include "hedgerow/cli/commands.h"
#include "hedgerow/cli/flags.h"
#include "hedgerow/cli/inputs.h"
#include "hedgerow/cli/output.h"
#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/vision/methods.h"

namespace hedgerow::cli {
namespace {

// One noise picture: enough where the method, not the picture, sets the counts.
std::vector<float> noise(int side) {
  std::vector<float> pixels(3 * static_cast<size_t>(side) * side);
  const Rng rng{1, 1};
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<float>(rng.uniform(i) * 4 - 2);
  return pixels;
}

void describe(const ClassifierModel& m) {
  const VitConfig& c = m.config;
  const int grid = m.image_size / c.patch;
  fmt::print("{}\n", m.path);
  if (!m.architecture.empty()) fmt::print("  {:15}{}\n", "architecture", m.architecture);
  fmt::print("  {:15}{} blocks, width {}, {} heads of {}, MLP {}{}\n", "shape", c.layers, c.dim, c.heads,
             c.head_dim(), c.hidden_dim, c.distilled ? ", distilled (two heads, averaged)" : "");
  fmt::print("  {:15}{} x {} pixels, patch {}: {} patches + {} special = {} tokens\n", "input", m.image_size,
             m.image_size, c.patch, grid * grid, c.special(), grid * grid + c.special());
  fmt::print("  {:15}{}{}\n", "classes", c.classes, m.class_names.empty() ? "" : ", named");
  fmt::print("  {:15}{} ({:.2f} M), {} in the file\n", "parameters", m.parameter_count,
             static_cast<double>(m.parameter_count) * 1e-6, m.dtype_in_file);
  fmt::print("  {:15}{} (positions: {}{})\n", "lineage", m.lineage,
             c.resample == VitConfig::Resample::bicubic ? "bicubic" : "bilinear",
             c.antialias_positions ? ", antialiased" : "");
  fmt::print("  {:15}{}\n", "preprocessing", hedgerow::describe(m.preprocess));
  fmt::print("  {:15}{}\n", "predictors", m.has_predictors ? "yes (DynamicViT)" : "none");
  for (const std::string& note : m.notes) fmt::print("  {:15}{}\n", "note", note);
}

// Counts and multiply-adds as executed on one picture, method by method.
void describe_methods(std::shared_ptr<const ClassifierModel> model, const PreparedPicture& picture) {
  fmt::print(
      "\n  G multiply-adds, and rows leaving each block on {} (CLS{}, and evit's fused row, counted;\n"
      "  the last block finishes only what is read)\n",
      picture.path, model->config.distilled ? ", the distillation token" : "");
  for (const PruneMethod method : all_prune_methods()) {
    if (method == PruneMethod::dynamicvit && !model->has_predictors) {
      fmt::print("  {:17}needs predictors\n", name_of(method));
      continue;
    }
    if (method == PruneMethod::diffrate && model->config.layers != 12) {
      fmt::print("  {:17}has lists for 12 blocks only\n", name_of(method));
      continue;
    }
    ClassifierOptions options;
    options.batch = 1;
    options.threads = default_threads();
    options.prune.method = method;
    options.prune.after = std::min(options.prune.after, model->config.layers - 1);
    if (options.prune.after < 1 && traits_of(method).keep_rate) continue;
    const Classification r = Classifier(model, options).run({picture}).at(0);
    fmt::print("  {:17}{:<7.3f}{}\n", name_of(method), r.macs * 1e-9, runs_text(r.kept));
  }
}

// What --threshold is compared with: the scores of threshold-l2 and paper-l2, lengths of the patches' rows.
void describe_scores(std::shared_ptr<const ClassifierModel> model,
                     const std::vector<PreparedPicture>& pictures) {
  if (model->config.layers < 2) return;
  std::vector<double> scores;
  ClassifierOptions options;
  options.threads = default_threads();
  options.prune.method = PruneMethod::custom;
  options.prune.after = std::min(options.prune.after, model->config.layers - 1);
  const int special = model->config.special();
  options.prune.score = [&](int, int, int rows, int dim, const float* x, const int32_t*, float* score) {
    for (int r = 0; r < rows; ++r) {
      double sum = 0;
      for (int d = 0; d < dim; ++d) sum += static_cast<double>(x[r * dim + d]) * x[r * dim + d];
      score[r] = static_cast<float>(std::sqrt(sum));
      if (r >= special) scores.push_back(score[r]);
    }
  };
  for (const Classification& r : Classifier(model, options).run(pictures)) require(r.error.empty(), r.error);
  const auto at = [&](double q) { return quantile(scores, q); };
  fmt::print(
      "\n  scores of threshold-l2 after {} on {}, patches alone:\n  lowest {:.3g}, 10 % below {:.3g}, 50 % "
      "below {:.3g}, 90 % below {:.3g}, highest {:.3g}\n",
      counted(static_cast<size_t>(options.prune.after), "block"),
      pictures.size() == 1 ? pictures[0].path : counted(pictures.size(), "picture"), at(0), at(0.1), at(0.5),
      at(0.9), at(1));
}

}  // namespace

Command add_info(CLI::App& app) {
  struct Flags {
    std::string model;
    std::vector<std::string> paths;
    int size = 0;
  };
  auto flags = std::make_shared<Flags>();
  app.add_option("MODEL", flags->model, "folder, .safetensors file, name, or random:deit-tiny and the like")
      ->required();
  app.add_option("PATH", flags->paths,
                 "pictures or folders: scores and counts on those in place of noise (counts: on the first)");
  app.add_option("--size", flags->size, "resolution; default: the checkpoint's")->check(CLI::Range(8, 4096));
  return [flags](Outcome& outcome) {
    ModelOptions options;
    options.image_size = flags->size;
    const auto model = load_classifier_model(flags->model, options);
    const std::vector<float> pixels = noise(model->image_size);
    std::vector<PreparedPicture> pictures;
    int overlays = 0;
    for (const PictureRequest& request : find_pictures(flags->paths, &overlays)) {
      pictures.push_back(prepare(*model, request));
      require(pictures.back().error.empty(), pictures.back().error);
    }
    require(flags->paths.empty() || !pictures.empty(),
            "info: no JPEG or PNG pictures found in what was given");
    if (pictures.empty()) {
      PreparedPicture& p = pictures.emplace_back();
      p.path = "noise";
      p.chw = pixels.data();
      p.width = p.height = model->image_size;
    }
    describe(*model);
    outcome.did_something = true;
    describe_methods(model, pictures.front());
    describe_scores(model, pictures);
  };
}

}  // namespace hedgerow::cli
