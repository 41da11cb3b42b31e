// SPDX-License-Identifier: Apache-2.0
// A language model in a GGUF file: llama and qwen2.
#pragma once

#include "hedgerow/io/gguf.h"
#include "hedgerow/language/lm_file.h"

namespace hedgerow {

class GgufLm final : public LmFile {
 public:
  explicit GgufLm(const std::string& path);
  const GgufHeader& header() const { return header_; }
  Quant stored_as(LmMatrix which, int layer) const override;
  QuantSource matrix(LmMatrix which, int layer) const override;
  std::vector<float> vector(LmVector which, int layer) const override;

 private:
  const GgufTensor* find(const std::string& name) const;
  const GgufTensor& need(const std::string& name, const std::vector<int64_t>& shape) const;
  std::vector<float> values(const GgufTensor& t) const;

  File file_;
  GgufHeader header_;
  bool neighbours_ = false;  // pairs of the rotary embedding are neighbouring rows of q and k
};

}  // namespace hedgerow
