// SPDX-License-Identifier: Apache-2.0
// Pictures to labels: the interface for users of the library.
//
//   load_classifier_model()  a checkpoint, packed once; const, shared by any number of threads
//   Classifier               buffers of one caller: one per thread that classifies, all over the same model
//   classify()               pictures of any mixture of sources, keep rates and resolutions to labels
//
// A picture that cannot be used (a damaged file, say) does not stop the others: its result says why.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hedgerow/io/image.h"
#include "hedgerow/vision/preprocess.h"
#include "hedgerow/vision/vit.h"

namespace hedgerow {

// What replaces the checkpoint's own preprocessing. Unset: as the checkpoint has it.
struct PreprocessOverrides {
  std::optional<std::vector<float>> mean, std;  // 3 each
  std::optional<int> resize;                    // the shorter side before the crop, in pixels, or
  std::optional<double> crop_pct;               // the crop's share of it, or
  bool squash = false;                          // no crop: both sides become the resolution
  std::optional<Interpolation> interpolation;
};

struct ModelOptions {
  std::string
      kernels;  // a backend's name, "cuda" for a GPU; empty: HEDGEROW_KERNELS, else the best CPU level here
  Dtype dtype = Dtype::f32;  // f32 or bf16; on a GPU also f16, on Hopper e4m3 and i8
  int image_size = 0;        // resolution; 0: the checkpoint's
  PreprocessOverrides overrides;
};

// Const after loading.
struct ClassifierModel {
  std::string path, architecture, lineage, dtype_in_file;
  VitConfig config;
  int64_t parameter_count = 0;
  bool has_predictors = false;
  const Backend* backend = nullptr;
  Dtype dtype = Dtype::f32;
  Preprocess preprocess;
  std::vector<std::string> class_names;  // empty, or one a class
  std::vector<std::string> notes;        // what loading had to decide, worth showing
  std::shared_ptr<const VitWeights> weights;

  int image_size = 0;                  // the resolution pictures get unless they ask for another
  std::string label(int index) const;  // its name, or "class 7"
  Preprocess preprocess_for(
      int size) const;  // `size` pixels a side; Error unless it is a multiple of the patch
};

std::shared_ptr<const ClassifierModel> load_classifier_model(const std::string& path,
                                                             const ModelOptions& options = {});

// One picture: a file, or pixels in memory (which must outlive the call).
struct PictureRequest {
  std::string path;              // a JPEG or PNG file; with pixels given, only a name for messages
  const uint8_t* rgb = nullptr;  // [height, width, 3]: resized, cropped and normalised as a file would be
  const float* chw = nullptr;    // [3, height, width]: normalised by the caller, sides multiples of the patch
  int width = 0, height = 0;
  int size = 0;                           // resolution; 0: the model's. Not with chw
  std::optional<double> keep, threshold;  // instead of the batch's
};

// A picture ready for the network, or the reason why it is not.
struct PreparedPicture {
  std::string path, error;
  std::vector<float> pixels;            // empty when the caller's chw is used
  const float* chw = nullptr;           // pixels.data(), the caller's, or in `block`
  std::shared_ptr<const Buffer> block;  // a batch's pixels where a device fetches them without waiting
  int width = 0, height = 0;
  std::optional<double> keep, threshold;
};

// Decodes, resizes, crops, normalises. From any thread; throws nothing that concerns the picture.
PreparedPicture prepare(const ClassifierModel& model, const PictureRequest& request);

struct ClassifierOptions {
  Prune prune;
  Layout layout = Layout::ragged;
  Sums sums = Sums::fast;  // VitOptions'
  int batch = 8;           // pictures a forward
  int threads = 1;
  int top = 5;       // labels a result
  int max_size = 0;  // largest resolution a picture may ask for; 0: the model's
};

struct TopClass {
  int index = 0;
  double p = 0;  // softmax over all classes, in double
};

struct Classification {
  std::string path, error;    // error: empty, or why there is no result
  std::vector<TopClass> top;  // best first; equal logits: lower index first
  std::vector<float> logits;  // [classes]
  std::vector<int32_t> kept;  // [layers]: rows leaving each block, special rows counted
  double macs = 0;            // multiply-adds executed
  int grid_rows = 0, grid_columns = 0;
  int place = -1;  // which image of the batch it was: the index into a trace
};

class Classifier {
 public:
  Classifier(std::shared_ptr<const ClassifierModel> model, ClassifierOptions options);
  ~Classifier();
  Classifier(Classifier&&) noexcept;

  const ClassifierModel& model() const { return *model_; }
  const ClassifierOptions& options() const { return options_; }

  // Everything: decode, resize, run, in the order given. `trace`, if any, holds one batch only: at most
  // options.batch pictures.
  std::vector<Classification> classify(const std::vector<PictureRequest>& requests,
                                       VitTrace* trace = nullptr);

  // The two halves of classify(), for callers with a pipeline of their own. `prepare_all` uses this
  // classifier's threads. Where the model is on a device, one thread may prepare while another runs; on a CPU
  // the two share those threads, and must take turns.
  std::vector<PreparedPicture> prepare_all(const std::vector<PictureRequest>& requests);
  std::vector<Classification> run(const std::vector<PreparedPicture>& pictures, VitTrace* trace = nullptr);

 private:
  std::shared_ptr<Buffer> free_block();

  std::shared_ptr<const ClassifierModel> model_;
  ClassifierOptions options_;
  std::unique_ptr<VitState> state_;
  std::vector<std::shared_ptr<Buffer>> blocks_;  // used again when no picture is left in them
};

// softmax(logits), the `top` largest. In double, shifted by the maximum.
std::vector<TopClass> top_classes(const float* logits, int classes, int top);

}  // namespace hedgerow
