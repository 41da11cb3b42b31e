// SPDX-License-Identifier: Apache-2.0
// Real pictures on the GPU against the CPU's f32: what 16-bit arithmetic changes. Per method: largest difference of the
// logits over pictures that kept the same patches, Jaccard overlap of the sets left at the end, top-1 agreement; and
// packed rows against the full grid on the GPU. JSON lines on standard output.
//   agreement MODEL FOLDER [f16|bf16|f32] [most pictures]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>
#include <string>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/classify.h"

using namespace hedgerow;

namespace {

struct Answers {
  std::vector<std::vector<float>> logits;
  std::vector<std::set<int>> left;  // patches alive at the end; empty for a full grid
  std::vector<std::vector<int32_t>> kept;
};

Answers answers(const ClassifierModel& model, const std::vector<PreparedPicture>& pictures, const VitRun& run, int threads) {
  constexpr int kBatch = 32;
  const int side = model.image_size / model.config.patch;
  VitState state(model.weights, {kBatch, side * side + model.config.special()}, threads);
  Answers out;
  for (size_t at = 0; at < pictures.size(); at += kBatch) {
    const size_t end = std::min(pictures.size(), at + kBatch);
    std::vector<VitImage> images;
    for (size_t i = at; i < end; ++i) images.push_back({pictures[i].chw, pictures[i].height, pictures[i].width, i + 1});
    const VitResult& r = forward(state, images.data(), static_cast<int>(images.size()), run);
    for (int i = 0; i < r.batch; ++i) {
      out.logits.emplace_back(r.logits + i * r.classes, r.logits + (i + 1) * r.classes);
      out.kept.push_back(r.kept[static_cast<size_t>(i)]);
      out.left.emplace_back();
      if (!r.tokens) continue;
      for (int row = r.token_offsets[static_cast<size_t>(i)]; row < r.token_offsets[static_cast<size_t>(i) + 1]; ++row)
        out.left.back().insert(r.token_patch[static_cast<size_t>(row)]);
    }
  }
  return out;
}

size_t top(const std::vector<float>& v) { return static_cast<size_t>(std::max_element(v.begin(), v.end()) - v.begin()); }
double apart(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, static_cast<double>(std::fabs(a[i] - b[i])));
  return worst;
}

void compare(const char* what, const std::string& method, const Answers& want, const Answers& got, bool sets) {
  int same = 0, agree = 0;
  double worst = 0, jaccard = 0;
  for (size_t i = 0; i < want.logits.size(); ++i) {
    agree += top(want.logits[i]) == top(got.logits[i]);
    bool alike = want.kept[i] == got.kept[i];
    if (sets) {
      std::vector<int> both;
      std::set_intersection(want.left[i].begin(), want.left[i].end(), got.left[i].begin(), got.left[i].end(),
                            std::back_inserter(both));
      const double all = static_cast<double>(want.left[i].size() + got.left[i].size() - both.size());
      jaccard += all > 0 ? static_cast<double>(both.size()) / all : 1;
      alike = alike && want.left[i] == got.left[i];
    }
    if (!alike) continue;
    ++same;
    worst = std::max(worst, apart(want.logits[i], got.logits[i]));
  }
  const double n = static_cast<double>(want.logits.size());
  std::printf("{\"what\":\"%s\",\"method\":\"%s\",\"pictures\":%zu,\"same_sets\":%d,\"worst_where_same\":%.6f,"
              "\"top1_agreement\":%.5f",
              what, method.c_str(), want.logits.size(), same, worst, agree / n);
  if (sets) std::printf(",\"jaccard\":%.5f", jaccard / n);
  std::printf("}\n");
  std::fflush(stdout);
}

void run(int argc, char** argv) {
  require(argc >= 3, "agreement: wanted MODEL FOLDER [f16|bf16|f32] [most pictures]");
  const std::string dtype = argc > 3 ? argv[3] : "f16";
  const size_t most = argc > 4 ? static_cast<size_t>(std::atoi(argv[4])) : 1u << 30;
  ModelOptions on_cpu, on_gpu;
  on_gpu.kernels = "cuda";
  on_gpu.dtype = dtype == "f32" ? Dtype::f32 : dtype == "bf16" ? Dtype::bf16 : Dtype::f16;
  const auto cpu = load_classifier_model(argv[1], on_cpu), gpu = load_classifier_model(argv[1], on_gpu);
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[2])) paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  std::vector<PreparedPicture> pictures;
  for (const std::string& path : paths) {
    if (pictures.size() == most) break;
    PictureRequest request;
    request.path = path;
    PreparedPicture p = prepare(*cpu, request);
    if (p.error.empty()) pictures.push_back(std::move(p));
  }
  require(!pictures.empty(), std::string(argv[2]) + ": no picture that can be read");
  for (PreparedPicture& p : pictures)
    if (!p.pixels.empty()) p.chw = p.pixels.data();
  for (const PruneMethod method : all_prune_methods()) {
    if (method == PruneMethod::dynamicvit && !cpu->has_predictors) continue;
    VitRun how;
    how.prune.method = method;
    how.output = Output::tokens;
    const Answers want = answers(*cpu, pictures, how, 16), got = answers(*gpu, pictures, how, 1);
    compare("gpu against cpu f32", name_of(method), want, got, true);
    how.output = Output::logits;
    const Answers packed = answers(*gpu, pictures, how, 1);
    if (method == PruneMethod::evit || method == PruneMethod::tome || method == PruneMethod::diffrate) continue;
    how.layout = Layout::padded;
    compare("gpu padded against gpu packed", name_of(method), packed, answers(*gpu, pictures, how, 1), false);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc, argv);
  } catch (const Error& e) {
    std::fprintf(stderr, "agreement: %s\n", e.what());
    return 2;
  }
}
