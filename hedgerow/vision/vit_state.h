// SPDX-License-Identifier: Apache-2.0
// The buffers of one forward pass, sized once, and the few steps that both the model (vit.cpp) and the
// pruning methods (prune.cpp, merge.cpp) take on them.
#pragma once

#include <memory>
#include <vector>

#include "hedgerow/vision/paper_gate.h"
#include "hedgerow/vision/vit.h"
#include "hedgerow/vision/vit_queue.h"
#include "hedgerow/vision/vit_weights.h"

namespace hedgerow {

// What travels with each token row. Two sets: a step that drops rows reads one and fills the other.
struct RowSet {
  Buffer x;        // f32 [capacity, dim] the residual stream
  Buffer patch;    // i32 [capacity] patch position + 1; 0 for special, fused and padding rows
  Buffer size;     // f32 [capacity] patches merged into the row (merging methods)
  Buffer offsets;  // i32 [batch + 1]
};

// Throw Error unless the batch fits the model and the state.
void check_batch(const VitConfig& config, const VitLimits& limits, const VitImage* images, int batch);
uint64_t hash_pixels(const VitImage& image);

struct VitState::Impl {
  Impl(std::shared_ptr<const VitWeights> weights, VitLimits limits, const VitOptions& options);

  std::shared_ptr<const VitWeights> weights;
  VitLimits limits;
  Context on;
  std::unique_ptr<VitQueue>
      queue;  // backends with memory of their own: it holds everything, the rest here is unused
  int row_capacity = 0, max_len = 0;

  RowSet sets[2];
  int current = 0;
  Buffer narrow[2];  // f [capacity, dim]: normed rows; attention's output
  Buffer wide;       // f [capacity, max(3 dim, hidden, 3 patch^2)]: patches; q, k, v; the MLP's inside
  Buffer alive;      // u8 [capacity]: masked layouts
  Buffer key_bias;   // f32 [capacity]
  Buffer first_row;  // f32 [capacity, heads]
  Buffer score, weight, unit, similarity;  // f32 [capacity] ([capacity, dim] for unit)
  Buffer kept, best, into;                 // i32 [capacity]
  Buffer role;                             // u8 [capacity]
  Buffer readout, readout_normed;          // f32 [batch * special, dim]
  Buffer logits;                           // f32 [batch, classes]

  // The batch at hand.
  int batch = 0;
  bool masked = false;            // a layout in which rows may be dead: attention needs key_bias
  bool sized = false;             // a merging method: attention adds log(size)
  std::vector<int> patches;       // [batch] patches at the start
  std::vector<int> live;          // [batch] rows alive now, special rows not counted
  std::vector<uint64_t> content;  // [batch] hash of the picture, seeds what is drawn for it
  std::vector<int32_t>
      rep;  // trace only: packed row that stands for each patch, -1 = none; images one after another
  std::vector<int> rep_begin;

  // Rows every picture of a grid starts from, made once per grid.
  struct Positions {
    int grid_h, grid_w;
    std::vector<float> rows;
  };
  std::vector<Positions> positions;
  std::vector<const float*> pixel_pointers;
  std::vector<int32_t> heights, widths;
  // Per-image rule values handed to select.
  std::vector<int32_t> counts, floors, samples;
  std::vector<float> thresholds;
  std::vector<double> masses;

  std::unique_ptr<PaperGate> gate;  // paper-dynamicvit, made at first use
  const PaperGate& paper_gate(uint64_t seed);

  VitResult result;

  const VitConfig& config() const { return weights->config; }
  int special() const { return weights->config.special(); }
  Dtype dtype() const { return weights->dtype; }
  RowSet& now() { return sets[current]; }
  RowSet& next() { return sets[1 - current]; }
  int32_t* offsets() { return now().offsets.as<int32_t>(); }
  Ragged rows() { return {offsets(), batch, row_capacity, max_len}; }
  Ragged next_rows() { return {next().offsets.as<int32_t>(), batch, row_capacity, max_len}; }

  // Views over the capacity; ops take live counts from a Ragged.
  Tensor f32_rows(const Buffer& b, int cols) const {
    return matrix_view(b.as(), Dtype::f32, row_capacity, cols);
  }
  Tensor act_rows(const Buffer& b, int cols) const {
    return matrix_view(b.as(), dtype(), row_capacity, cols);
  }
  Tensor column(const Buffer& b, Dtype d) const { return vector_view(b.as(), d, row_capacity); }
  Tensor x() { return f32_rows(now().x, config().dim); }
  Tensor alive_or_none() const { return masked ? column(alive, Dtype::u8) : Tensor{}; }

  const Positions& positions_for(int grid_h, int grid_w);
  // Adds rows * per_row multiply-adds to each picture.
  void count(const Ragged& rows, double per_row);
  // Moves the residual rows and what travels with them: next[i] = now[index[i]] (-1: zeros), then makes next
  // current. next's offsets must be filled.
  void gather_rows(const int32_t* index);
  // Rebuilds key_bias from alive and size.
  void refresh_key_bias();
};

}  // namespace hedgerow
