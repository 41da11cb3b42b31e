// SPDX-License-Identifier: Apache-2.0
// The forward pass, in the order of the paper's figure: patches, position, blocks of attention and MLP, norm,
// head. Every step works on packed rows; a pruning method shortens the ranges between the steps
// (prune_steps.h).
#include "hedgerow/vision/vit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/prune_steps.h"
#include "hedgerow/vision/vit_state.h"

namespace hedgerow {
namespace {

using Impl = VitState::Impl;

void norm(Impl& s, const NormWeights& w, const Tensor& out, const Ragged& rows, const Tensor& index = {}) {
  layer_norm(s.on, {.x = s.x(),
                    .index = index,
                    .gamma = vector_of(w.gamma),
                    .beta = vector_of(w.beta),
                    .eps = s.config().norm_eps,
                    .out = out,
                    .rows = rows});
}

void start_batch(Impl& s, const VitImage* images, int batch, const VitRun& run) {
  const VitConfig& c = s.config();
  check_batch(c, s.limits, images, batch);
  const size_t n = static_cast<size_t>(batch);
  s.batch = batch;
  s.current = 0;
  s.masked = s.sized = false;
  s.patches.resize(n);
  s.live.resize(n);
  s.content.resize(n);
  s.pixel_pointers.resize(n);
  s.heights.resize(n);
  s.widths.resize(n);
  s.counts.resize(n);
  s.floors.resize(n);
  s.samples.resize(n);
  s.thresholds.resize(n);
  s.masses.resize(n);
  s.result.batch = batch;
  s.result.classes = c.classes;
  s.result.dim = c.dim;
  s.result.logits = s.logits.as<float>();
  s.result.tokens = nullptr;
  s.result.macs.assign(n, 0.0);
  s.result.kept.resize(n);
  int32_t* offsets = s.offsets();
  offsets[0] = 0;
  for (int i = 0; i < batch; ++i) {
    const VitImage& im = images[i];
    const size_t k = static_cast<size_t>(i);
    const int64_t patches = static_cast<int64_t>(im.height / c.patch) * (im.width / c.patch);
    s.patches[k] = s.live[k] = static_cast<int>(patches);
    s.pixel_pointers[k] = im.pixels;
    s.heights[k] = im.height;
    s.widths[k] = im.width;
    const PruneBudget& budget = run.prune.per_image.size() == n ? run.prune.per_image[k] : run.prune.budget;
    const bool draws = budget.keep_max > budget.keep;
    s.content[k] = im.content_hash || !draws ? im.content_hash : hash_pixels(im);
    s.result.kept[k].assign(static_cast<size_t>(c.layers), 0);
    offsets[i + 1] = offsets[i] + c.special() + static_cast<int>(patches);
  }
}

// x = patches W^T + (position, bias), special rows: token + position.
void embed(Impl& s) {
  const VitConfig& c = s.config();
  const Ragged rows = s.rows();
  for (int i = 0; i < s.batch; ++i)
    s.positions_for(s.heights[static_cast<size_t>(i)] / c.patch, s.widths[static_cast<size_t>(i)] / c.patch);
  float* x = s.now().x.as<float>();
  int32_t* patch = s.now().patch.as<int32_t>();
  s.on.pool().run(s.batch, [&](int i, int) {
    const size_t k = static_cast<size_t>(i);
    const auto& p = s.positions_for(s.heights[k] / c.patch, s.widths[k] / c.patch);
    const int64_t first = rows.begin(i);
    std::memcpy(x + first * c.dim, p.rows.data(), p.rows.size() * 4);
    for (int r = 0; r < rows.length(i); ++r)
      patch[first + r] = r < c.special() ? -(r + 1) : r - c.special() + 1;
  });
  const int width = 3 * c.patch * c.patch;
  const Tensor patches = s.act_rows(s.wide, width);
  patchify(s.on, {.images = s.pixel_pointers.data(),
                  .heights = s.heights.data(),
                  .widths = s.widths.data(),
                  .patch = c.patch,
                  .special = c.special(),
                  .out = patches,
                  .rows = rows});
  linear(s.on, {.x = patches, .w = &s.weights->patch, .residual = s.x(), .out = s.x(), .rows = rows});
  for (int i = 0; i < s.batch; ++i)
    s.result.macs[static_cast<size_t>(i)] +=
        static_cast<double>(s.patches[static_cast<size_t>(i)]) * width * c.dim;
}

AttentionArgs attention_args(Impl& s, const Tensor& q, const Tensor& k, const Tensor& v,
                             const Ragged& q_rows) {
  const VitConfig& c = s.config();
  return {.q = q,
          .kv = {k, v},
          .q_rows = q_rows,
          .kv_rows = s.rows(),
          .key_bias = s.masked || s.sized ? s.column(s.key_bias, Dtype::f32) : Tensor{},
          .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim())),
          .out = heads_view(s.narrow[1].as(), s.dtype(), s.row_capacity, c.heads, c.head_dim())};
}

