// SPDX-License-Identifier: Apache-2.0
// hedgerow bench vit: dense, ragged and padded, in turns, on random pictures.
//
// A group is one model, dtype and batch. In each round every variant of the group runs once and the peak is
// measured; gains are medians of per-round ratios to the group's dense run, so that a machine that slows down
// slows both.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "hedgerow/cli/bench_counts.h"
#include "hedgerow/cli/bench_support.h"
#include "hedgerow/cli/bench_vit_group.h"
#include "hedgerow/cli/commands.h"
#include "hedgerow/cli/flags.h"
#include "hedgerow/cli/output.h"
#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/vision/methods.h"

namespace hedgerow::cli {
namespace {

// T, S, B stand for random DeiT weights; anything else is a model as classify takes it.
std::string model_named(const std::string& name) {
  static const std::map<std::string, std::string> kShort = {{"T", "random:deit-tiny,predictors=1"},
                                                            {"S", "random:deit-small,predictors=1"},
                                                            {"B", "random:deit-base,predictors=1"}};
  const auto at = kShort.find(name);
  return at == kShort.end() ? name : at->second;
}

// "T,random:dim=64,heads=2" is two models: a key belongs to the random shape before it.
std::vector<std::string> model_list(const std::string& text) {
  std::vector<std::string> out;
  for (const std::string& part : split_list(text, "--models")) {
    const bool key = part.find('=') != std::string::npos && part.rfind("random:", 0) != 0;
    if (key && !out.empty() && out.back().rfind("random:", 0) == 0) {
      out.back() += "," + part;
    } else {
      out.push_back(part);
    }
  }
  return out;
}

void bench_vit(const BenchVitFlags& flags, Outcome& outcome) {
  const auto batches = int_list(flags.batches, "--batches", 1, 4096);
  check_report_file(flags.json);
  nlohmann::json rows = nlohmann::json::array();
  Table table({"model", "dtype", "batch", "method", "layout", "keep", "images/s", "p50 ms", "p99 ms",
               "% of peak", "gain", "arithmetic", "ratio", "MiB"});
  std::string machine;
  const std::string dtypes = !flags.dtypes.empty()    ? flags.dtypes
                             : flags.device == "cuda" ? "f16"
                                                      : "f32,bf16";
  for (const std::string& name : model_list(flags.models))
    for (const std::string& dtype : split_list(dtypes, "--dtypes")) {
      ModelOptions options;
      options.kernels = kernels_of(flags.device);
      options.dtype = parse_dtype(dtype);
      options.image_size = flags.size;
      const auto model = load_classifier_model(model_named(name), options);
      machine = machine_text(*model->backend, flags.threads);
      for (const int batch : batches) {
        BenchGroup group(flags, model, name, batch);
        group.measure();
        group.report(table, rows);
        outcome.did_something = true;
        const nlohmann::json file = {{"machine", machine},         {"threads", flags.threads},
                                     {"prune_after", flags.after}, {"spread", flags.spread},
                                     {"seed", flags.seed},         {"results", rows}};
        if (!flags.json.empty()) write_report(flags.json, file.dump(1) + "\n");
        fmt::print(stderr, "hedgerow: {} {} batch {} measured\n", name, dtype, batch);
      }
    }
  fmt::print("{}\n\n{}\n", machine, table.text());
  fmt::print(
      "gain: on the clock, over this program's own dense run in the same rounds; arithmetic: dense over "
      "executed\n"
      "multiply-adds; ratio: how much of the arithmetic gain the clock shows; % of peak: of the multiply-add "
      "peak,\n"
      "all products counted. The peak is the best of a few milliseconds in each round: where other work "
      "slows "
      "those\n"
      "and not the passes, the share reads too high, above 100 even. Then trust the ratios only.\n");
}

}  // namespace

Command add_bench_vit(CLI::App& app) {
  auto f = std::make_shared<BenchVitFlags>();
  app.add_option("--models", f->models, "T, S, B (random weights), or models as classify takes them")
      ->capture_default_str();
  app.add_option("--methods", f->methods, "pruning methods")->capture_default_str();
  app.add_option("--batches", f->batches, "pictures a forward pass")->capture_default_str();
  app.add_option("--keeps", f->keeps, "keep rates, for methods that have one")->capture_default_str();
  app.add_option("--dtypes", f->dtypes,
                 "f32, bf16, on a GPU f16, on Hopper fp8, int8; default: f32,bf16, on a GPU f16");
  add_device_flag(app, &f->device);
  app.add_flag("--whole-last-block", f->whole_last,
               "compute the last block for all rows, not only for those that are read");
  app.add_flag("--batch-invariant", f->batch_invariant,
               "on a GPU: only kernels with which a picture's bits do not depend on its batch");
  app.add_option(
         "--rules", f->rules,
         "rate, quantile (the same counts, found on the device), mass: what methods with one prune keep by; "
         "told, after rate: ats once more, the counts it chose imposed and known to the host")
      ->capture_default_str();
  app.add_option("--layouts", f->layouts, "ragged, padded, padded-max")->capture_default_str();
  app.add_option("--spread", f->spread, "methods with one prune: kept share per picture is keep +- this")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--counts", f->counts,
                 "JSON lines with recorded rows per block (classify --json) to impose");
  app.add_option("--prune-after", f->after, "methods with one prune: once this many blocks have run")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--threads", f->threads, "threads")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--size", f->size, "resolution; default: the model's")->check(CLI::Range(8, 4096));
  app.add_option("--seconds", f->seconds, "time for each variant of a group")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  app.add_option("--rounds", f->rounds, "rounds instead of a time")->check(CLI::Range(0, 1000000));
  app.add_option("--seed", f->seed, "of pictures and kept shares")->capture_default_str();
  app.add_option("--json", f->json, "file for all figures");
  return [f](Outcome& outcome) { bench_vit(*f, outcome); };
}

}  // namespace hedgerow::cli
