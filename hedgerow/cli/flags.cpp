// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/cli/flags.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <thread>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/keep_final.h"
#include "hedgerow/vision/methods.h"

namespace hedgerow::cli {
namespace {

bool parse_number(std::string_view text, double* value) {
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return fault == std::errc() && end == text.data() + text.size() && std::isfinite(*value);
}

std::string method_names() {
  std::string names;
  for (const PruneMethod m : all_prune_methods())
    names += (names.empty() ? "" : ", ") + std::string(name_of(m));
  return names;
}

}  // namespace

int default_threads() { return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 256); }

void parse_keep(const std::string& text, const std::string& where, PruneBudget* budget) {
  const size_t colon = text.find(':');
  double low = 0, high = 0;
  const bool good =
      parse_number(std::string_view(text).substr(0, colon), &low) && low > 0 && low <= 1 &&
      (colon == std::string::npos ||
       (parse_number(std::string_view(text).substr(colon + 1), &high) && high >= low && high <= 1));
  require(good, fmt::format("{}: wanted a rate above 0 and at most 1, or a range as in 0.3:0.7, found '{}'",
                            where, text));
  budget->keep = low;
  budget->keep_max = high > low ? high : 0;
}

Dtype parse_dtype(const std::string& text) {
  if (text == "f32") return Dtype::f32;
  if (text == "bf16") return Dtype::bf16;
  if (text == "f16") return Dtype::f16;
  if (text == "fp8") return Dtype::e4m3;
  if (text == "int8") return Dtype::i8;
  throw Error(fmt::format("dtype: wanted f32, bf16, f16, fp8 or int8, found '{}'", text));
}

std::string kernels_of(const std::string& device) { return device == "cuda" ? "cuda" : ""; }

void add_device_flag(CLI::App& command, std::string* device) {
  command.add_option("--device", *device, "where the model runs: cpu, or cuda for an NVIDIA GPU")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
}

Layout parse_layout(const std::string& text) {
  if (text == "ragged") return Layout::ragged;
  if (text == "padded") return Layout::padded;
  if (text == "padded-max") return Layout::padded_max;
  throw Error(fmt::format("layout: wanted ragged, padded or padded-max, found '{}'", text));
}

const char* name_of(Layout layout) {
  return layout == Layout::ragged ? "ragged" : layout == Layout::padded ? "padded" : "padded-max";
}

void ModelFlags::add_to(CLI::App& command) {
  command.add_option("--model", model, "folder, .safetensors file, name, or random:deit-tiny and the like")
      ->capture_default_str()
      ->group("Model");
  command
      .add_option("--dtype", dtype,
                  "arithmetic of the matrix products; f32 on a CPU, f16 on a GPU unless given; on Hopper fp8 "
                  "and int8: most of them in 8 bits")
      ->check(CLI::IsMember({"f32", "bf16", "f16", "fp8", "int8"}))
      ->group("Model");
  add_device_flag(command, &device);
  command.add_option("--size", size, "resolution; default: the checkpoint's")
      ->check(CLI::Range(8, 4096))
      ->group("Model");
  command.add_option("--mean", mean, "three channel means of pixels in 0 to 1, as in 0.5,0.5,0.5")
      ->delimiter(',')
      ->expected(3)
      ->group("Preprocessing, in place of the checkpoint's");
  command.add_option("--std", std, "three standard deviations")
      ->delimiter(',')
      ->expected(3)
      ->group("Preprocessing, in place of the checkpoint's");
  command.add_option("--resize", resize, "shorter side before the crop, in pixels")
      ->check(CLI::Range(8, 8192))
      ->group("Preprocessing, in place of the checkpoint's");
  command
      .add_option("--crop", crop,
                  "centre crop: pixels (224), share of the resized side (0.875), or none to squash")
      ->group("Preprocessing, in place of the checkpoint's");
  command
      .add_option("--interpolation", interpolation,
                  "filter of the resize: nearest, bilinear, bicubic, lanczos")
      ->group("Preprocessing, in place of the checkpoint's");
}

