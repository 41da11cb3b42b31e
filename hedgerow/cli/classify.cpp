// SPDX-License-Identifier: Apache-2.0
// hedgerow classify: pictures to labels.
#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <future>
#include <memory>

#include "hedgerow/cli/commands.h"
#include "hedgerow/cli/flags.h"
#include "hedgerow/cli/inputs.h"
#include "hedgerow/cli/output.h"
#include "hedgerow/cli/overlay_files.h"
#include "hedgerow/cli/tally.h"
#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"
#include "hedgerow/vision/methods.h"
#include "hedgerow/vision/overlay.h"

namespace hedgerow::cli {
namespace {

std::atomic<bool> interrupted{false};

// The first Ctrl-C ends the run after the batch at hand; a second one kills.
void watch_interrupt() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted.store(true); };
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
}

struct ClassifyFlags {
  ModelFlags model;
  PruneFlags prune;
  std::vector<std::string> paths;
  std::string requests, labels, overlay;
  int batch = 8, threads = default_threads(), top = 5;
  bool json = false, logits = false, kept = false, batch_invariant = false;
};

struct PreparedBatch {
  std::vector<PreparedPicture> pictures;
  double seconds = 0;  // what preparing them took
};

// The default model, by whichever name it came, is sure of the drawings it knows: of 600 that it has not seen
// 8 % fall below this, of 400 photographs 74 % (docs/models.md).
constexpr double kSureOfDrawing = 0.8;

class Run {
 public:
  Run(const ClassifyFlags& flags, std::vector<PictureRequest> requests, Prune prune)
      : flags_(flags), requests_(std::move(requests)) {
    if (!flags.overlay.empty()) overlays_ = std::make_unique<OverlayFiles>(flags.overlay, requests_);
    const auto model = load_classifier_model(flags.model.model, flags.model.options());
    for (const std::string& note : model->notes) fmt::print(stderr, "hedgerow: note: {}\n", note);
    if (!flags.labels.empty()) labels_ = Labels(flags.labels, model->config.classes);
    knows_drawings_ = model->architecture == "hedgerow_vit_mini";
    flags.prune.solve_final(*model, &prune, &requests_);
    ClassifierOptions options;
    options.prune = prune;
    options.layout = flags.prune.layout_value();
    options.sums = flags.batch_invariant ? Sums::fixed : Sums::fast;
    options.batch = flags.batch;
    options.threads = flags.threads;
    options.top = flags.top;
    // Only what can be used sizes the buffers; a request for an impossible size is skipped when its turn
    // comes.
    for (const PictureRequest& r : requests_)
      if (r.size % model->config.patch == 0) options.max_size = std::max(options.max_size, r.size);
    options.max_size = std::max(options.max_size, model->image_size);
    classifier_ = std::make_unique<Classifier>(model, options);
  }

  void go(Outcome& outcome) {
    watch_interrupt();
    const size_t total = requests_.size();
    // A device computes one batch while the CPU prepares the next; a CPU has its hands full with one of them.
    const bool overlaps = !classifier_->model().backend->host;
    std::future<PreparedBatch> next;  // ends before what it reads: an error below waits for it
    const double begin = now_s();
    {
      Progress progress(total, true);
      for (size_t at = 0, end = 0; at < total && !interrupted; at = end) {
        end = batch_end(at);
        progress.show(at);
        const PreparedBatch batch = next.valid() ? next.get() : prepare(at);
        if (overlaps && end < total)
          next = std::async(std::launch::async, [this, end] { return prepare(end); });
        one_batch(at, batch, outcome);
      }
    }
    std::fflush(stdout);
    tally_.print(now_s() - begin, classifier_->model(), classifier_->options());
    if (interrupted)
      fmt::print(stderr, "hedgerow: interrupted: {} of {} done\n", tally_.done,
                 counted(requests_.size(), "picture"));
    const bool all = tally_.done == requests_.size();
    outcome.exit_code = all ? kAllDone : tally_.done > 0 ? kSomeSkipped : kNothingDone;
  }

 private:
  size_t batch_end(size_t begin) const {
    return std::min(requests_.size(), begin + static_cast<size_t>(flags_.batch));
  }

  PreparedBatch prepare(size_t begin) {
    const double start = now_s();
    PreparedBatch out;
    out.pictures =
        classifier_->prepare_all({requests_.begin() + begin, requests_.begin() + batch_end(begin)});
    out.seconds = now_s() - start;
    return out;
  }

  void one_batch(size_t begin, const PreparedBatch& batch, Outcome& outcome) {
    const bool traced = overlays_ || flags_.kept;
    VitTrace trace;
    const double start = now_s();
    const auto results = classifier_->run(batch.pictures, traced ? &trace : nullptr);
    tally_.run_s += now_s() - start;
    tally_.prepare_s += batch.seconds;
    for (size_t i = 0; i < results.size(); ++i) {
      const Classification& r = results[i];
      if (!r.error.empty()) {
        ++tally_.skipped;
        fmt::print(stderr, "hedgerow: skipped: {}\n", r.error);
        continue;
      }
      show(r, begin + i, trace);
      outcome.did_something = true;
    }
    require(std::fflush(stdout) == 0, "standard output: cannot be written");
  }

