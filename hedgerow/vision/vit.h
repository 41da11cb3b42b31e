// SPDX-License-Identifier: Apache-2.0
// A Vision Transformer (ViT: Dosovitskiy et al. 2021; DeiT: Touvron et al. 2021) on packed rows.
//
//   VitConfig      plain values           what the model is
//   VitParameters  plain f32 arrays       what a checkpoint holds, in one canonical naming, before packing
//   VitWeights     packed once, const     shared by any number of states
//   VitState       buffers, sized once    one per concurrent user
//   forward()      patches to logits, for any mixture of lengths, kept counts and resolutions
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hedgerow/kernels/kernels.h"
#include "hedgerow/model/observer.h"
#include "hedgerow/vision/prune.h"

namespace hedgerow {

struct VitConfig {
  int image_size = 224;  // the resolution the position embedding was trained at (square)
  int patch = 16;        // 4 to 32
  int dim = 192, layers = 12, heads = 3, hidden_dim = 768, classes = 1000;
  bool distilled = false;  // distillation token at row 1 and a second head; logits are averaged
  Activation activation = Activation::gelu_erf;
  float norm_eps = 1e-6f;
  bool antialias_positions = true;  // how pos_embed is resampled at other resolutions, by lineage:
  enum class Resample : uint8_t { bicubic, bilinear } resample = Resample::bicubic;

  int special() const { return distilled ? 2 : 1; }  // rows in front of the patches
  int head_dim() const { return dim / heads; }
  int grid() const { return image_size / patch; }
};

// Row-major, PyTorch's [out, in]. qkv rows: q, then k, then v, each head-major.
struct VitBlockParameters {
  std::vector<float> norm1_weight, norm1_bias, qkv_weight, qkv_bias, proj_weight, proj_bias;
  std::vector<float> norm2_weight, norm2_bias, fc1_weight, fc1_bias, fc2_weight, fc2_bias;
};

// DynamicViT's score_predictor.s (LayerNorm with eps 1e-5, three-layer head).
struct PredictorParameters {
  std::vector<float> norm_weight, norm_bias;  // in_conv.0 [D]
  std::vector<float> in_weight, in_bias;      // in_conv.1 [D, D]
  std::vector<float> out0_weight, out0_bias;  // out_conv.0 [D/2, D]
  std::vector<float> out2_weight, out2_bias;  // out_conv.2 [D/4, D/2]
  std::vector<float> out4_weight, out4_bias;  // out_conv.4 [2, D/4]
};

struct VitParameters {
  VitConfig config;
  std::vector<float> cls_token, dist_token;     // [dim]; dist_token empty unless distilled
  std::vector<float> pos_embed;                 // [special + grid^2, dim]
  std::vector<float> patch_weight, patch_bias;  // [dim, 3, patch, patch], [dim]
  std::vector<VitBlockParameters> blocks;
  std::vector<float> norm_weight, norm_bias;  // [dim]
  std::vector<float> head_weight, head_bias;  // [classes, dim]
  std::vector<float> head_dist_weight, head_dist_bias;
  std::vector<PredictorParameters> predictors;  // 0 or 3
};

struct VitWeights;  // opaque; see vit_weights.h

// Packs for `backend`'s layout in dtype f32 or bf16, on a GPU also f16, on Hopper also e4m3 and i8
// (docs/numerics.md says what then is of 8 bits and what stays f16). Throws Error on an impossible config.
std::shared_ptr<const VitWeights> pack_vit(const VitParameters& parameters, const Backend& backend,
                                           Dtype dtype);
const VitConfig& config_of(const VitWeights& weights);

enum class Layout : uint8_t {
  ragged,      // packed rows of what is kept
  padded,      // the full grid: dropped rows are masked as keys, but computed
  padded_max,  // compacted, then padded to the longest of the batch, padding masked
};

enum class Output : uint8_t {
  logits,
  tokens
};  // tokens: also the final-norm rows, with their patch positions

// One picture, ready for the network: CHW f32, normalised; sides are multiples of the patch.
struct VitImage {
  const float* pixels = nullptr;  // [3, height, width]; where the backend computes, if on_device
  int height = 224, width = 224;
  uint64_t content_hash =
      0;  // seeds what is drawn per image (paper-* with a range of keep rates); 0: hashed from pixels
  bool on_device = false;
};

struct VitLimits {
  int max_batch = 1;
  int max_tokens = 0;  // rows of the largest image, special rows counted; 0: from config.image_size
};

// A merged or surviving row at some stage, for overlays and traces: where every original patch went.
struct VitTrace {
  // [stage][image][patch]: patch alive (its own row), merged into patch j (value j + 1), or gone (0 = gone).
  std::vector<std::string> stages;                          // "block 3", ...
  std::vector<std::vector<std::vector<int32_t>>> patch_to;  // alive: own index + 1
};

struct VitResult {
  int batch = 0, classes = 0, dim = 0;
  const float* logits = nullptr;           // [batch, classes], valid until the next forward of this state
  std::vector<std::vector<int32_t>> kept;  // [batch][layers]: rows leaving each block, special rows counted
  std::vector<double> macs;  // [batch]: multiply-adds executed for this image, all products counted
  // Output::tokens only:
  const float* tokens = nullptr;       // [rows, dim] after the final norm
  std::vector<int32_t> token_offsets;  // [batch + 1]
  std::vector<int32_t> token_patch;    // [rows]: patch position (row-major), -1 for special and fused rows
};

struct VitOptions {
  int threads = 1;                  // of a pool of the state's own, where none is given
  std::shared_ptr<Pool> pool = {};  // shared with others that run in turn on the caller's thread
  Sums sums = Sums::fast;  // kernels.h; fixed: a picture has the same bits alone, in any batch and layout
};

class VitState {
 public:
  VitState(std::shared_ptr<const VitWeights> weights, VitLimits limits, const VitOptions& options);
  VitState(std::shared_ptr<const VitWeights> weights, VitLimits limits, int threads = 1)
      : VitState(std::move(weights), limits, VitOptions{.threads = threads}) {}
  ~VitState();
  VitState(VitState&&) noexcept;
  VitState& operator=(VitState&&) noexcept;

