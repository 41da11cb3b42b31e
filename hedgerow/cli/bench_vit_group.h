// SPDX-License-Identifier: Apache-2.0
// One model, dtype and batch of hedgerow bench vit: its variants, timed in turn.
#pragma once

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "hedgerow/cli/bench_counts.h"
#include "hedgerow/cli/bench_support.h"
#include "hedgerow/cli/commands.h"
#include "hedgerow/cli/flags.h"
#include "hedgerow/cli/output.h"
#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/vision/methods.h"

namespace hedgerow::cli {

struct BenchVitFlags {
  std::string models = "T,S,B", methods = "paper-l2", batches = "1,8,32", keeps = "0.5", dtypes,
              layouts = "ragged,padded", rules = "rate", counts, json, device = "cpu";
  bool whole_last = false, batch_invariant = false;
  double spread = 0.2, seconds = 1;
  int after = 4, threads = default_threads(), rounds = 0, size = 0;
  uint64_t seed = 1;
};

struct BenchVariant {
  std::string method, layout, rule = "rate";
  double keep = 0;  // 0: the method has none
  VitRun run;
  std::vector<double> elapsed_s, share;  // one a round
  // On a device: one batch alone, from submit to logits; submit itself, after that wait and behind a pass
  // under way.
  std::vector<double> latency_s, submit_s, submit_behind_s;
  double macs = 0;                         // of the batch
  std::vector<std::vector<int32_t>> kept;  // rows leaving each block, a picture each
  size_t nodes = 0;                        // launches in one recorded pass
  int in_a_row = 1;                        // passes queued behind each other and timed as one
};

class BenchGroup {
 public:
  BenchGroup(const BenchVitFlags& flags, std::shared_ptr<const ClassifierModel> model, std::string name,
             int batch)
      : flags_(flags), model_(std::move(model)), name_(std::move(name)), batch_(batch) {
    const int side = model_->image_size, grid = side / model_->config.patch;
    patches_ = grid * grid;
    const size_t values = 3 * static_cast<size_t>(side) * side;
    pixels_.resize(values * static_cast<size_t>(batch));
    const Rng rng{flags.seed, 0};
    for (size_t i = 0; i < pixels_.size(); ++i) pixels_[i] = static_cast<float>(rng.uniform(i) * 4 - 2);
    // On a device the pictures are there already: what moves them is another matter (classify overlaps it).
    const Backend& backend = *model_->backend;
    if (!backend.host) resident_ = copy_on(backend, pixels_.data(), pixels_.size() * sizeof(float));
    const float* first = backend.host ? pixels_.data() : resident_.as<float>();
    for (int i = 0; i < batch; ++i)
      images_.push_back({first + values * static_cast<size_t>(i), side, side, 0, !backend.host});
    state_ = std::make_unique<VitState>(
        model_->weights, VitLimits{batch, patches_ + model_->config.special()},
        VitOptions{.threads = flags.threads, .sums = flags.batch_invariant ? Sums::fixed : Sums::fast});
    add_variants();
  }

  void measure() {
    reset_peak_memory();
    for (BenchVariant& v : variants_) {  // warms up, finds the counts
      if (v.rule == "told") v.run.prune.imposed = chosen_by(v);
      const VitResult& r = forward(*state_, images_.data(), batch_, v.run);
      for (const double m : r.macs) v.macs += m;
      v.kept = r.kept;
      if (model_->backend->host) continue;
      v.nodes = state_->recorded_launches(v.run, batch_);
      constexpr double kLong = 5e-3;  // of queued work hides what starting and waiting costs
      const double once = timed(v, 1);
      v.in_a_row = std::clamp(static_cast<int>(kLong / once) + 1, 4, 64);
    }
    const double begin = now_s();
    const double budget_s = flags_.seconds * static_cast<double>(variants_.size());
    for (int round = 0;; ++round) {
      if (flags_.rounds > 0 ? round >= flags_.rounds : round >= 5 && now_s() - begin > budget_s) break;
      const double peak = measured_peak(state_->context(), model_->dtype);
      peak_.push_back(peak);
      for (size_t k = 0; k < variants_.size(); ++k) {
        BenchVariant& v = variants_[(k + static_cast<size_t>(round)) % variants_.size()];
        v.elapsed_s.push_back(timed(v, v.in_a_row));
        v.share.push_back(peak > 0 ? 2 * v.macs / v.elapsed_s.back() / peak : 0);
        if (model_->backend->host) continue;
        const double start = now_s();
        submit(*state_, images_.data(), batch_, v.run);
        v.submit_s.push_back(now_s() - start);
        collect(*state_);
        v.latency_s.push_back(now_s() - start);
        submit(*state_, images_.data(), batch_, v.run);
        const double behind = now_s();
        submit(*state_, images_.data(), batch_, v.run);
        v.submit_behind_s.push_back(now_s() - behind);
        collect(*state_);
      }
    }
    memory_bytes_ = peak_memory_bytes();
  }

