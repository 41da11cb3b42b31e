// SPDX-License-Identifier: Apache-2.0
// hedgerow compare: the same pictures run in two ways, step by step: where do their rows part?
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hedgerow/cli/bench_support.h"
#include "hedgerow/cli/commands.h"
#include "hedgerow/cli/flags.h"
#include "hedgerow/cli/inputs.h"
#include "hedgerow/cli/output.h"
#include "hedgerow/core/error.h"
#include "hedgerow/model/pass_record.h"

namespace hedgerow::cli {
namespace {

// One way of running: what --a and --b may say.
struct Way {
  std::string text, device = "cpu", dtype, kernels, layout = "ragged";
  int batch = 8, threads = default_threads();
  bool batch_invariant = false;
};

struct Flags {
  ModelFlags model;
  PruneFlags prune;
  std::vector<std::string> paths;
  std::string a, b;
  double tolerance = -1;
  bool whole_last_block = false, all = false;
};

Way parse_way(const char* flag, const std::string& text, const Flags& flags) {
  Way way;
  way.text = text;
  way.device = flags.model.device;
  way.dtype = flags.model.dtype;
  CLI::App app;
  app.set_help_flag();
  add_device_flag(app, &way.device);
  app.add_option("--dtype", way.dtype)->check(CLI::IsMember({"f32", "bf16", "f16", "fp8", "int8"}));
  app.add_option("--kernels", way.kernels);
  app.add_option("--layout", way.layout)->check(CLI::IsMember({"ragged", "padded", "padded-max"}));
  app.add_option("--batch", way.batch)->check(CLI::Range(1, 4096));
  app.add_option("--threads", way.threads)->check(CLI::Range(1, 256));
  app.add_flag("--batch-invariant", way.batch_invariant);
  try {
    app.parse(text, false);
  } catch (const CLI::ParseError& e) {
    throw Error(
        fmt::format("{} '{}': {}; wanted --device, --dtype, --kernels, --layout, --batch, --threads or "
                    "--batch-invariant",
                    flag, text, e.what()));
  }
  return way;
}

std::shared_ptr<const ClassifierModel> load(const Flags& flags, const Way& way) {
  ModelFlags model = flags.model;
  model.device = way.device;
  model.dtype = way.dtype;
  ModelOptions options = model.options();
  if (!way.kernels.empty()) options.kernels = way.kernels;
  return load_classifier_model(flags.model.model, options);
}

// Runs all pictures and keeps what was seen of each.
std::vector<SequenceRecord> record(const Flags& flags, const Way& way, const ClassifierModel& model,
                                   const std::vector<PreparedPicture>& pictures, const Prune& prune) {
  const int tokens = model.config.special() +
                     (model.image_size / model.config.patch) * (model.image_size / model.config.patch);
  VitState state(model.weights, {.max_batch = way.batch, .max_tokens = tokens},
                 VitOptions{.threads = way.threads, .sums = way.batch_invariant ? Sums::fixed : Sums::fast});
  PassRecorder recorder(static_cast<int>(pictures.size()));
  const Observer observer = recorder.observer();
  VitRun run{.prune = prune,
             .layout = parse_layout(way.layout),
             .observer = &observer,
             .whole_last_block = flags.whole_last_block};
  for (size_t begin = 0; begin < pictures.size(); begin += static_cast<size_t>(way.batch)) {
    std::vector<VitImage> images;
    for (size_t i = begin; i < std::min(pictures.size(), begin + static_cast<size_t>(way.batch)); ++i)
      images.push_back({pictures[i].chw, pictures[i].height, pictures[i].width, 0});
    recorder.start(static_cast<int>(begin));
    forward(state, images.data(), static_cast<int>(images.size()), run);
  }
  return recorder.records();
}

std::string place_name(const PlaceDifference& d, int layers) {
  return d.block < 0 || d.block >= layers ? d.name : fmt::format("block {} {}", d.block, d.name);
}

// The same place of all pictures: the worst of each figure.
struct PlaceSummary {
  PlaceDifference worst;
  std::string picture;  // of the largest difference over its bound
  int parted = 0;       // pictures
};

std::vector<PlaceSummary> summarise(const std::vector<SequenceRecord>& a,
                                    const std::vector<SequenceRecord>& b,
                                    const std::vector<PreparedPicture>& pictures, const CompareHow& how) {
  std::vector<PlaceSummary> all;
  for (size_t i = 0; i < pictures.size(); ++i) {
    const auto places = compare_records(a[i], b[i], how);
    for (const PlaceDifference& d : places) {
      auto at = std::find_if(all.begin(), all.end(), [&](const PlaceSummary& s) {
        return s.worst.name == d.name && s.worst.block == d.block;
      });
      if (at == all.end()) {
        all.push_back({d, pictures[i].path, d.parts()});
        continue;
      }
      PlaceDifference& w = at->worst;
      if (d.most * w.bound > w.most * d.bound || (d.parts() && !w.parts())) {
        at->picture = pictures[i].path;
        w.most = d.most, w.bound = d.bound, w.magnitude = d.magnitude;
      }
      w.rows += d.rows, w.only_a += d.only_a, w.only_b += d.only_b;
      at->parted += d.parts();
    }
  }
  return all;
}

// Two passes have the same numerics when nothing but batches, layouts and threads differs.
bool same_numerics(const ClassifierModel& a, const ClassifierModel& b, const Way& way_a, const Way& way_b) {
  if (a.backend != b.backend || a.dtype != b.dtype) return false;
  return a.backend->host || (way_a.batch_invariant && way_b.batch_invariant) ||
         (way_a.batch == way_b.batch && way_a.layout == way_b.layout &&
          way_a.batch_invariant == way_b.batch_invariant);
}

void compare(const CLI::App& command, const Flags& flags, Outcome& outcome) {
  require(flags.tolerance == -1 || (flags.tolerance >= 0 && std::isfinite(flags.tolerance)),
          "--tolerance: wanted 0 or more");
  const Way way_a = parse_way("--a", flags.a, flags), way_b = parse_way("--b", flags.b, flags);
  Prune prune = flags.prune.prune(command, false);
  int overlays = 0;
  std::vector<PictureRequest> requests = find_pictures(flags.paths, &overlays);
  if (overlays > 0)
    fmt::print(stderr, "hedgerow: note: {} left out\n", counted(static_cast<size_t>(overlays), "overlay"));
  require(!requests.empty(), "compare: wanted JPEG or PNG pictures or folders of them, found none");
  const auto model_a = load(flags, way_a), model_b = load(flags, way_b);
  flags.prune.solve_final(*model_a, &prune, &requests);
  std::vector<PreparedPicture> pictures;
  for (const PictureRequest& request : requests) {
    pictures.push_back(prepare(*model_a, request));
    PreparedPicture& p = pictures.back();
    require(p.error.empty(), p.error);
  }
  const auto a = record(flags, way_a, *model_a, pictures, prune);
  const auto b = record(flags, way_b, *model_b, pictures, prune);

  CompareHow how{.tolerance = flags.tolerance};
  const bool exact = same_numerics(*model_a, *model_b, way_a, way_b);
  const int terms = std::max(model_a->config.hidden_dim, 3 * model_a->config.patch * model_a->config.patch);
  if (!exact)
    how.unit_roundoff = std::max(unit_roundoff(model_a->dtype, terms), unit_roundoff(model_b->dtype, terms));
  const auto places = summarise(a, b, pictures, how);
  const int layers = model_a->config.layers;

  fmt::print("a: {} {} ({}); b: {} {} ({}); {}\n", model_a->backend->name, name_of(model_a->dtype),
             flags.a.empty() ? "as it comes" : flags.a, model_b->backend->name, name_of(model_b->dtype),
             flags.b.empty() ? "as it comes" : flags.b, counted(pictures.size(), "picture"));
  fmt::print("{}\n", flags.tolerance >= 0
                         ? fmt::format("rows may differ by {:g} of a place's largest value", flags.tolerance)
                     : exact ? "the same arithmetic: bits must be equal"
                             : fmt::format("rows may differ by what rounding explains (unit roundoff {:.2g})",
                                           how.unit_roundoff));
  int sets = 0;
  for (const PlaceSummary& s : places)
    if (s.worst.only_a + s.worst.only_b > 0 && sets++ < 12)
      fmt::print("other rows at {}: {} only in a, {} only in b, in {}\n", place_name(s.worst, layers),
                 s.worst.only_a, s.worst.only_b, counted(static_cast<size_t>(s.parted), "picture"));
  Table table({"place", "rows", "largest difference", "allowed", "largest value", ""});
  const PlaceSummary* first = nullptr;
  for (const PlaceSummary& s : places) {
    const bool parts = s.parted > 0;
    if (parts && !first) first = &s;
    if (s.worst.is_choice ||
        (!flags.all && !parts && s.worst.block >= 0 && s.worst.block < layers && s.worst.name != "block"))
      continue;
    table.add({place_name(s.worst, layers), std::to_string(s.worst.rows), fmt::format("{:.3g}", s.worst.most),
               fmt::format("{:.3g}", s.worst.bound), fmt::format("{:.3g}", s.worst.magnitude),
               parts ? "parts" : ""});
  }
  fmt::print("\n{}\n", table.text());
  outcome.did_something = true;
  if (!first) {
    fmt::print("same: no place parts\n");
    return;
  }
  fmt::print("parted: first at {}, in {} ({})\n", place_name(first->worst, layers), first->picture,
             first->worst.only_a + first->worst.only_b > 0
                 ? "other rows"
                 : fmt::format("differs by {:.3g}, allowed {:.3g}", first->worst.most, first->worst.bound));
  outcome.exit_code = kSomeSkipped;
}

}  // namespace

Command add_compare(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("PATH", flags->paths, "JPEG and PNG files, folders, lists (@FILE or FILE.txt)");
  app.add_option(
      "--a", flags->a,
      "one way to run, as in \"--device cpu\": any of --device, --dtype, --kernels, --layout, --batch, "
      "--threads, --batch-invariant");
  app.add_option("--b", flags->b, "the other way, as in \"--dtype bf16\"");
  app.add_option(
      "--tolerance", flags->tolerance,
      "share of a place's largest value by which rows may differ; unless given, what the rounding of the "
      "coarser dtype explains, and bits where the arithmetic is the same");
  app.add_flag("--whole-last-block", flags->whole_last_block,
               "all rows of the last block, not only those that are read");
  app.add_flag("--all", flags->all, "every place in the table, not only block ends and what parts");
  flags->model.add_to(app);
  flags->prune.add_to(app);
  return [&app, flags](Outcome& outcome) { compare(app, *flags, outcome); };
}

}  // namespace hedgerow::cli
