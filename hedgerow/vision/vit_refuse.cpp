// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/vision/vit_refuse.h"

#include <fmt/format.h>

#include "hedgerow/core/error.h"

namespace hedgerow {
namespace {

// Tensors that are known to belong to models that we do not compute, and what to call them.
constexpr struct {
  const char* part;
  const char* name;
} kUnsupported[] = {{".ls1.", "LayerScale"},
                    {".ls2.", "LayerScale"},
                    {"gamma_1", "LayerScale"},
                    {"layer_scale", "LayerScale"},
                    {"lambda1", "LayerScale"},
                    {"reg_token", "register tokens"},
                    {"register_tokens", "register tokens"},
                    {"fc_norm", "average pooling (fc_norm)"},
                    {"attn_pool", "attention pooling"},
                    {"q_norm", "query and key norm"},
                    {"k_norm", "query and key norm"},
                    {"norm_pre", "a norm before the blocks"},
                    {"patch_embed.backbone", "a convolutional stem"},
                    {"patch_embed.stem", "a convolutional stem"},
                    {"patch_embed.conv", "a convolutional stem"},
                    {"patch_embed.proj.0", "a convolutional stem"},
                    {"mlp.w12", "SwiGLU"},
                    {"mlp.fc1_g", "SwiGLU"},
                    {"mlp.w1", "SwiGLU"},
                    {"mlp.norm", "a norm inside the MLP"},
                    {"attn.norm", "a norm inside attention"},
                    {"rope", "rotary positions"},
                    {"relative_position", "relative positions"},
                    {"rel_pos", "relative positions"},
                    {"pre_logits", "a pre-logits layer"},
                    {"mask_token", "a mask token"},
                    {"bottleneck", "a bottleneck"}};

}  // namespace

void refuse_other_architectures(const Checkpoint& file) {
  for (const auto& [part, name] : kUnsupported)
    for (const std::string& tensor : file.names())
      if (tensor.find(part) != std::string::npos)
        throw Error(fmt::format("{}: {} (tensor {}) is not supported", file.path(), name, tensor));
}

}  // namespace hedgerow
