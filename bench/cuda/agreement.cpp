// SPDX-License-Identifier: Apache-2.0
// Real pictures on the GPU against the CPU's f32: what arithmetic in 16 or 8 bits changes. Per method:
// largest difference of the logits over pictures that kept the same patches, Jaccard overlap of the sets left
// at the end, top-1 agreement; the same with the GPU's sets imposed on the CPU (methods that prune once); and
// packed rows against the full grid on the GPU. JSON lines on standard output, for each dtype. With DUMP, a
// folder: pixels, the CPU's logits and the sets imposed, for f16_error.py.
//   agreement MODEL FOLDER [f16,bf16,f32,fp8,int8] [most pictures] [DUMP]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/classify.h"
#include "hedgerow/vision/methods.h"

using namespace hedgerow;

namespace {

struct Answers {
  std::vector<std::vector<float>> logits;
  std::vector<std::set<int>> left;  // patches alive at the end; empty for a full grid
  std::vector<std::vector<int32_t>> kept;
};

// `imposed`: the patches that go on after `run.prune.after` blocks, per picture.
Answers answers(const ClassifierModel& model, const std::vector<PreparedPicture>& pictures, VitRun run,
                int threads, const std::vector<std::set<int>>* imposed = nullptr, Sums sums = Sums::fast) {
  constexpr int kBatch = 32;
  const int side = model.image_size / model.config.patch;
  VitState state(model.weights, {kBatch, side * side + model.config.special()},
                 VitOptions{.threads = threads, .sums = sums});
  Answers out;
  for (size_t at = 0; at < pictures.size(); at += kBatch) {
    const size_t end = std::min(pictures.size(), at + kBatch);
    std::vector<VitImage> images;
    for (size_t i = at; i < end; ++i)
      images.push_back({pictures[i].chw, pictures[i].height, pictures[i].width, i + 1});
    if (imposed)
      run.prune.after_block = [&](const PruneView& view, uint8_t* keep) {
        if (view.block != run.prune.after - 1) return;
        for (int i = 0; i < view.batch; ++i)
          for (int row = view.offsets[i]; row < view.offsets[i + 1]; ++row)
            keep[row] = view.patch[row] < 0 || (*imposed)[at + static_cast<size_t>(i)].count(view.patch[row]);
      };
    const VitResult& r = forward(state, images.data(), static_cast<int>(images.size()), run);
    for (int i = 0; i < r.batch; ++i) {
      out.logits.emplace_back(r.logits + i * r.classes, r.logits + (i + 1) * r.classes);
      out.kept.push_back(r.kept[static_cast<size_t>(i)]);
      out.left.emplace_back();
      if (!r.tokens) continue;
      for (int row = r.token_offsets[static_cast<size_t>(i)];
           row < r.token_offsets[static_cast<size_t>(i) + 1]; ++row)
        out.left.back().insert(r.token_patch[static_cast<size_t>(row)]);
    }
  }
  return out;
}

size_t top(const std::vector<float>& v) {
  return static_cast<size_t>(std::max_element(v.begin(), v.end()) - v.begin());
}
double apart(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, static_cast<double>(std::fabs(a[i] - b[i])));
  return worst;
}

void compare(const char* what, const char* dtype, const std::string& method, const Answers& want,
             const Answers& got, bool sets) {
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
  std::printf(
      "{\"what\":\"%s\",\"dtype\":\"%s\",\"method\":\"%s\",\"pictures\":%zu,\"same_sets\":%d,\"worst_where_"
      "same\":%.6f,"
      "\"top1_agreement\":%.5f",
      what, dtype, method.c_str(), want.logits.size(), same, worst, agree / n);
  if (sets) std::printf(",\"jaccard\":%.5f", jaccard / n);
  std::printf("}\n");
  std::fflush(stdout);
}

void dump(const std::string& file, const float* from, size_t count) {
  std::ofstream(file, std::ios::binary | std::ios::app)
      .write(reinterpret_cast<const char*>(from), static_cast<std::streamsize>(count * 4));
}

