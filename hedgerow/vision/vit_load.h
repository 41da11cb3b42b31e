// SPDX-License-Identifier: Apache-2.0
// A ViT or DeiT from a checkpoint of timm, Hugging Face, or our own converter, by path or by name, or with
// random weights.
#pragma once

#include <string>
#include <vector>

#include "hedgerow/io/find_model.h"
#include "hedgerow/vision/positions.h"
#include "hedgerow/vision/preprocess.h"
#include "hedgerow/vision/vit.h"

namespace hedgerow {

struct VitCheckpoint {
  VitParameters parameters;
  Preprocess preprocess;
  std::string path;                      // where it was found; "random:..." for random weights
  std::string architecture;              // as its config calls it; may be empty
  std::string lineage;                   // timm, huggingface, deit, dynamicvit, evit, ats, hedgerow, random
  std::vector<std::string> class_names;  // empty: the file names none
  std::vector<std::string>
      notes;  // one line each, worth telling the user: what was assumed, resampled, looks wrong
  std::string dtype_in_file;  // "F32", "BF16", ...; of the largest tensor
};

// `model` is a name (see find_model), a folder, a .safetensors file, or "random:SHAPE" (see vit_random.h).
// image_size 0: as trained; else position embeddings are resampled and preprocessing follows. Error in one
// line, naming what is missing or not supported.
VitCheckpoint load_vit(const std::string& model, int image_size = 0);

}  // namespace hedgerow