// The kernel leaves hidden keys out: in masked layouts only the live ones count (`live` must still be
// theirs).
void count_attention(Impl& s, const Ragged& q, const Ragged& kv, bool live_known = true) {
  for (int i = 0; i < s.batch; ++i) {
    const int keys = s.masked && live_known ? s.live[static_cast<size_t>(i)] + s.special() : kv.length(i);
    s.result.macs[static_cast<size_t>(i)] += 2.0 * q.length(i) * keys * s.config().dim;
  }
}

// x += proj(attention(norm1(x)))
void attend(Impl& s, int block, PruneSteps& prune) {
  const VitConfig& c = s.config();
  const VitBlockWeights& w = s.weights->blocks[static_cast<size_t>(block)];
  const Ragged rows = s.rows();
  const double d2 = static_cast<double>(c.dim) * c.dim;
  const Tensor h = s.act_rows(s.narrow[0], c.dim), qkv = s.act_rows(s.wide, 3 * c.dim);
  norm(s, w.norm1, h, rows);
  if (w.qkv.data) {
    linear(s.on, {.x = h, .w = &w.qkv, .out = qkv, .rows = rows});
  } else {  // the last block keeps q apart from k and v
    const Tensor q = matrix_view(s.wide.as(), s.dtype(), s.row_capacity, c.dim, 3 * c.dim);
    const Tensor kv = matrix_view(s.wide.as<char>() + c.dim * bytes_of(s.dtype()), s.dtype(), s.row_capacity,
                                  2 * c.dim, 3 * c.dim);
    linear(s.on, {.x = h, .w = &w.q, .out = q, .rows = rows});
    linear(s.on, {.x = h, .w = &w.kv, .out = kv, .rows = rows});
  }
  s.count(rows, 3 * d2);
  const auto part = [&](int i) {
    return heads_view(s.wide.as<char>() + static_cast<int64_t>(i) * c.dim * bytes_of(s.dtype()), s.dtype(),
                      s.row_capacity, c.heads, c.head_dim(), 3 * c.dim);
  };
  const Tensor q = part(0), k = part(1), v = part(2);
  AttentionArgs args = attention_args(s, q, k, v, rows);
  if (prune.wants_first_row(block)) args.first_row = s.f32_rows(s.first_row, c.heads);

  if (prune.drops_queries(block) && prune.packs()) {
    // Pass 1: one query a picture gives the scores; pass 2: the chosen queries see all keys.
    int32_t* index = s.into.as<int32_t>();
    int32_t* ones = s.next().offsets.as<int32_t>();
    for (int i = 0; i < s.batch; ++i) index[i] = rows.begin(i), ones[i] = i;
    ones[s.batch] = s.batch;
    AttentionArgs first = args;
    first.q_index = vector_view(index, Dtype::i32, s.row_capacity);
    first.q_rows = s.next_rows();
    attention(s.on, first);
    count_attention(s, first.q_rows, rows);
    prune.choose_queries(block, v);
    args.first_row = {};
    args.q_index = s.column(s.kept, Dtype::i32);
    args.q_rows = s.next_rows();
    attention(s.on, args);
    count_attention(s, args.q_rows, rows, false);
    s.gather_rows(s.kept.as<int32_t>());
  } else {
    attention(s.on, args);
    count_attention(s, rows, rows);
  }
  linear(
      s.on,
      {.x = s.act_rows(s.narrow[1], c.dim), .w = &w.proj, .residual = s.x(), .out = s.x(), .rows = s.rows()});
  s.count(s.rows(), d2);
  if (prune.drops_queries(block)) {
    if (prune.packs())
      prune.settle(block);
    else
      prune.mark_queries(block, v);
  }
  prune.after_attention(block, k);
}

