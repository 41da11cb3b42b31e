// SPDX-License-Identifier: Apache-2.0
// Loading and preprocessing for the comparison scripts in tests/python: reads one command a line, writes raw
// values.
//
//   decode PICTURE OUT                 u8 HWC
//   resize PICTURE W H FILTER OUT      u8 HWC
//   pixels MODEL SIZE PICTURE OUT      f32 CHW, as the network sees it (SIZE 0: as trained)
//   positions MODEL H W OUT            f32 position embeddings of a grid of H x W patches
//   model MODEL OUT                    f32 of all parameters, in the order of vit.h
//
// Answers "ok WIDTH HEIGHT" or "error MESSAGE" a line; names hold no blanks.
#include <fstream>
#include <iostream>
#include <sstream>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/vit_load.h"

namespace hedgerow {
namespace {

void append(std::vector<float>& all, std::initializer_list<const std::vector<float>*> parts) {
  for (const auto* p : parts) all.insert(all.end(), p->begin(), p->end());
}

std::vector<float> all_parameters(const VitParameters& p) {
  std::vector<float> all;
  append(all, {&p.cls_token, &p.dist_token, &p.pos_embed, &p.patch_weight, &p.patch_bias});
  for (const auto& b : p.blocks) {
    append(all, {&b.norm1_weight, &b.norm1_bias, &b.qkv_weight, &b.qkv_bias, &b.proj_weight, &b.proj_bias});
    append(all, {&b.norm2_weight, &b.norm2_bias, &b.fc1_weight, &b.fc1_bias, &b.fc2_weight, &b.fc2_bias});
  }
  append(all, {&p.norm_weight, &p.norm_bias, &p.head_weight, &p.head_bias, &p.head_dist_weight,
               &p.head_dist_bias});
  for (const auto& q : p.predictors) {
    append(all, {&q.norm_weight, &q.norm_bias, &q.in_weight, &q.in_bias, &q.out0_weight, &q.out0_bias});
    append(all, {&q.out2_weight, &q.out2_bias, &q.out4_weight, &q.out4_bias});
  }
  return all;
}

template <class T>
void write(const std::string& path, const std::vector<T>& values) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(T)));
}

void answer(std::istringstream line) {
  std::string command, model, picture, filter, out;
  int width = 0, height = 0;
  line >> command;
  if (command == "decode") {
    line >> picture >> out;
    const Picture p = read_picture(picture);
    write(out, p.rgb);
    width = p.width, height = p.height;
  } else if (command == "resize") {
    line >> picture >> width >> height >> filter >> out;
    write(out, resize(read_picture(picture), width, height, interpolation_named(filter)).rgb);
  } else if (command == "pixels") {
    line >> model >> width >> picture >> out;
    static std::string loaded;
    static Preprocess how;
    if (loaded != model + std::to_string(width)) how = load_vit(model, width).preprocess;
    loaded = model + std::to_string(width);
    write(out, preprocess(read_picture(picture), how));
    width = how.width, height = how.height;
  } else if (command == "positions") {
    line >> model >> height >> width >> out;
    write(out, resample_positions(load_vit(model).parameters, height, width));
  } else if (command == "model") {
    line >> model >> out;
    write(out, all_parameters(load_vit(model).parameters));
  } else {
    throw Error("unknown command " + command);
  }
  std::cout << "ok " << width << ' ' << height << std::endl;
}

}  // namespace
}  // namespace hedgerow

int main() {
  for (std::string line; std::getline(std::cin, line);) try {
      hedgerow::answer(std::istringstream(line));
    } catch (const hedgerow::Error& e) {
      std::cout << "error " << e.what() << std::endl;
    }
}
