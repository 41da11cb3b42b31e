// SPDX-License-Identifier: Apache-2.0
// The shape of a Llama-family model (Touvron et al. 2023; with biases on q, k and v: Qwen2), as any file says
// it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hedgerow {

struct LlamaConfig {
  std::string family;  // "llama", "qwen2"
  int dim = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, hidden_dim = 0, vocab = 0;
  int context = 0;    // positions the model was made for
  float eps = 1e-5f;  // of its RMS norms
  double rope_base = 10000;
  // What each pair's frequency is divided by: [head_dim / 2], or empty for none (linear: all alike; llama3:
  // by wavelength; rope_freqs of a GGUF file).
  std::vector<float> rope_factors;
  bool tied = false;  // the embedding is the output matrix too

  int64_t parameters() const;  // multiplied for a row, the output matrix among them
};

// Frequencies of the pairs, in f32 as transformers computes them: 1 / base^(2 i / head_dim), over the
// factors.
std::vector<float> rope_frequencies(const LlamaConfig& config);
// Llama 3.1's factors: long wavelengths over `factor`, short ones as they are, in between a blend.
std::vector<float> llama3_factors(double base, int head_dim, double factor, double low, double high,
                                  double original_context);
// Error unless every number is one that can be run: the field, what was wanted, what was found.
void check_config(const LlamaConfig& config, const std::string& where);

}  // namespace hedgerow
