// SPDX-License-Identifier: Apache-2.0
// What a config.json says about a ViT, whichever library wrote it. Shapes in the checkpoint fill in the rest.
#pragma once

#include <string>
#include <vector>

#include "hedgerow/vision/preprocess.h"
#include "hedgerow/vision/vit.h"

namespace hedgerow {

enum class VitNames : uint8_t { timm, huggingface };  // how tensors are called

struct VitDescription {
  std::string lineage =
      "timm";  // timm, huggingface, deit, dynamicvit, evit, ats: decides how positions are resampled
  std::string architecture;                  // as the file calls it; may be empty
  int image_size = 0, patch = 0, heads = 0;  // 0: not said
  int dim = 0, layers = 0, hidden_dim = 0, classes = 0;
  Activation activation = Activation::gelu_erf;
  float norm_eps = 1e-6f;
  Preprocess preprocess;
  std::vector<std::string> class_names;
  std::vector<std::string> notes;
};

// `config` is the text of config.json, `preprocessor` that of preprocessor_config.json; either may be empty.
// Error, naming the key, on what is not a ViT that is supported. `where` opens every message.
VitDescription describe_vit(const std::string& config, const std::string& preprocessor,
                            const std::string& where);

}  // namespace hedgerow