// METHOD.logits [pictures, classes]; METHOD.sets: a line of kept patches a picture.
void dump(const std::string& folder, const std::string& method, const Answers& a,
          const std::vector<std::set<int>>& sets) {
  for (const std::vector<float>& l : a.logits) dump(folder + "/" + method + ".logits", l.data(), l.size());
  std::ofstream out(folder + "/" + method + ".sets");
  for (const std::set<int>& s : sets) {
    for (int patch : s)
      if (patch >= 0) out << patch << ' ';  // special rows are always there
    out << '\n';
  }
}

Dtype dtype_named(const std::string& name) {
  for (const Dtype d : {Dtype::f32, Dtype::bf16, Dtype::f16, Dtype::e4m3, Dtype::i8})
    if (name == name_of(d)) return d;
  throw Error("agreement: wanted f32, bf16, f16, fp8 or int8, found " + name);
}

// `want`: the CPU's answers to the method, with tokens.
void against(const ClassifierModel& cpu, const ClassifierModel& gpu,
             const std::vector<PreparedPicture>& pictures, PruneMethod method, const Answers& want,
             const std::string& dumped) {
  const char* dtype = name_of(gpu.dtype);
  VitRun how;
  how.prune.method = method;
  how.output = Output::tokens;
  const Answers got = answers(gpu, pictures, how, 1);
  compare("gpu against cpu f32", dtype, name_of(method), want, got, true);
  how.output = Output::logits;
  if (traits_of(method).blocks == ChoosesIn::one) {
    VitRun told;
    told.prune.after = how.prune.after;
    const Answers imposed = answers(cpu, pictures, told, 16, &got.left);
    Answers same = got;
    same.kept = imposed.kept;
    compare("gpu against cpu f32, the gpu's sets imposed", dtype, name_of(method), imposed, same, false);
    if (!dumped.empty()) dump(dumped, name_of(method), imposed, got.left);
  }
  const auto fixed = [&] { return answers(gpu, pictures, how, 1, nullptr, Sums::fixed); };
  const Answers packed = fixed();
  if (method == PruneMethod::evit || method == PruneMethod::tome || method == PruneMethod::diffrate) return;
  how.layout = Layout::padded;
  compare("gpu padded against gpu packed, batch invariant", dtype, name_of(method), packed, fixed(), false);
}

void run(int argc, char** argv) {
  require(argc >= 3, "agreement: wanted MODEL FOLDER [f16,bf16,f32,fp8,int8] [most pictures] [DUMP]");
  const size_t most = argc > 4 ? static_cast<size_t>(std::atoi(argv[4])) : 1u << 30;
  const auto cpu = load_classifier_model(argv[1], {});
  std::vector<std::shared_ptr<const ClassifierModel>> gpus;
  std::istringstream dtypes(argc > 3 ? argv[3] : "f16");
  for (std::string name; std::getline(dtypes, name, ',');) {
    ModelOptions on_gpu;
    on_gpu.kernels = "cuda";
    on_gpu.dtype = dtype_named(name);
    gpus.push_back(load_classifier_model(argv[1], on_gpu));
  }
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[2]))
    paths.push_back(entry.path().string());
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
  const std::string dumped = argc > 5 ? argv[5] : "";
  if (!dumped.empty())
    for (const PreparedPicture& p : pictures)
      dump(dumped + "/pixels.f32", p.chw, 3 * static_cast<size_t>(p.height * p.width));
  for (const PruneMethod method : all_prune_methods()) {
    if (method == PruneMethod::dynamicvit && !cpu->has_predictors) continue;
    VitRun how;
    how.prune.method = method;
    how.output = Output::tokens;
    const Answers want = answers(*cpu, pictures, how, 16);
    const bool dumps = !dumped.empty();
    if (method == PruneMethod::none && dumps) dump(dumped, name_of(method), want, want.left);
    for (const auto& gpu : gpus)
      against(*cpu, *gpu, pictures, method, want, dumps && gpu == gpus.front() ? dumped : "");
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