ModelOptions ModelFlags::options() const {
  ModelOptions o;
  o.kernels = kernels_of(device);
  o.dtype = parse_dtype(!dtype.empty() ? dtype : device == "cuda" ? "f16" : "f32");
  o.image_size = size;
  for (const float v : std) require(std::isfinite(v) && v > 0, "--std: wanted three numbers above 0");
  for (const float v : mean) require(std::isfinite(v), "--mean: wanted three finite numbers");
  if (!mean.empty()) o.overrides.mean = mean;
  if (!std.empty()) o.overrides.std = std;
  if (resize > 0) o.overrides.resize = resize;
  if (!interpolation.empty()) o.overrides.interpolation = interpolation_named(interpolation);
  if (crop == "none") {
    o.overrides.squash = true;
    require(resize == 0, "--crop none: squashes to the resolution, so --resize has no meaning");
  } else if (!crop.empty()) {
    double value = 0;
    const bool good = parse_number(crop, &value) && value > 0 && value <= 4096 &&
                      (value <= 1 || value == std::floor(value));
    require(good, fmt::format("--crop: wanted pixels, a share up to 1, or none, found '{}'", crop));
    if (value <= 1) {
      require(resize == 0, "--crop: wanted pixels beside --resize, found the share " + crop);
      o.overrides.crop_pct = value;
    } else {
      require(size == 0 || size == static_cast<int>(value),
              fmt::format("--crop: {} pixels, but --size says {}", crop, size));
      o.image_size = static_cast<int>(value);
    }
  }
  return o;
}

void PruneFlags::add_to(CLI::App& command) {
  const char* group = "Pruning";
  command.add_option("--prune", method, method_names())->capture_default_str()->group(group);
  command
      .add_option(
          "--keep", keep,
          "share kept, 0.7 unless given. threshold-l2, paper-*: of all patches, at once; 0.5 leaves a "
          "half. dynamicvit, evit: at each of three stages; 0.5 leaves an eighth (evit: and a fused "
          "row). A:B draws one per picture (paper-*)")
      ->group(group);
  command
      .add_option("--keep-final", keep_final,
                  "in place of --keep: share of the patches left at the end, the same for every method that "
                  "has a rate; finds its --keep (tome: its --merge-r)")
      ->group(group);
  command.add_option("--threshold", threshold, "threshold-l2, paper-*: keep scores of at least this")
      ->group(group);
  command
      .add_option(
          "--quantile", quantile,
          "threshold-l2, paper-*: keep scores at or above this quantile of the picture's own; 0.4 keeps 60 %")
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
  command
      .add_option(
          "--mass", mass,
          "threshold-l2, paper-l2, -evit, -ats: keep the highest scores that hold this share of their sum")
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
  command
      .add_option("--floor", floor,
                  "threshold-l2, or paper-* with a rule other than --keep: keep at least this many patches")
      ->check(CLI::Range(0, 1 << 20))
      ->group(group);
  command.add_option("--merge-r", merge_r, "tome: pairs merged in each block")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--prune-after", after,
                  "threshold-l2, paper-*: prune once this many blocks have run; 4: after blocks 0 to 3")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
  command.add_option("--diffrate", diffrate, "diffrate: which list, as in 'S 2.9'; default by width")
      ->group(group);
  command.add_option("--seed", seed, "of what is drawn per picture")->capture_default_str()->group(group);
  command
      .add_option(
          "--layout", layout,
          "ragged packs the rows that live; padded computes the whole grid; padded-max pads to the longest")
      ->check(CLI::IsMember({"ragged", "padded", "padded-max"}))
      ->capture_default_str()
      ->group(group);
}

Layout PruneFlags::layout_value() const { return parse_layout(layout); }

