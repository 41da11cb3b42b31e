// SPDX-License-Identifier: Apache-2.0
// Matrices as GPTQ (Frantar et al. 2022) leaves them in safetensors, 4 and 8 bits: qweight int32 [k / per,
// n], columns of x packed low bits first; qzeros int32 [groups, n / per]; scales [groups, n]; g_idx [k].
//
// A value is scale (code - zero). Files of format v1 store zero - 1, those of v2 zero: the declared format is
// believed, unless all zeros are the one value that a symmetric file of the other format has.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "hedgerow/io/checkpoint.h"
#include "hedgerow/kernels/ops/quant.h"

namespace hedgerow {

class Gptq {
 public:
  // `config`: quantization_config, or quantize_config.json. `zeros`: "", or "v1" or "v2" said by the user.
  Gptq(const Checkpoint& files, const nlohmann::json& config, const std::string& where,
       const std::string& zeros);

  // Error unless the module's tensors are there in their shapes; their names.
  std::vector<std::string> check(const std::string& module, int n, int k) const;
  QuantSource matrix(const std::string& module, int n, int k) const;
  // Of which bits and groups that will be; reads no more than the module's group numbers.
  Quant stored_as(const std::string& module, int k) const;
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Grouping;
  Grouping grouping(const std::string& module, int k) const;
  void decide_zeros(const std::string& said);
  int groups(int k) const;

  const Checkpoint& files_;
  std::string where_, format_;
  int bits_ = 4, group_ = 128;
  bool act_order_ = false, symmetric_ = true;
  int stored_less_ = 1;  // v1: what is stored is one less than the zero
  std::vector<std::string> notes_;
};

}  // namespace hedgerow
