// SPDX-License-Identifier: Apache-2.0
// The forward pass of a Llama, and what it keeps.
#include "hedgerow/language/llama_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "hedgerow/core/error.h"

namespace hedgerow {
namespace {

size_t floats(int64_t rows, int64_t columns) { return static_cast<size_t>(rows * columns) * sizeof(float); }

int qkv_columns(const LlamaConfig& c) { return (c.heads + 2 * c.kv_heads) * c.head_dim; }

size_t between_bytes_of(const Llama& m, int rows, int logit_rows) {
  size_t most = linear_workspace_bytes(logit_rows, m.output());
  for (const LlamaLayer& l : m.layers)
    most = std::max({most, workspace_bytes(rows, l.qkv, nullptr), linear_workspace_bytes(rows, l.o),
                     workspace_bytes(rows, l.gate_up, &l.down)});
  return most + 512;
}

}  // namespace

LlamaPass::LlamaPass(std::shared_ptr<const Llama> model, Context& on, const LlamaLimits& limits)
    : model_(std::move(model)),
      on_(on),
      limits_(limits),
      pass_(on, limits.sequences, 0, 1, 0),
      lengths_(static_cast<size_t>(limits.sequences), 0),
      trees_(static_cast<size_t>(limits.sequences)),
      frequencies_(rope_frequencies(model_->config)) {
  const LlamaConfig& c = model_->config;
  require(&on.backend() == model_->backend,
          "language model: wanted a context of its own backend, found another");
  require(limits.rows >= 1 && limits.logit_rows >= 1 && limits.sequences >= 1 && limits.context >= 1,
          "language model: limits: wanted 1 or more of each");
  const int slots = (limits.context + kCacheBlock - 1) / kCacheBlock * kCacheBlock;
  const int hidden = std::max(c.dim, c.heads * c.head_dim);
  for (int i = 0; i < c.layers; ++i) {
    KvCache cache{.dtype = limits.cache,
                  .kv_heads = c.kv_heads,
                  .head_dim = c.head_dim,
                  .sequences = limits.sequences,
                  .slots = slots};
    for (void** part : {&cache.k, &cache.v})
      *part = cache_memory_.emplace_back(untouched_buffer(static_cast<size_t>(cache_bytes(cache)))).as();
    layers_.push_back(cache);
  }
  x_ = pass_.allocate(floats(limits.rows, c.dim)), qkv_ = pass_.allocate(floats(limits.rows, qkv_columns(c)));
  attended_ = pass_.allocate(floats(limits.rows, hidden));
  between_ = pass_.allocate(between_bytes_of(*model_, limits.rows, limits.logit_rows));
  rotation_ = untouched_buffer(floats(slots, c.head_dim));
  normed_ = pass_.allocate(floats(limits.logit_rows, c.dim));
  if (limits.outputs > 0 && limits.outputs < c.vocab) some_outputs_ = model_->first_outputs(limits.outputs);
  logits_ = untouched_buffer(floats(limits.logit_rows, outputs()));
  on.reserve_scratch(std::max(on.backend().scratch_bytes(0, 1, 32), on.backend().cache_scratch_bytes(slots)));
}

// Angles in f32, as position x frequency, and their cosines and sines: what transformers computes.
void LlamaPass::need_positions(int count) {
  const int hd = model_->config.head_dim;
  for (; positions_known_ < count; ++positions_known_) {
    float* row = rotation_.as<float>() + static_cast<int64_t>(positions_known_) * hd;
    for (int i = 0; i < hd / 2; ++i) {
      const double angle =
          static_cast<double>(static_cast<float>(positions_known_) * frequencies_[static_cast<size_t>(i)]);
      row[i] = static_cast<float>(std::cos(angle)), row[i + hd / 2] = static_cast<float>(std::sin(angle));
    }
  }
}

void LlamaPass::lay_out(const std::vector<LlamaRows>& batch) {
  for (auto* v :
       {&ids_, &positions_, &offsets_, &sequences_, &filled_, &pending_, &ancestors_, &wanted_rows_})
    v->clear();
  offsets_.push_back(0);
  longest_ = 0;
  visibility_ = Visibility::causal;
  for (const LlamaRows& r : batch) visibility_ = r.parents ? Visibility::tree : visibility_;
  for (const LlamaRows& r : batch) add_rows(r);
  wanted_ = static_cast<int>(wanted_rows_.size());
  if (wanted_ > limits_.logit_rows)
    throw Error(fmt::format("language model: wanted logits of at most {} rows a pass, found {}",
                            limits_.logit_rows, wanted_));
}

void LlamaPass::add_rows(const LlamaRows& r) {
  if (r.sequence < 0 || r.sequence >= limits_.sequences || r.count < 1)
    throw Error(fmt::format("language model: wanted rows of sequences 0 to {}, found {} rows of {}",
                            limits_.sequences - 1, r.count, r.sequence));
  OpenTree& tree = trees_[static_cast<size_t>(r.sequence)];
  if (!r.extend) tree.ancestors.clear(), tree.depth.clear();
  const int filled = length(r.sequence), first = offsets_.back(), begun = static_cast<int>(tree.depth.size());
  if (filled + begun + r.count > limits_.context)
    throw Error(fmt::format("language model: wanted at most {} tokens (the context), found {}",
                            limits_.context, filled + begun + r.count));
  if (first + r.count > limits_.rows || (visibility_ == Visibility::tree && begun + r.count > 64))
    throw Error(fmt::format("language model: wanted at most {} rows a pass and 64 a tree, found {}",
                            limits_.rows, first + begun + r.count));
  for (int i = 0; i < r.count; ++i) {
    if (r.tokens[i] < 0 || r.tokens[i] >= model_->config.vocab)
      throw Error(fmt::format("language model: wanted tokens 0 to {}, found {}", model_->config.vocab - 1,
                              r.tokens[i]));
    const int own = begun + i, parent = r.parents ? r.parents[i] : own - 1;
    if (parent >= own || (parent < 0 && own > 0 && !r.parents) || parent < -1)
      throw Error(fmt::format("language model: tree: wanted a parent before row {}, found {}", own, parent));
    const size_t up = static_cast<size_t>(parent);
    tree.depth.push_back(parent >= 0 ? tree.depth[up] + 1 : 0);
    tree.ancestors.push_back((parent >= 0 ? tree.ancestors[up] : 0) | uint64_t{1} << (own & 63));
    ids_.push_back(r.tokens[i]), positions_.push_back(filled + tree.depth.back());
    ancestors_.push_back(static_cast<int32_t>(static_cast<uint32_t>(tree.ancestors.back())));
    ancestors_.push_back(static_cast<int32_t>(static_cast<uint32_t>(tree.ancestors.back() >> 32)));
    if (r.logits == Logits::all || (r.logits == Logits::last && i == r.count - 1))
      wanted_rows_.push_back(first + i);
  }
  need_positions(filled + begun + r.count);
  offsets_.push_back(first + r.count), sequences_.push_back(r.sequence);
  filled_.push_back(filled), pending_.push_back(begun);
  longest_ = std::max(longest_, r.count);
}

Ragged LlamaPass::rows() const {
  return {.offsets = offsets_.data(),
          .batch = static_cast<int>(sequences_.size()),
          .row_capacity = offsets_.back(),
          .max_len = longest_};
}

void LlamaPass::see(const char* name, int layer, const Tensor& value) {
  if (observer) pass_.observe(observer, name, layer, value, rows(), positions_.data());
}

void LlamaPass::queue() {
  const LlamaConfig& c = model_->config;
  const Ragged rows = this->rows();
  const int n = rows.row_capacity, queries = c.heads * c.head_dim, keys = c.kv_heads * c.head_dim;
  const int64_t wide = qkv_columns(c);
  const Workspace between{between_.as(), between_.bytes()};
  Stream x{.x = matrix_view(x_.as(), Dtype::f32, n, c.dim)};
  const Tensor qkv = matrix_view(qkv_.as(), Dtype::f32, n, wide);
  float* const first = qkv_.as<float>();
  const Tensor q = heads_view(first, Dtype::f32, n, c.heads, c.head_dim, wide),
               k = heads_view(first + queries, Dtype::f32, n, c.kv_heads, c.head_dim, wide),
               v = heads_view(first + queries + keys, Dtype::f32, n, c.kv_heads, c.head_dim, wide);
  const Tensor attended = matrix_view(attended_.as(), Dtype::f32, n, queries);
  const Cached at{sequences_.data(), filled_.data(), pending_.data()};

  embed(on_,
        {.ids = vector_view(ids_.data(), Dtype::i32, n), .w = &model_->embedding, .out = x.x, .rows = rows});
  see("embedding", -1, x.x);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const LlamaLayer& layer = model_->layers[i];
    const int index = static_cast<int>(i);
    norm_linear(on_, {.x = x, .w = &layer.qkv, .out = qkv, .between = between, .rows = rows});
    append_kv(on_, {.q = q,
                    .k = k,
                    .v = v,
                    .positions = vector_view(positions_.data(), Dtype::i32, n),
                    .rotation = matrix_view(rotation_.as(), Dtype::f32, positions_known_, c.head_dim),
                    .to = layers_[i],
                    .at = at,
                    .rows = rows});
    see("qkv", index, qkv);
    cached_attention(on_, {.q = q,
                           .cache = layers_[i],
                           .at = at,
                           .visibility = visibility_,
                           .ancestors = matrix_view(ancestors_.data(), Dtype::i32, n, 2),
                           .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
                           .out = heads_view(attended_.as(), Dtype::f32, n, c.heads, c.head_dim),
                           .rows = rows});
    see("attention", index, attended);
    residual_linear(
        on_, {.x = attended, .w = &layer.o, .residual = x.x, .to = &x, .between = between, .rows = rows});
    see("projection", index, x.x);
    feed_forward(on_, {.x = &x,
                       .w1 = &layer.gate_up,
                       .w2 = &layer.down,
                       .act = Activation::silu_gated,
                       .between = between,
                       .rows = rows});
    see("block", index, x.x);
  }
  if (wanted_ == 0) return;
  const int32_t whole[] = {0, wanted_};
  const Ragged wanted{.offsets = whole, .batch = 1, .row_capacity = wanted_, .max_len = wanted_};
  const Tensor normed = matrix_view(normed_.as(), Dtype::f32, wanted_, c.dim),
               logits = matrix_view(logits_.as(), Dtype::f32, wanted_, outputs());
  layer_norm(on_, {.x = x.x,
                   .index = vector_view(wanted_rows_.data(), Dtype::i32, wanted_),
                   .gamma = vector_view(model_->final_gamma.as(), Dtype::f32, c.dim),
                   .beta = {},
                   .eps = c.eps,
                   .kind = NormKind::rms,
                   .out = normed,
                   .rows = wanted});
  linear(on_, {.x = normed,
               .w = some_outputs_.n ? &some_outputs_ : &model_->output(),
               .out = logits,
               .between = between,
               .rows = wanted});
}

