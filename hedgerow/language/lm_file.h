// SPDX-License-Identifier: Apache-2.0
// A language model as a file or folder has it: its shape, its matrices to be read row by row, its vectors,
// and what goes with its text. One interface for every format; open_lm() recognises them by what they are.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hedgerow/kernels/ops/quant.h"
#include "hedgerow/language/llama_config.h"

namespace hedgerow {

enum class LmMatrix : uint8_t { embedding, output, q, k, v, o, gate, up, down };
enum class LmVector : uint8_t { attention_norm, feed_forward_norm, final_norm, q_bias, k_bias, v_bias };
// Those of every layer.
inline constexpr LmMatrix kLayerMatrices[] = {LmMatrix::q,    LmMatrix::k,  LmMatrix::v,   LmMatrix::o,
                                              LmMatrix::gate, LmMatrix::up, LmMatrix::down};
inline constexpr LmVector kLayerNorms[] = {LmVector::attention_norm, LmVector::feed_forward_norm};
inline constexpr LmVector kLayerBiases[] = {LmVector::q_bias, LmVector::k_bias, LmVector::v_bias};

// What weights that a file has as floats become: as they are, or rounded on the way in.
enum class WeightsAs : uint8_t { file, bf16, int8, int4 };

class LmFile {
 public:
  virtual ~LmFile() = default;
  const LlamaConfig& config() const { return config_; }
  const std::string& where() const { return where_; }
  // What was noticed that a user should know ("zeros say v2, the config says v1").
  const std::vector<std::string>& notes() const { return notes_; }

  // How a matrix is stored, but for whether its zeros are all alike: found without reading its values.
  virtual Quant stored_as(LmMatrix which, int layer) const = 0;
  // Rows of q and k are in the order in which pairs of the rotary embedding are half a head apart. The source
  // lives no longer than this. `layer` is -1 for those outside the layers.
  virtual QuantSource matrix(LmMatrix which, int layer) const = 0;
  // Empty where the model has none (biases).
  virtual std::vector<float> vector(LmVector which, int layer) const = 0;

 protected:
  LlamaConfig config_;
  std::string where_;
  std::vector<std::string> notes_;
};

// Outputs and columns of a matrix of this shape.
struct MatrixShape {
  int n, k;
};
MatrixShape shape_of(const LlamaConfig& config, LmMatrix which);
int length_of(const LlamaConfig& config, LmVector which);
// Row r of a head whose pairs are half a head apart, in files where the two of a pair are neighbours.
HEDGEROW_INLINE int neighbours_row(int r, int head_dim) {
  const int in = r % head_dim, half = head_dim / 2;
  return r - in + (in < half ? 2 * in : 2 * (in - half) + 1);
}

struct LmOpen {
  std::string path;             // a .gguf file, a Hugging Face folder (safetensors; GPTQ), or random:SHAPE
  std::string gptq_zeros = {};  // "", "v1" or "v2"
};
std::unique_ptr<LmFile> open_lm(const LmOpen& what);

// What values become that are rounded as they are read: int8 and int4 in groups of 32, symmetric. Codes stay.
Quant rounded_to(const Quant& stored, WeightsAs as);
QuantSource rounded_to(QuantSource values, WeightsAs as);

}  // namespace hedgerow