Prune PruneFlags::prune(const CLI::App& command, bool per_picture_threshold) const {
  Prune p;
  p.method = prune_method(method);
  const auto given = [&](const char* flag) { return command.count(flag) > 0; };
  const auto only_for = [&](const char* flag, bool fits, const char* methods) {
    require(!given(flag) || fits,
            fmt::format("{}: for --prune {} only, found --prune {}", flag, methods, method));
  };
  const MethodTraits& traits = traits_of(p.method);
  const bool once = traits.any_rule;
  const bool other_rule =
      given("--threshold") || given("--quantile") || given("--mass") || per_picture_threshold;
  const char* once_names = "threshold-l2 and paper-*";
  only_for("--keep", traits.keep_rate, "threshold-l2, dynamicvit, evit, evit-unfused and paper-*");
  only_for("--keep-final", has_final_share(p.method),
           "threshold-l2, dynamicvit, evit, evit-unfused, tome and paper-*");
  only_for("--threshold", once, once_names);
  only_for("--quantile", once, once_names);
  // The gate's scores are log-probabilities, all negative: a share of their sum says nothing.
  only_for("--mass", once && traits.ranks != RanksBy::gate,
           "threshold-l2, paper-l2, paper-evit and paper-ats");
  only_for("--floor", once && (!traits.keep_range || other_rule),
           "threshold-l2, and for paper-* with --threshold, --quantile or --mass,");
  only_for("--merge-r", p.method == PruneMethod::tome, "tome");
  only_for("--diffrate", p.method == PruneMethod::diffrate, "diffrate");
  only_for("--prune-after", once, once_names);
  int rules = 0;
  for (const char* flag : {"--keep", "--keep-final", "--threshold", "--quantile", "--mass"})
    rules += given(flag);
  require(rules <= 1, "--keep, --keep-final, --threshold, --quantile, --mass: wanted one of them, found " +
                          std::to_string(rules));
  require(!given("--keep-final") || !given("--merge-r"),
          "--keep-final, --merge-r: wanted one of them, found 2");
  require(!given("--keep-final") || (keep_final > 0 && keep_final <= 1),
          fmt::format("--keep-final: wanted a share above 0 and at most 1, found {}", keep_final));

  if (!keep.empty()) parse_keep(keep, "--keep", &p.budget);
  require(p.budget.keep_max == 0 || traits.keep_range,
          "--keep: a range is for --prune paper-* only, found --prune " + method);
  if (given("--threshold") || per_picture_threshold) p.rule = KeepRule::threshold;
  if (given("--quantile")) p.rule = KeepRule::quantile;
  if (given("--mass")) p.rule = KeepRule::mass;
  require(std::isfinite(threshold), "--threshold: wanted a finite number");
  p.budget.threshold = given("--quantile") ? quantile : threshold;
  if (given("--mass")) p.budget.mass = mass;
  p.budget.floor = floor;
  p.budget.merge = merge_r;
  p.after = after;
  p.rates = diffrate;
  p.seed = seed;
  return p;
}

void PruneFlags::solve_final(const ClassifierModel& model, Prune* prune,
                             std::vector<PictureRequest>* pictures) const {
  if (keep_final == 0) return;
  const auto patches_at = [&](int size) { return size / model.config.patch * (size / model.config.patch); };
  const auto at = [&](int size) {
    return budget_for_final(prune->method, prune->budget, keep_final, model.config, patches_at(size));
  };
  prune->budget = at(model.image_size);
  const MethodTraits& traits = traits_of(prune->method);
  for (PictureRequest& p : *pictures) {
    if (p.size == 0 || p.size == model.image_size || p.size % model.config.patch != 0 || p.keep) continue;
    require(traits.keep_rate,
            fmt::format("--keep-final: {} has one r for all pictures; {} is of another size than the model's",
                        traits.name, p.path));
    p.keep = at(p.size).keep;
  }
  const int patches = patches_at(model.image_size);
  fmt::print(stderr, "hedgerow: note: --keep-final {:g}: {} {}, {} of {} patches at the end\n", keep_final,
             traits.name,
             traits.keep_rate ? fmt::format("--keep {:.4g}", prune->budget.keep)
                              : fmt::format("--merge-r {}", prune->budget.merge),
             final_count(prune->method, prune->budget, model.config, patches), patches);
}

}  // namespace hedgerow::cli