void LlamaPass::forward(const std::vector<LlamaRows>& batch) {
  lay_out(batch);
  queue();
  pass_.wait();
}

int LlamaPass::read(int sequence, const int32_t* tokens, int count, Logits last,
                    const std::function<bool()>& go_on) {
  int at = 0;
  while (at < count && (!go_on || go_on())) {
    const int now = std::min(limits_.rows, count - at);
    forward({{.sequence = sequence,
              .tokens = tokens + at,
              .count = now,
              .logits = at + now == count ? last : Logits::none}});
    keep(sequence, now);
    at += now;
  }
  return at;
}

void LlamaPass::best(int first, int rows, int count, int32_t* columns, float* values, float* log_sums) {
  const int32_t whole[] = {0, rows};
  top_columns(on_, {.x = matrix_view(logits(first), Dtype::f32, rows, outputs()),
                    .count = count,
                    .columns = matrix_view(columns, Dtype::i32, rows, count),
                    .values = values ? matrix_view(values, Dtype::f32, rows, count) : Tensor{},
                    .log_sums = log_sums ? vector_view(log_sums, Dtype::f32, rows) : Tensor{},
                    .rows = {.offsets = whole, .batch = 1, .row_capacity = rows, .max_len = rows}});
}

void LlamaPass::keep(int sequence, int count) {
  OpenTree& tree = trees_[static_cast<size_t>(sequence)];
  require(count >= 0 && count <= static_cast<int>(tree.depth.size()),
          "language model: keep: wanted rows that are there");
  lengths_[static_cast<size_t>(sequence)] += count;
  tree.ancestors.clear(), tree.depth.clear();
}

void LlamaPass::keep(int sequence, const int32_t* path, int count) {
  const int32_t whole[] = {0, count}, filled = length(sequence), entry = sequence;
  bool moves = false;
  for (int i = 0; i < count; ++i) moves = moves || path[i] != i;
  if (moves)
    compact_kv(on_, {.layers = layers_.data(),
                     .count = static_cast<int>(layers_.size()),
                     .at = {&entry, &filled, nullptr},
                     .path = vector_view(path, Dtype::i32, count),
                     .rows = {.offsets = whole, .batch = 1, .row_capacity = count, .max_len = count}});
  keep(sequence, count);
}

void LlamaPass::truncate(int sequence, int length) {
  require(length >= 0 && length <= this->length(sequence),
          "language model: truncate: wanted a length that is there");
  lengths_[static_cast<size_t>(sequence)] = length;
}

}  // namespace hedgerow