  void show(const Classification& r, size_t number, const VitTrace& trace) {
    const int truth = labels_.empty() ? -1 : labels_.find(r.path);
    if (overlays_) write_overlay(r, number, trace);
    const ShownFields fields{.logits = flags_.logits,
                             .truth = truth,
                             .trace = flags_.kept ? &trace : nullptr,
                             .method = classifier_->options().prune.method,
                             .note = note_on(r)};
    const std::string shown =
        flags_.json ? as_json(r, classifier_->model(), fields) : as_text(r, classifier_->model(), fields);
    std::fwrite(shown.data(), 1, shown.size(), stdout);
    tally_.add(r, truth);
  }

  std::string note_on(const Classification& r) {
    const Prune& prune = classifier_->options().prune;
    if (traits_of(prune.method).any_rule && prune.rule == KeepRule::threshold &&
        rows_left(r, classifier_->model()) == 0) {
      ++tally_.emptied;
      return "no patch reaches the threshold: only CLS went on";
    }
    if (knows_drawings_ && !r.top.empty() && r.top[0].p < kSureOfDrawing) {
      ++tally_.foreign;
      return "unsure: perhaps none of the twelve drawings that this model knows";
    }
    return {};
  }

  void write_overlay(const Classification& r, size_t number, const VitTrace& trace) {
    const ClassifierModel& model = classifier_->model();
    const PictureRequest& request = requests_[number];
    const int cell = overlay_cell(r.grid_columns);
    // The same crop that the network saw, at the size of the panels.
    Preprocess how = model.preprocess_for(request.size > 0 ? request.size : model.image_size);
    how = at_size(how, r.grid_columns * cell, r.grid_rows * cell);
    const Picture shown = picture_seen(read_picture(request.path), how);
    const std::string caption =
        r.top.empty() ? "" : fmt::format("{:.0f}% {}", 100 * r.top[0].p, model.label(r.top[0].index));
    overlays_->write(number, draw_overlay(shown, r.grid_rows, r.grid_columns, cell, trace, r.place, caption));
  }

  const ClassifyFlags& flags_;
  std::vector<PictureRequest> requests_;
  std::unique_ptr<OverlayFiles> overlays_;
  bool knows_drawings_ = false;
  Labels labels_;
  std::unique_ptr<Classifier> classifier_;
  Tally tally_;
};

void classify(const CLI::App& command, const ClassifyFlags& flags, Outcome& outcome) {
  int overlays = 0;
  std::vector<PictureRequest> requests = find_pictures(flags.paths, &overlays);
  bool thresholds = false, keeps = false;
  if (!flags.requests.empty()) {
    for (PictureRequest& r : read_requests(flags.requests)) {
      thresholds |= r.threshold.has_value();
      keeps |= r.keep.has_value();
      require(r.threshold || command.count("--threshold") > 0 || !thresholds,
              flags.requests + ": some pictures have a threshold, others none: give --threshold for those");
      requests.push_back(std::move(r));
    }
  }
  const Prune prune = flags.prune.prune(command, thresholds);
  require(!thresholds || (traits_of(prune.method).any_rule && prune.rule == KeepRule::threshold),
          flags.requests +
              ": a threshold per picture is for --prune threshold-l2 and paper-* without another rule");
  require(!keeps || (traits_of(prune.method).keep_rate && prune.rule == KeepRule::rate),
          flags.requests + ": a keep rate per picture is for a --prune that has one");
  require(!requests.empty(), flags.paths.empty() && flags.requests.empty()
                                 ? "classify: wanted pictures, folders, lists or --requests, found none"
                                 : "classify: no JPEG or PNG pictures found in what was given");
  if (overlays > 0)
    fmt::print(stderr, "hedgerow: note: {} left out of the folders given\n",
               counted(static_cast<size_t>(overlays), "overlay"));
  if (command.count("--model") == 0)
    fmt::print(stderr, "hedgerow: note: no --model: {} knows twelve drawn shapes and no photographs\n",
               kDefaultModel);
  Run(flags, std::move(requests), prune).go(outcome);
}

}  // namespace

Command add_classify(CLI::App& app) {
  auto flags = std::make_shared<ClassifyFlags>();
  app.add_option("PATH", flags->paths,
                 "JPEG and PNG files, folders, lists (@FILE or FILE.txt, one path a line)");
  app.add_option("--requests", flags->requests,
                 "JSON lines with path, and keep, threshold, size of that picture");
  app.add_option("--batch", flags->batch, "pictures a forward pass")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--threads", flags->threads, "threads")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_flag("--batch-invariant", flags->batch_invariant,
               "on a GPU: a picture's bits do not depend on its batch, for some time more (a CPU always "
               "keeps to that)");
  const char* shown = "Output";
  app.add_option("--top", flags->top, "labels a picture")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str()
      ->group(shown);
  app.add_option("--labels", flags->labels, "CSV of file name and class index: adds top-1 and top-5")
      ->group(shown);
  app.add_flag("--json", flags->json, "one JSON object a picture")->group(shown);
  app.add_flag("--logits", flags->logits, "with --json: all logits")->group(shown);
  app.add_flag("--kept", flags->kept, "with --json: the patches that live after each stage")->group(shown);
  app.add_option("--overlay", flags->overlay, "folder for one PNG a picture: what lived after each stage")
      ->group(shown);
  flags->model.add_to(app);
  flags->prune.add_to(app);
  return [&app, flags](Outcome& outcome) {
    require(flags->json || (!flags->logits && !flags->kept), "--logits, --kept: shown with --json only");
    classify(app, *flags, outcome);
  };
}

}  // namespace hedgerow::cli