// The last block when only the special rows are read: they alone ask, and they alone go on. Same bits for
// those rows.
void attend_for_readout(Impl& s, int block) {
  const VitConfig& c = s.config();
  const VitBlockWeights& w = s.weights->blocks[static_cast<size_t>(block)];
  const Ragged rows = s.rows();
  const double d2 = static_cast<double>(c.dim) * c.dim;
  const Tensor h = s.act_rows(s.narrow[0], c.dim);
  norm(s, w.norm1, h, rows);
  const int64_t bytes = bytes_of(s.dtype());
  const Tensor kv = s.act_rows(s.wide, 2 * c.dim);
  linear(s.on, {.x = h, .w = &w.kv, .out = kv, .rows = rows});
  s.count(rows, 2 * d2);

  int32_t* index = s.kept.as<int32_t>();
  int32_t* to = s.next().offsets.as<int32_t>();
  for (int i = 0, n = 0; i < s.batch; ++i) {
    to[i] = n;
    for (int t = 0; t < c.special(); ++t) index[n++] = rows.begin(i) + t;
    to[i + 1] = n;
  }
  const Ragged asking = s.next_rows();
  norm(s, w.norm1, h, asking, s.column(s.kept, Dtype::i32));
  // Attention reads q here and writes over the normed rows, which nobody needs any more.
  const Tensor q = s.act_rows(s.narrow[1], c.dim);
  linear(s.on, {.x = h, .w = &w.q, .out = q, .rows = asking});
  s.count(asking, d2);
  AttentionArgs args =
      attention_args(s, heads_view(s.narrow[1].as(), s.dtype(), s.row_capacity, c.heads, c.head_dim()),
                     heads_view(s.wide.as(), s.dtype(), s.row_capacity, c.heads, c.head_dim(), 2 * c.dim),
                     heads_view(s.wide.as<char>() + c.dim * bytes, s.dtype(), s.row_capacity, c.heads,
                                c.head_dim(), 2 * c.dim),
                     asking);
  args.out = heads_view(s.narrow[0].as(), s.dtype(), s.row_capacity, c.heads, c.head_dim());
  attention(s.on, args);
  count_attention(s, asking, rows);
  s.gather_rows(index);
  linear(s.on, {.x = h, .w = &w.proj, .residual = s.x(), .out = s.x(), .rows = asking});
  s.count(asking, d2);
}

// x += fc2(gelu(fc1(norm2(x))))
void feed_forward(Impl& s, int block) {
  const VitConfig& c = s.config();
  const VitBlockWeights& w = s.weights->blocks[static_cast<size_t>(block)];
  const Ragged rows = s.rows();
  const Tensor h = s.act_rows(s.narrow[0], c.dim), inside = s.act_rows(s.wide, c.hidden_dim);
  norm(s, w.norm2, h, rows);
  linear(s.on, {.x = h, .w = &w.fc1, .act = c.activation, .out = inside, .rows = rows});
  linear(s.on, {.x = inside, .w = &w.fc2, .residual = s.x(), .out = s.x(), .rows = rows});
  s.count(rows, 2.0 * c.dim * c.hidden_dim);
}

