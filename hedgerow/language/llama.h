// SPDX-License-Identifier: Apache-2.0
// A Llama-family model packed for a backend. Read-only once loaded: any number of states share it.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "hedgerow/kernels/kernels.h"
#include "hedgerow/language/lm_file.h"

namespace hedgerow {

struct LlamaLayer {
  PackedNormLinear qkv;  // bands q, k, v
  PackedLinear o;
  PackedNormLinear gate_up;  // bands gate, up
  PackedLinear down;
};

struct Llama {
  LlamaConfig config;
  const Backend* backend = nullptr;
  PackedLinear embedding;
  PackedLinear untied;  // the output matrix, where it is one of its own
  Buffer final_gamma;
  std::vector<LlamaLayer> layers;

  const PackedLinear& output() const { return config.tied ? embedding : untied; }
  // The output matrix's first rows alone: a view, of tokens that byte-level BPE merged first, which are those
  // that text has most of. For drafts, whose choices another model checks.
  PackedLinear first_outputs(int n) const;
  // Bytes of weights that one row reads: all but the embedding, if that is not the output matrix too.
  int64_t bytes_a_row() const;
};

struct LlamaLoad {
  WeightsAs weights = WeightsAs::file;
  RowsOf activations = RowsOf::int8;
  std::function<void(double done)> progress = {};  // share of the matrices packed
};
// Packs tensor by tensor as the file is read. Error where the packed weights would not fit free memory.
std::shared_ptr<const Llama> load_llama(const LmFile& file, const Backend& on, const LlamaLoad& how = {});

}  // namespace hedgerow