  // What its ops run on; nothing else may run there while it works.
  Context& context() const;
  // Launches in one replay of this kind of run (on a device, once it ran); 0 where none is recorded.
  size_t recorded_launches(const struct VitRun& run, int batch) const;

 private:
  friend void submit(VitState&, const VitImage*, int, const struct VitRun&);
  friend const VitResult& collect(VitState&);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct VitRun {
  Prune prune;  // the method and its schedule; see prune.h
  Layout layout = Layout::ragged;
  Output output = Output::logits;
  VitTrace* trace = nullptr;  // optional, filled by collect()
  // Optional: sees every step (model/observer.h). On a device the pass is then queued op by op, with a wait
  // after each.
  const Observer* observer = nullptr;
  // The last block computes only what the read-out rows need, unless this is set (for comparison: the logits
  // are equal).
  bool whole_last_block = false;
  // On a device the pass is recorded once per kind and replayed; set this to queue every op anew (same bits,
  // slower).
  bool eager = false;
};

// Runs `images` (at most limits.max_batch) through the model. Throws Error on shapes that do not fit. The
// result is owned by the state and reused: nothing is allocated after the first call of a kind.
const VitResult& forward(VitState& state, const VitImage* images, int batch, const VitRun& run);

// The two halves of forward(), so that one thread may keep several states busy: submit() returns once the
// work is queued (on a GPU; elsewhere it is done), collect() waits for it. Pixels must stay until collect();
// one submit at a time.
void submit(VitState& state, const VitImage* images, int batch, const VitRun& run);
const VitResult& collect(VitState& state);

// Scatters token rows back to the full grid: out [batch, grid_rows * grid_cols, dim] per image, `fill` where
// a patch is gone.
void unpack_tokens(const VitResult& result, int image, int patches, float fill, float* out);

}  // namespace hedgerow
