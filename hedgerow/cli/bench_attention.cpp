// SPDX-License-Identifier: Apache-2.0
// hedgerow bench attention: the op alone over lengths and batches; on a CPU also what a call costs beyond its
// inner kernel, and what a whole layer on a few rows costs beyond its kernels.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "hedgerow/cli/bench_attention_case.h"
#include "hedgerow/cli/bench_support.h"
#include "hedgerow/cli/commands.h"
#include "hedgerow/cli/flags.h"
#include "hedgerow/cli/output.h"
#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"
#include "hedgerow/kernels/cpu/level.h"
#include "hedgerow/vision/vit_random.h"
#include "hedgerow/vision/vit_weights.h"

namespace hedgerow::cli {
namespace {

constexpr int kFewRows = 20, kFewHeads = 3;

struct Flags {
  std::string batches = "1,8,32", lengths = "20,50,99,197,577", dtypes, json, device = "cpu";
  int heads = 6, threads = default_threads();
  double spread = 0.3, seconds = 0.3;
};

// Seconds a call, over `calls` of them.
template <class F>
double timed(int calls, F&& f) {
  const double begin = now_s();
  for (int i = 0; i < calls; ++i) f();
  return (now_s() - begin) / calls;
}

// Rounds in which each f runs `calls` times; the median of each one's seconds a call. Per round, in turns.
std::vector<double> in_turns(const std::vector<std::function<void()>>& fs, int calls, double seconds) {
  std::vector<std::vector<double>> samples(fs.size());
  for (const auto& f : fs) timed(calls, f);
  const double begin = now_s();
  for (int round = 0; round < 9 || now_s() - begin < seconds; ++round)
    for (size_t k = 0; k < fs.size(); ++k) samples[k].push_back(timed(calls, fs[k]));
  std::vector<double> out;
  for (auto& s : samples) out.push_back(median(std::move(s)));
  return out;
}

struct Timing {
  double call_s = 0;    // a call, on a device inside a row of them
  double submit_s = 0;  // of that, on a device: the host's part, for a single call
  double peak = 0, share = 0;
};

// Rounds that begin with the peak; `once` measures one call. Medians.
Timing rounds_of(const Flags& flags, Context& on, const AttentionCase& c,
                 const std::function<double()>& once) {
  std::vector<double> elapsed, peaks, share;
  const double begin = now_s();
  for (int round = 0; round < 5 || now_s() - begin < flags.seconds; ++round) {
    peaks.push_back(measured_peak(on, c.args().q.dtype));
    elapsed.push_back(once());
    share.push_back(peaks.back() > 0 ? c.flops() / elapsed.back() / peaks.back() : 0);
  }
  return {median(elapsed), 0, median(peaks), median(share)};
}

Timing time_here(const Flags& flags, Context& on, const AttentionCase& c) {
  on.reserve_scratch(on.backend().scratch_bytes(c.longest(), flags.heads, kHeadDim));
  const auto call = [&] { attention(on, c.args()); };
  const double once = timed(2, call);
  const int calls = std::max(1, static_cast<int>(2e-3 / once));
  return rounds_of(flags, on, c, [&] { return timed(calls, call); });
}

// Recorded calls behind each other, so that neither launching nor waiting shows in a call's time.
Timing time_on_device(const Flags& flags, Context& on, const AttentionCase& c) {
  constexpr int kRecorded = 100, kSingle = 20;
  const Memory& device = on.backend().memory;
  attention(on, c.args());  // what a first call sets up must not be recorded
  device.wait(on);
  const auto calls = device.record(on, [&] {
    for (int i = 0; i < kRecorded; ++i) attention(on, c.args());
  });
  device.replay(on, calls);
  device.wait(on);
  std::vector<double> submit;
  Timing t = rounds_of(flags, on, c, [&] {
    for (int i = 0; i < kSingle; ++i) submit.push_back(timed(1, [&] { attention(on, c.args()); }));
    device.wait(on);
    return timed(1,
                 [&] {
                   device.replay(on, calls);
                   device.wait(on);
                 }) /
           kRecorded;
  });
  t.submit_s = median(std::move(submit));
  return t;
}

void sweep(const Flags& flags, const Backend& backend, nlohmann::json& json) {
  const bool device = !backend.host;
  std::vector<std::string> head = {"dtype", "batch", "mean length", "longest", "us", "GFLOP/s", "% of peak"};
  if (device) head[4] = "device us", head.insert(head.begin() + 4, "host us");
  Table table(head);
  Context on(backend, flags.threads, Sums::fast);
  for (const std::string& name : split_list(flags.dtypes, "--dtypes")) {
    const Dtype dtype = parse_dtype(name);
    for (const int batch : int_list(flags.batches, "--batches", 1, 4096))
      for (const int length : int_list(flags.lengths, "--lengths", 1, 65536)) {
        const AttentionCase c(backend, batch, flags.heads, length, flags.spread, dtype);
        const Timing t = device ? time_on_device(flags, on, c) : time_here(flags, on, c);
        const double gflops = c.flops() / t.call_s * 1e-9;
        std::vector<std::string> cells = {name,
                                          std::to_string(batch),
                                          std::to_string(length),
                                          std::to_string(c.longest()),
                                          fmt::format("{:.1f}", t.call_s * 1e6),
                                          fmt::format("{:.0f}", gflops),
                                          fmt::format("{:.1f}", 100 * t.share)};
        nlohmann::json row = {{"dtype", name},           {"batch", batch},
                              {"heads", flags.heads},    {"mean_length", length},
                              {"longest", c.longest()},  {"us", t.call_s * 1e6},
                              {"gflops", gflops},        {"peak_gflops", t.peak * 1e-9},
                              {"share_of_peak", t.share}};
        if (device) {
          cells.insert(cells.begin() + 4, fmt::format("{:.1f}", t.submit_s * 1e6));
          row["host_us"] = t.submit_s * 1e6;
        }
        table.add(std::move(cells));
        json["sweep"].push_back(std::move(row));
      }
  }
  fmt::print("attention, {} heads of {}, lengths +- {:.0f} %\n{}\n", flags.heads, kHeadDim,
             100 * flags.spread, table.text());
}

// The public call against the inner kernel in a bare loop over heads, on the smallest work there is.
void call_cost(const Flags& flags, const Backend& backend, nlohmann::json& json) {
  const cpu::Level* const level = cpu::level_named(backend.name);
  require(level != nullptr, std::string("bench attention: kernels ") + backend.name + " have no CPU level");
  Table table({"dtype", "threads", "call us", "bare us", "difference us"});
  for (const std::string& name : split_list(flags.dtypes, "--dtypes"))
    for (const int threads : {1, 2}) {
      const AttentionCase c(backend, 1, kFewHeads, kFewRows, 0, parse_dtype(name));
      Context on(backend, threads);
      on.reserve_scratch(backend.scratch_bytes(kFewRows, kFewHeads, kHeadDim));
      const auto t = in_turns({[&] { attention(on, c.args()); },
                               [&] {
                                 for (int h = 0; h < kFewHeads; ++h)
                                   level->attention(c.args(), 0, h, 0, 1, on.scratch(0));
                               }},
                              500, flags.seconds);
      table.add({name, std::to_string(threads), fmt::format("{:.3f}", t[0] * 1e6),
                 fmt::format("{:.3f}", t[1] * 1e6), fmt::format("{:.3f}", (t[0] - t[1]) * 1e6)});
      json["call"].push_back(
          {{"dtype", name}, {"threads", threads}, {"call_us", t[0] * 1e6}, {"bare_us", t[1] * 1e6}});
    }
  fmt::print("one call: 1 sequence of {} rows, {} heads\n{}\n", kFewRows, kFewHeads, table.text());
}

// A layer inside the forward pass (the difference of two depths) against its bare ops, called in the same
// order on the same weights: what the model's own bookkeeping costs.
void layer_cost(const Flags& flags, const Backend& backend, nlohmann::json& json) {
  constexpr int kShallow = 2, kLayers = 12, kRepeat = 8;
  Table table({"dtype", "layer us", "its kernels us", "difference us"});
  for (const std::string& name : split_list(flags.dtypes, "--dtypes")) {
    const Dtype dtype = parse_dtype(name);
    const auto deep =
        pack_vit(random_vit(fmt::format("deit-tiny,layers={}", kShallow + kLayers)), backend, dtype);
    const auto shallow = pack_vit(random_vit(fmt::format("deit-tiny,layers={}", kShallow)), backend, dtype);
    const VitConfig& c = config_of(*deep);
    const int width = (kFewRows - 1) * c.patch;  // one row of patches, and CLS
    const std::vector<float> pixels(3 * static_cast<size_t>(c.patch) * static_cast<size_t>(width), 0.5f);
    const VitImage image{pixels.data(), c.patch, width, 0};
    VitState deep_state(deep, {1, kFewRows}, flags.threads),
        shallow_state(shallow, {1, kFewRows}, flags.threads);

    Context on(backend, flags.threads, Sums::fast);
    on.reserve_scratch(backend.scratch_bytes(kFewRows, c.heads, c.head_dim()));
    const AttentionCase attend(backend, 1, c.heads, kFewRows, 0, dtype);
    const Ragged rows = attend.args().q_rows;
    Buffer x(4u * kFewRows * c.dim), h(4u * kFewRows * c.dim), wide(4u * kFewRows * c.hidden_dim);
    const Tensor residual = matrix_view(x.as(), Dtype::f32, kFewRows, c.dim),
                 normed = matrix_view(h.as(), dtype, kFewRows, c.dim);
    const Tensor qkv = matrix_view(wide.as(), dtype, kFewRows, 3 * c.dim),
                 inside = matrix_view(wide.as(), dtype, kFewRows, c.hidden_dim);
    // The bare ops of each layer in order, so that they find the caches as the layer inside the model does.
    const auto kernels = [&](const VitBlockWeights& w) {
      layer_norm(on, {.x = residual,
                      .gamma = vector_of(w.qkv.gamma),
                      .beta = vector_of(w.qkv.beta),
                      .out = normed,
                      .rows = rows});
      linear(on, {.x = normed, .w = &w.qkv.w, .out = qkv, .rows = rows});
      attention(on, attend.args());
      linear(on, {.x = normed, .w = &w.proj, .residual = residual, .out = residual, .rows = rows});
      layer_norm(on, {.x = residual,
                      .gamma = vector_of(w.fc1.gamma),
                      .beta = vector_of(w.fc1.beta),
                      .out = normed,
                      .rows = rows});
      linear(on, {.x = normed, .w = &w.fc1.w, .act = Activation::gelu_erf, .out = inside, .rows = rows});
      linear(on, {.x = inside, .w = &w.fc2, .residual = residual, .out = residual, .rows = rows});
    };
    const std::vector<std::function<void()>> fs = {[&] { forward(deep_state, &image, 1, {}); },
                                                   [&] { forward(shallow_state, &image, 1, {}); },
                                                   [&] {
                                                     for (int i = 0; i < kLayers; ++i)
                                                       kernels(deep->blocks[static_cast<size_t>(i)]);
                                                   }};
    const auto t = in_turns(fs, kRepeat, 4 * flags.seconds);
    const double alone = t[2] / kLayers;
    const double layer = (t[0] - t[1]) / kLayers;
    table.add({name, fmt::format("{:.2f}", layer * 1e6), fmt::format("{:.2f}", alone * 1e6),
               fmt::format("{:.2f}", (layer - alone) * 1e6)});
    json["layer"].push_back({{"dtype", name},
                             {"layer_us", layer * 1e6},
                             {"kernels_us", alone * 1e6},
                             {"threads", flags.threads}});
  }
  fmt::print("one DeiT-T layer on {} rows, {}\n{}\n", kFewRows,
             counted(static_cast<size_t>(flags.threads), "thread"), table.text());
}

}  // namespace

Command add_bench_attention(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  app.add_option("--batches", f->batches, "sequences a call")->capture_default_str();
  app.add_option("--lengths", f->lengths, "mean rows a sequence")->capture_default_str();
  app.add_option("--heads", f->heads, "heads of 64")->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--dtypes", f->dtypes, "f32, bf16, on a GPU f16; default: f32,bf16, on a GPU f16,bf16,f32");
  add_device_flag(app, &f->device);
  app.add_option("--spread", f->spread, "lengths differ by up to this share of the mean")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--threads", f->threads, "threads")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--seconds", f->seconds, "time for each line")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  app.add_option("--json", f->json, "file for all figures");
  return [f](Outcome& outcome) {
    const Backend& backend = find_backend(kernels_of(f->device));
    check_report_file(f->json);
    if (f->dtypes.empty()) f->dtypes = backend.host ? "f32,bf16" : "f16,bf16,f32";
    for (const std::string& name : split_list(f->dtypes, "--dtypes"))
      require(backend.traits().rows.has(parse_dtype(name)),
              fmt::format("--dtypes: wanted {} with kernels {}, found {}", text_of(backend.traits().rows),
                          backend.name, name));
    nlohmann::json json = {{"machine", machine_text(backend, f->threads)}};
    fmt::print("{}\n\n", machine_text(backend, f->threads));
    sweep(*f, backend, json);
    outcome.did_something = true;
    if (backend.host) {
      call_cost(*f, backend, json);
      layer_cost(*f, backend, json);
    }
    if (!f->json.empty()) write_report(f->json, json.dump(1) + "\n");
  };
}

}  // namespace hedgerow::cli
