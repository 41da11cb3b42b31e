// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/vision/classify.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <future>
#include <limits>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/vit_load.h"

namespace hedgerow {
namespace {

constexpr int kMaxPatches = 1 << 16;  // beyond this one picture's attention takes minutes

int patches_of(const VitConfig& config, int height, int width) {
  const bool fits = height >= config.patch && width >= config.patch && height % config.patch == 0 &&
                    width % config.patch == 0 &&
                    height / config.patch <= kMaxPatches / (width / config.patch);
  require(fits,
          fmt::format("resolution: wanted multiples of the patch ({}) and at most {} patches, found {} x {}",
                      config.patch, kMaxPatches, width, height));
  return (height / config.patch) * (width / config.patch);
}

void apply(const PreprocessOverrides& from, Preprocess* to) {
  const auto copy3 = [](const std::optional<std::vector<float>>& values, float* out, const char* what) {
    if (!values) return;
    require(values->size() == 3, fmt::format("{}: wanted 3 numbers, found {}", what, values->size()));
    std::copy(values->begin(), values->end(), out);
  };
  copy3(from.mean, to->mean, "mean");
  copy3(from.std, to->std, "std");
  for (const float s : to->std) require(std::isfinite(s) && s > 0, "std: wanted numbers above 0");
  if (from.interpolation) to->interpolation = *from.interpolation;
  if (from.resize) {
    to->resize = *from.resize;
    to->squash = false;
  }
  if (from.crop_pct) {
    require(*from.crop_pct > 0 && *from.crop_pct <= 1, "crop: wanted a share above 0 and at most 1");
    to->crop_pct = *from.crop_pct;
    to->resize = 0;
    to->squash = false;
  }
  if (from.squash) {
    to->squash = true;
    to->resize = std::min(to->width, to->height);
  }
}

int64_t count_parameters(const VitParameters& p) {
  int64_t n = 0;
  const auto add = [&n](const auto&... arrays) { ((n += static_cast<int64_t>(arrays.size())), ...); };
  add(p.cls_token, p.dist_token, p.pos_embed, p.patch_weight, p.patch_bias, p.norm_weight, p.norm_bias,
      p.head_weight, p.head_bias, p.head_dist_weight, p.head_dist_bias);
  for (const VitBlockParameters& b : p.blocks)
    add(b.norm1_weight, b.norm1_bias, b.qkv_weight, b.qkv_bias, b.proj_weight, b.proj_bias, b.norm2_weight,
        b.norm2_bias, b.fc1_weight, b.fc1_bias, b.fc2_weight, b.fc2_bias);
  for (const PredictorParameters& s : p.predictors)
    add(s.norm_weight, s.norm_bias, s.in_weight, s.in_bias, s.out0_weight, s.out0_bias, s.out2_weight,
        s.out2_bias, s.out4_weight, s.out4_bias);
  return n;
}

void prepare_pixels(const ClassifierModel& model, const PictureRequest& request, PreparedPicture* out) {
  const std::string name = request.path.empty() ? "picture" : request.path;
  require(!request.rgb || !request.chw, name + ": wanted rgb or chw pixels, found both");
  if (request.chw) {
    require(request.size == 0, name + ": chw pixels come at their own size, found a request for another");
    patches_of(model.config, request.height, request.width);
    out->chw = request.chw;
    out->height = request.height;
    out->width = request.width;
    return;
  }
  const Preprocess how = model.preprocess_for(request.size > 0 ? request.size : model.image_size);
  Picture picture;
  if (request.rgb) {
    const bool fits = request.width > 0 && request.height > 0 && request.width <= kMaxPixels / request.height;
    require(fits, fmt::format("{}: wanted 1 to {} pixels, found {} x {}", name, kMaxPixels, request.width,
                              request.height));
    picture.width = request.width;
    picture.height = request.height;
    picture.rgb.assign(request.rgb, request.rgb + 3 * static_cast<size_t>(request.width) * request.height);
  } else {
    require(!request.path.empty(), "picture: wanted a path, rgb or chw pixels, found none");
    picture = read_picture(request.path);
  }
  out->pixels = preprocess(picture, how);
  out->chw = out->pixels.data();
  out->height = how.height;
  out->width = how.width;
}

}  // namespace

std::string ClassifierModel::label(int index) const {
  const bool named = index >= 0 && index < static_cast<int>(class_names.size());
  return named ? class_names[index] : fmt::format("class {}", index);
}

Preprocess ClassifierModel::preprocess_for(int size) const {
  patches_of(config, size, size);
  return at_size(preprocess, size, size);
}

std::shared_ptr<const ClassifierModel> load_classifier_model(const std::string& path,
                                                             const ModelOptions& options) {
  const Backend& backend = find_backend(options.kernels);
  require(backend.traits().weights.has(options.dtype),
          fmt::format("dtype: wanted {} with kernels {} on this machine, found {}",
                      text_of(backend.traits().weights), backend.name, name_of(options.dtype)));
  const VitCheckpoint checkpoint = load_vit(path, options.image_size);
  auto model = std::make_shared<ClassifierModel>();
  model->path = checkpoint.path;
  model->architecture = checkpoint.architecture;
  model->lineage = checkpoint.lineage;
  model->dtype_in_file = checkpoint.dtype_in_file;
  model->config = checkpoint.parameters.config;
  model->parameter_count = count_parameters(checkpoint.parameters);
  model->has_predictors = !checkpoint.parameters.predictors.empty();
  model->backend = &backend;
  model->dtype = options.dtype;
  model->class_names = checkpoint.class_names;
  model->notes = checkpoint.notes;
  model->preprocess = checkpoint.preprocess;
  model->image_size = model->preprocess.width;
  apply(options.overrides, &model->preprocess);
  model->preprocess_for(model->image_size);
  model->weights = pack_vit(checkpoint.parameters, backend, options.dtype);
  return model;
}

PreparedPicture prepare(const ClassifierModel& model, const PictureRequest& request) {
  PreparedPicture out;
  out.path = request.path;
  out.keep = request.keep;
  out.threshold = request.threshold;
  try {
    prepare_pixels(model, request, &out);
  } catch (const Error& e) {
    out.error = e.what();
  }
  return out;
}

Classifier::Classifier(std::shared_ptr<const ClassifierModel> model, ClassifierOptions options)
    : model_(std::move(model)), options_(std::move(options)) {
  require(model_ != nullptr, "Classifier: wanted a model, found none");
  require(options_.batch >= 1 && options_.batch <= 4096,
          fmt::format("batch: wanted 1 to 4096, found {}", options_.batch));
  require(options_.top >= 0, fmt::format("top: wanted 0 or more, found {}", options_.top));
  if (options_.max_size == 0) options_.max_size = model_->image_size;
  const int tokens =
      patches_of(model_->config, options_.max_size, options_.max_size) + model_->config.special();
  state_ = std::make_unique<VitState>(model_->weights, VitLimits{options_.batch, tokens},
                                      VitOptions{.threads = options_.threads, .sums = options_.sums});
}

Classifier::~Classifier() = default;
Classifier::Classifier(Classifier&&) noexcept = default;

// Room for a batch; null where the model computes in host memory.
std::shared_ptr<Buffer> Classifier::free_block() {
  if (model_->backend->host) return nullptr;
  for (const auto& block : blocks_)
    if (block.use_count() == 1) return block;
  const size_t side = static_cast<size_t>(options_.max_size);
  blocks_.push_back(std::make_shared<Buffer>(
      model_->backend->memory.allocate_host(static_cast<size_t>(options_.batch) * side * side * 12)));
  return blocks_.back();
}

std::vector<PreparedPicture> Classifier::prepare_all(const std::vector<PictureRequest>& requests) {
  std::vector<PreparedPicture> out(requests.size());
  const size_t slot = 3 * static_cast<size_t>(options_.max_size) * static_cast<size_t>(options_.max_size);
  const auto block = requests.size() <= static_cast<size_t>(options_.batch) ? free_block() : nullptr;
  const auto move_to_block = [&](PreparedPicture& p, int i) {
    if (!block || p.pixels.empty() || p.pixels.size() > slot) return;
    float* const to = block->as<float>() + static_cast<size_t>(i) * slot;
    std::memcpy(to, p.pixels.data(), p.pixels.size() * 4);
    p.chw = to, p.block = block, p.pixels = {};
  };
  const auto one = [&](int i, int) noexcept {
    // Out of memory on one huge picture is that picture's fault: tasks must not throw.
    try {
      out[i] = prepare(*model_, requests[i]);
      move_to_block(out[i], i);
    } catch (const std::bad_alloc&) {
      out[i].path = requests[i].path;
      out[i].error = requests[i].path + ": out of memory";
    }
  };
  // The state's own threads: those of a second pool would spin beside them for a while.
  Pool& pool = state_->context().pool();
  const Pool::Turn turn(pool);
  pool.run(static_cast<int>(requests.size()), one);
  return out;
}

std::vector<Classification> Classifier::run(const std::vector<PreparedPicture>& pictures, VitTrace* trace) {
  require(!trace || pictures.size() <= static_cast<size_t>(options_.batch),
          fmt::format("trace: wanted one batch of at most {} pictures, found {}", options_.batch,
                      pictures.size()));
  std::vector<Classification> out(pictures.size());
  const VitConfig& config = model_->config;
  std::vector<size_t> place;  // of the batch's pictures in `pictures`
  std::vector<VitImage> images;
  const auto flush = [&] {
    if (images.empty()) return;
    VitRun how{options_.prune, options_.layout, Output::logits, trace};
    const bool differ = std::any_of(place.begin(), place.end(),
                                    [&](size_t i) { return pictures[i].keep || pictures[i].threshold; });
    for (const size_t i : place) {
      if (!differ) break;
      PruneBudget budget = options_.prune.budget;
      if (pictures[i].keep) {
        budget.keep = *pictures[i].keep;
        budget.keep_max = 0;
      }
      if (pictures[i].threshold) budget.threshold = *pictures[i].threshold;
      how.prune.per_image.push_back(budget);
    }
    const VitResult& result = forward(*state_, images.data(), static_cast<int>(images.size()), how);
    for (size_t j = 0; j < place.size(); ++j) {
      Classification& c = out[place[j]];
      const float* logits = result.logits + j * static_cast<size_t>(result.classes);
      c.logits.assign(logits, logits + result.classes);
      c.top = top_classes(logits, result.classes, options_.top);
      c.kept = result.kept[j];
      c.macs = result.macs[j];
      c.place = static_cast<int>(j);
      c.grid_rows = images[j].height / config.patch;
      c.grid_columns = images[j].width / config.patch;
    }
    images.clear();
    place.clear();
  };
  for (size_t i = 0; i < pictures.size(); ++i) {
    const PreparedPicture& p = pictures[i];
    out[i].path = p.path;
    out[i].error = p.error;
    if (!p.error.empty()) continue;
    const int most = (options_.max_size / config.patch) * (options_.max_size / config.patch);
    if (patches_of(config, p.height, p.width) > most) {
      out[i].error = fmt::format("{}: {} x {} is larger than max_size {} allows", p.path, p.width, p.height,
                                 options_.max_size);
      continue;
    }
    images.push_back({p.chw, p.height, p.width, 0});
    place.push_back(i);
    if (static_cast<int>(images.size()) == options_.batch) flush();
  }
  flush();
  return out;
}

std::vector<Classification> Classifier::classify(const std::vector<PictureRequest>& requests,
                                                 VitTrace* trace) {
  require(!trace || requests.size() <= static_cast<size_t>(options_.batch),
          fmt::format("trace: wanted one batch of at most {} pictures, found {}", options_.batch,
                      requests.size()));
  std::vector<Classification> out;
  const auto prepare_from = [&](size_t begin) {
    const size_t end = std::min(requests.size(), begin + static_cast<size_t>(options_.batch));
    return prepare_all({requests.begin() + begin, requests.begin() + end});
  };
  // A batch at a time: what is decoded and not yet needed would only fill the memory. A device computes one
  // while the CPU prepares the next.
  std::future<std::vector<PreparedPicture>> next;
  for (size_t begin = 0, end = 0; begin < requests.size(); begin = end) {
    end = begin + static_cast<size_t>(options_.batch);
    const auto prepared = next.valid() ? next.get() : prepare_from(begin);
    if (!model_->backend->host && end < requests.size())
      next = std::async(std::launch::async, [&prepare_from, end] { return prepare_from(end); });
    for (Classification& c : run(prepared, trace)) out.push_back(std::move(c));
  }
  return out;
}

}  // namespace hedgerow