  void report(Table& table, nlohmann::json& json) const {
    const BenchVariant& dense = variants_.front();
    for (const BenchVariant& v : variants_) {
      std::vector<double> ratios;
      for (size_t i = 0; i < v.elapsed_s.size(); ++i) ratios.push_back(dense.elapsed_s[i] / v.elapsed_s[i]);
      const double p50 = median(v.elapsed_s), p99 = quantile(v.elapsed_s, 0.99), share = median(v.share);
      const double clock = median(ratios), arithmetic = dense.macs / v.macs;
      const std::string dtype = hedgerow::name_of(model_->dtype);
      table.add({name_, dtype, std::to_string(batch_),
                 v.rule == "rate" ? v.method : v.method + " by " + v.rule, v.layout,
                 v.keep > 0 ? fmt::format("{:g}", v.keep) : "", fmt::format("{:.1f}", batch_ / p50),
                 fmt::format("{:.2f}", p50 * 1e3), fmt::format("{:.2f}", p99 * 1e3),
                 fmt::format("{:.1f}", 100 * share), fmt::format("{:.3f}", clock),
                 fmt::format("{:.3f}", arithmetic), fmt::format("{:.3f}", clock / arithmetic),
                 fmt::format("{:.0f}", memory_bytes_ * 0x1p-20)});
      nlohmann::json row = {{"model", name_},
                            {"dtype", dtype},
                            {"batch", batch_},
                            {"method", v.method},
                            {"layout", v.layout},
                            {"rule", v.rule},
                            {"keep", v.keep},
                            {"images_per_s", batch_ / p50},
                            {"p50_ms", p50 * 1e3},
                            {"p99_ms", p99 * 1e3},
                            {"rounds", v.elapsed_s.size()},
                            {"share_of_peak", share},
                            {"peak_flops", median(peak_)},
                            {"macs_per_image", v.macs / batch_},
                            {"clock_gain", clock},
                            {"arithmetic_gain", arithmetic},
                            {"clock_over_arithmetic", clock / arithmetic},
                            {"whole_last_block", flags_.whole_last},
                            {"batch_invariant", flags_.batch_invariant},
                            {"peak_memory_bytes", memory_bytes_}};
      if (!model_->backend->host) {
        row["latency_ms"] = median(v.latency_s) * 1e3;
        row["host_us"] = median(v.submit_s) * 1e6;
        row["host_behind_us"] = median(v.submit_behind_s) * 1e6;
        row["nodes"] = v.nodes;
        row["us_per_node"] = v.nodes > 0 ? p50 * 1e6 / static_cast<double>(v.nodes) : 0;
      }
      json.push_back(std::move(row));
    }
  }

 private:
  // Seconds a pass.
  double timed(const BenchVariant& v, int in_a_row) {
    const double start = now_s();
    for (int i = 0; i < in_a_row; ++i) submit(*state_, images_.data(), batch_, v.run);
    collect(*state_);
    return (now_s() - start) / in_a_row;
  }

  // What the same run chose that was not told.
  const std::vector<std::vector<int32_t>>& chosen_by(const BenchVariant& told) const {
    for (const BenchVariant& v : variants_)
      if (v.method == told.method && v.layout == told.layout && v.rule == "rate" && !v.kept.empty())
        return v.kept;
    throw Error("--rules: wanted rate before told");
  }