// logits = head(norm(special rows)); with tokens asked for, also norm(all rows alive).
void read_out(Impl& s, const VitRun& run, bool special_only) {
  const VitConfig& c = s.config();
  const Ragged rows = s.rows();
  const int special = c.special();
  int32_t* index = s.kept.as<int32_t>();
  int32_t* ends = s.next().offsets.as<int32_t>();

  if (run.output == Output::tokens) {
    s.result.token_offsets.assign(1, 0);
    s.result.token_patch.clear();
    int n = 0;
    for (int i = 0; i < s.batch; ++i) {
      ends[i] = n;
      for (int r = rows.begin(i); r < rows.end(i); ++r) {
        if (s.masked && !s.alive.as<uint8_t>()[r]) continue;
        index[n++] = r;
        s.result.token_patch.push_back(std::max(0, s.now().patch.as<int32_t>()[r]) - 1);
      }
      s.result.token_offsets.push_back(n);
    }
    ends[s.batch] = n;
    norm(s, s.weights->norm, s.f32_rows(s.unit, c.dim), s.next_rows(), s.column(s.kept, Dtype::i32));
    s.result.tokens = s.unit.as<float>();
  }

  // The read-out rows, [batch * special, dim], and one product over each picture's special rows together.
  const size_t d = static_cast<size_t>(c.dim);
  float* out = s.readout.as<float>();
  for (int i = 0; i < s.batch; ++i)
    for (int t = 0; t < special; ++t) {
      float* to = out + (static_cast<size_t>(i) * static_cast<size_t>(special) + static_cast<size_t>(t)) * d;
      int at = special_only ? rows.begin(i) + t : -1;
      for (int r = rows.begin(i); at < 0 && r < rows.end(i); ++r)
        if (s.now().patch.as<int32_t>()[r] == -(t + 1)) at = r;
      if (at < 0)
        std::memset(to, 0, d * 4);  // stopped, and nobody else reads out
      else
        std::memcpy(to, s.now().x.as<float>() + static_cast<size_t>(at) * d, d * 4);
    }
  if (run.prune.readout) run.prune.readout(s.batch, special * c.dim, out);
  for (int i = 0; i <= s.batch; ++i) ends[i] = i * special;
  // The head is f32 in every dtype: it costs next to nothing, and near ties between classes are decided here.
  const Tensor h = matrix_view(s.readout_normed.as(), Dtype::f32,
                               static_cast<int64_t>(s.limits.max_batch) * special, c.dim);
  layer_norm(s.on,
             {.x = matrix_view(out, Dtype::f32, static_cast<int64_t>(s.limits.max_batch) * special, c.dim),
              .gamma = vector_of(s.weights->norm.gamma),
              .beta = vector_of(s.weights->norm.beta),
              .eps = c.norm_eps,
              .out = h,
              .rows = {ends, s.batch, s.limits.max_batch * special, special}});
  for (int i = 0; i <= s.batch; ++i) ends[i] = i;
  const Ragged pictures{ends, s.batch, s.limits.max_batch, 1};
  linear(s.on, {.x = matrix_view(s.readout_normed.as(), Dtype::f32, s.limits.max_batch, special * c.dim),
                .w = &s.weights->head,
                .out = matrix_view(s.logits.as(), Dtype::f32, s.limits.max_batch, c.classes),
                .rows = pictures});
  s.count(pictures, static_cast<double>(special) * c.dim * c.classes);
}

void run_here(Impl& s, const VitImage* images, int batch, const VitRun& run) {
  start_batch(s, images, batch, run);
  embed(s);
  PruneSteps prune(s, run);
  const int layers = s.config().layers;
  for (int block = 0; block < layers; ++block) {
    const bool last = block + 1 == layers && prune.may_skip_to_readout();
    prune.before_block(block);
    if (last)
      attend_for_readout(s, block);
    else
      attend(s, block, prune);
    feed_forward(s, block);
    if (!last) prune.after_block(block);
    for (int i = 0; i < batch; ++i) {
      const size_t k = static_cast<size_t>(i);
      s.result.kept[k][static_cast<size_t>(block)] = s.config().special() + (last ? 0 : s.live[k]);
    }
  }
  read_out(s, run, prune.may_skip_to_readout());
}

}  // namespace

const VitResult& forward(VitState& state, const VitImage* images, int batch, const VitRun& run) {
  submit(state, images, batch, run);
  return collect(state);
}

void submit(VitState& state, const VitImage* images, int batch, const VitRun& run) {
  Impl& s = state.impl();
  if (s.queue)
    s.queue->submit(images, batch, run);
  else
    run_here(s, images, batch, run);
}

const VitResult& collect(VitState& state) {
  Impl& s = state.impl();
  return s.queue ? s.queue->collect() : s.result;
}

void unpack_tokens(const VitResult& result, int image, int patches, float fill, float* out) {
  require(result.tokens != nullptr, "unpack_tokens: wanted a result with tokens (Output::tokens)");
  require(image >= 0 && image < result.batch, "unpack_tokens: no such picture in this result");
  const size_t d = static_cast<size_t>(result.dim), i = static_cast<size_t>(image);
  std::fill(out, out + static_cast<size_t>(patches) * d, fill);
  for (int r = result.token_offsets[i]; r < result.token_offsets[i + 1]; ++r) {
    const int p = result.token_patch[static_cast<size_t>(r)];
    if (p < 0) continue;
    require(p < patches, "unpack_tokens: the grid has fewer patches than the picture had");
    std::memcpy(out + static_cast<size_t>(p) * d, result.tokens + static_cast<size_t>(r) * d, d * 4);
  }
}

}  // namespace hedgerow