  void add_variants() {
    BenchVariant dense;
    dense.method = "none";
    dense.layout = "ragged";
    dense.run.whole_last_block = flags_.whole_last;
    variants_.push_back(std::move(dense));
    for (const std::string& name : split_list(flags_.methods, "--methods")) {
      const PruneMethod method = prune_method(name);
      if (method == PruneMethod::none) continue;
      const std::vector<double> keeps = traits_of(method).keep_rate && flags_.counts.empty()
                                            ? number_list(flags_.keeps, "--keeps", 1e-6, 1)
                                            : std::vector<double>{0};
      for (const double keep : keeps)
        for (const std::string& layout : split_list(flags_.layouts, "--layouts"))
          for (const std::string& rule : split_list(flags_.rules, "--rules"))
            add_variant(method, keep, parse_layout(layout), rule);
    }
  }

  void add_variant(PruneMethod method, double keep, Layout layout, const std::string& rule) {
    if (!traits_of(method).runs_full_grid && layout == Layout::padded) return;
    BenchVariant v;
    v.method = hedgerow::name_of(method);
    v.layout = name_of(layout);
    v.keep = keep;
    v.run.layout = layout;
    v.run.whole_last_block = flags_.whole_last;
    v.run.prune.method = method;
    v.run.prune.after = flags_.after;
    v.run.prune.seed = flags_.seed;
    const bool once = traits_of(method).any_rule;
    if (rule == "told") {
      if (method != PruneMethod::ats || !flags_.counts.empty()) return;
      v.rule = rule;
    } else if (rule != "rate") {
      if (!once || !flags_.counts.empty()) return;  // these have no other rule
      v.rule = rule;
      v.run.prune.rule = parse_rule(rule);
    }
    if (!flags_.counts.empty()) {
      impose(v, once);
    } else if (once) {
      for (const int count : spread_counts(batch_, patches_, keep, flags_.spread, flags_.seed))
        v.run.prune.per_image.push_back(budget_of(count));
    } else if (keep > 0) {
      v.run.prune.budget.keep = keep;
    }
    variants_.push_back(std::move(v));
  }

  // What keeps `count` patches: by rate and by quantile exactly, by mass where scores are alike.
  PruneBudget budget_of(int count) const {
    PruneBudget b;
    b.keep = rate_of(count, patches_);
    b.mass = (count - 0.5) / patches_;
    b.threshold = 1 - b.mass;
    return b;
  }
  static KeepRule parse_rule(const std::string& name) {
    require(name == "quantile" || name == "mass",
            "--rules: wanted rate, quantile, mass or told, found " + name);
    return name == "mass" ? KeepRule::mass : KeepRule::quantile;
  }

  void impose(BenchVariant& v, bool once) {
    require(once || v.run.prune.method == PruneMethod::ats,
            "--counts: for methods whose counts depend on the picture (ats, threshold-l2, paper-*), found " +
                v.method);
    const auto recorded = read_counts(flags_.counts);
    for (int i = 0; i < batch_; ++i) {
      const std::vector<int32_t>& rows = recorded[static_cast<size_t>(i) % recorded.size()];
      require(
          static_cast<int>(rows.size()) == model_->config.layers,
          fmt::format("{}: wanted {} blocks, found {}", flags_.counts, model_->config.layers, rows.size()));
      if (once) {
        require(flags_.after >= 1 && flags_.after <= static_cast<int>(rows.size()),
                "--prune-after: beyond the model");
        const int count = rows[static_cast<size_t>(flags_.after - 1)] - model_->config.special();
        v.run.prune.per_image.push_back(budget_of(std::clamp(count, 1, patches_)));
      } else {
        v.run.prune.imposed.push_back(rows);
      }
    }
  }

  const BenchVitFlags& flags_;
  std::shared_ptr<const ClassifierModel> model_;
  std::string name_;
  int batch_, patches_ = 0;
  std::vector<float> pixels_;
  Buffer resident_;
  std::vector<VitImage> images_;
  std::unique_ptr<VitState> state_;
  std::vector<BenchVariant> variants_;
  std::vector<double> peak_;
  double memory_bytes_ = 0;
};

}  // namespace hedgerow::cli
