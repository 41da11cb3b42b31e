// SPDX-License-Identifier: Apache-2.0
// The model, in the order of the paper's figure (Dosovitskiy et al. 2021): patches, positions, blocks of
// attention and MLP, norm, head. Every step works on packed rows; a pruning method shortens the ranges
// between the steps.
#include "hedgerow/vision/vit_pass.h"

#include <cmath>

namespace hedgerow {

Tensor VitPass::act(void* at, int cols, int64_t first, int64_t stride) const {
  return matrix_view(static_cast<char*>(at) + first * bytes_of(dtype()), dtype(), capacity_, cols, stride);
}

Ragged VitPass::leading() const {
  return {lead_offsets_.as<int32_t>(), batch_, batch_ * special(), special()};
}
Tensor VitPass::read_out_rows() const {
  return matrix_view(small_x_.as(), weights_->stream, static_cast<int64_t>(batch_) * special(), config().dim);
}

void VitPass::see(const char* name, int block, const Tensor& value, const Ragged& rows,
                  const int32_t* patch) {
  if (run_->observer) pass_.observe(*run_->observer, name, block, value, rows, patch);
}

void VitPass::norm(const NormWeights& w, const Tensor& x, const Tensor& out, const Ragged& rows,
                   const Tensor& index, float eps) {
  layer_norm(on_, {.x = x,
                   .index = index,
                   .gamma = vector_of(w.gamma),
                   .beta = vector_of(w.beta),
                   .eps = eps > 0 ? eps : config().norm_eps,
                   .out = out,
                   .rows = rows});
}

void VitPass::rows_are(const Rows& rows) {
  now_ = rows;
  stream_ = {.x = stream(sets_[rows.set].x), .moments = moments()};
}

// x = patches W^T + (token, position, bias)
void VitPass::embed() {
  const VitConfig& c = config();
  const Tensor patches = act(wide_, 3 * c.patch * c.patch);
  patchify(on_, {.images = image_table_.as<const float* const>(),
                 .heights = heights_.as<int32_t>(),
                 .widths = widths_.as<int32_t>(),
                 .patch = c.patch,
                 .special = c.special(),
                 .out = patches,
                 .rows = rows()});
  residual_linear(
      on_,
      {.x = patches, .w = &weights_->patch, .residual = stream(positions_), .to = &stream_, .rows = rows()});
  see_rows("embed", -1, x());
}

// In a full grid the keys and values of the rows alive are packed first (the index is the last choice's), so
// that sums run over the same keys in the same order as where the rows themselves are packed.
AttentionArgs VitPass::attention_args(const Tensor& q, const Ragged& q_rows, int keys, int width) {
  const VitConfig& c = config();
  const auto part = [&](void* at, int from, int row) {
    return heads_view(static_cast<char*>(at) + static_cast<int64_t>(from) * bytes_of(dtype()), dtype(),
                      capacity_, c.heads, c.head_dim(), row);
  };
  AttentionArgs args{.q = q,
                     .kv = {part(wide_, keys, width), part(wide_, keys + c.dim, width)},
                     .q_rows = q_rows,
                     .kv_rows = rows(),
                     .key_bias = method().merges || to_longest() ? column(key_bias_, Dtype::f32) : Tensor{},
                     .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim())),
                     .out = {}};
  if (!hides_rows()) return args;
  args.kv_rows = live_rows();
  const auto both = [&](void* at, int from, int row) {
    return matrix_view(static_cast<char*>(at) + static_cast<int64_t>(from) * bytes_of(dtype()), dtype(),
                       capacity_, 2 * c.dim, row);
  };
  gather(on_, {.x = both(wide_, keys, width),
               .index = column(kept_, Dtype::i32),
               .out = both(seen_.as(), 0, 2 * c.dim),
               .rows = args.kv_rows});
  args.kv = {part(seen_.as(), 0, 2 * c.dim), part(seen_.as(), c.dim, 2 * c.dim)};
  return args;
}

// The first query's probabilities go back to where the keys came from.
void VitPass::attend_with(const AttentionArgs& args) {
  if (!args.first_row || !hides_rows()) return attention(on_, args);
  AttentionArgs packed = args;
  packed.first_row = matrix_view(seen_row_.as(), Dtype::f32, capacity_, config().heads);
  attention(on_, packed);
  scatter(on_, {.x = packed.first_row,
                .index = column(kept_, Dtype::i32),
                .out = args.first_row,
                .rows = args.kv_rows});
}

// x += proj(attention(norm1(x)))
void VitPass::attend(int block) {
  const VitConfig& c = config();
  const VitBlockWeights& w = weights_->blocks[static_cast<size_t>(block)];
  const double d2 = static_cast<double>(c.dim) * c.dim;
  const Ragged all = rows();
  if (w.qkv.w.n > 0)
    norm_linear(on_,
                {.x = stream_, .w = &w.qkv, .out = act(wide_, 3 * c.dim), .between = between(), .rows = all});
  else  // the last block keeps q apart from k and v
    norm_linear(on_, {.x = stream_,
                      .w = &w.q,
                      .out = act(wide_, c.dim, 0, 3 * c.dim),
                      .also = &w.kv,
                      .also_out = act(wide_, 2 * c.dim, c.dim, 3 * c.dim),
                      .between = between(),
                      .rows = all});
  pass_.count(now_.slot, 3 * d2);
  see_rows("qkv", block, act(wide_, 3 * c.dim));

  const auto part = [&](int i) {
    return heads_view(static_cast<char*>(wide_) + static_cast<int64_t>(i) * c.dim * bytes_of(dtype()),
                      dtype(), capacity_, c.heads, c.head_dim(), 3 * c.dim);
  };
  const Tensor k = part(1), v = part(2);
  AttentionArgs args = attention_args(part(0), all, c.dim, 3 * c.dim);
  args.out = heads_view(attended_.as(), dtype(), capacity_, c.heads, c.head_dim());
  const bool drops = drops_queries(method(), run_->prune, block, c.layers);
  if (wants_first_row(method(), run_->prune, block, c.layers))
    args.first_row = matrix_view(first_row_.as(), Dtype::f32, capacity_, c.heads);

  if (drops && !in_grid()) {
    // Pass 1: one query a picture gives the scores; pass 2: the chosen queries see all keys.
    AttentionArgs first = args;
    first.q_index = vector_view(all.offsets, Dtype::i32, batch_);
    first.q_rows = {one_each_.as<int32_t>(), batch_, batch_, 1};
    first.out = heads_view(lead_rows_[0].as(), dtype(), batch_, c.heads, c.head_dim());
    attention(on_, first);
    pass_.count(live_slot(), 2.0 * c.dim);
    const int from = now_.slot;
    choose_queries(block, v);
    const Rows next = rows_after(block);
    args.first_row = {};
    args.q_index = column(kept_, Dtype::i32);
    args.q_rows = ragged(next);
    attention(on_, args);
    pass_.count_pairs(next.slot, from, 2.0 * c.dim);
    move_rows(column(kept_, Dtype::i32), next);
    see_choice(block);
  } else {
    attend_with(args);
    pass_.count_pairs(now_.slot, live_slot(), 2.0 * c.dim);
  }
  see_rows("attention", block, act(attended_.as(), c.dim));
  residual_linear(
      on_, {.x = act(attended_.as(), c.dim), .w = &w.proj, .residual = x(), .to = &stream_, .rows = rows()});
  pass_.count(now_.slot, d2);
  see_rows("proj", block, x());
  if (drops && in_grid()) {
    choose_queries(block, v);
    see_choice(block);
  }
  if (drops) {
    settle(block);
    trace({.block = block});
  }
  after_attention(block, k);
}

// offsets[i] + t: with one special row the offsets themselves are the index.
Tensor VitPass::lead_rows_index() {
  if (special() == 1) return vector_view(pass_.offsets(now_.slot), Dtype::i32, batch_);
  const Tensor index = vector_view(lead_.as(), Dtype::i32, static_cast<int64_t>(batch_) * special());
  lead_rows(on_, {.rows = rows(), .special = special(), .index = index});
  return index;
}

// The last block when only the special rows are read: they alone ask, and they alone go on. Same bits for
// those rows.
void VitPass::attend_for_readout(int block) {
  const VitConfig& c = config();
  const VitBlockWeights& w = weights_->blocks[static_cast<size_t>(block)];
  const double d2 = static_cast<double>(c.dim) * c.dim;
  const int64_t lead = static_cast<int64_t>(batch_) * special();
  norm_linear(on_,
              {.x = stream_, .w = &w.kv, .out = act(wide_, 2 * c.dim), .between = between(), .rows = rows()});
  pass_.count(now_.slot, 2 * d2);
  see_rows("kv", block, act(wide_, 2 * c.dim));

  const Ragged asking = leading();
  const Tensor index = lead_rows_index();
  const auto small = [&](const Buffer& b) { return matrix_view(b.as(), dtype(), lead, c.dim); };
  norm_linear(on_, {.x = stream_,
                    .index = index,
                    .w = &w.q,
                    .out = small(lead_rows_[0]),
                    .between = between(),
                    .rows = asking});
  const auto heads = [&](const Buffer& b) {
    return heads_view(b.as(), dtype(), lead, c.heads, c.head_dim(), c.dim);
  };
  see("q", block, small(lead_rows_[0]), asking, lead_codes_.as<int32_t>());
  AttentionArgs args = attention_args(heads(lead_rows_[0]), asking, 0, 2 * c.dim);
  args.out = heads(lead_rows_[1]);
  attention(on_, args);
  pass_.count_pairs(Pass::kLeading, live_slot(), 2.0 * c.dim);
  see("attention", block, small(lead_rows_[1]), asking, lead_codes_.as<int32_t>());
  const Tensor few = read_out_rows();
  gather(on_, {.x = x(), .index = index, .out = few, .rows = asking});
  Stream read_out{.x = few};
  residual_linear(
      on_, {.x = small(lead_rows_[1]), .w = &w.proj, .residual = few, .to = &read_out, .rows = asking});
  pass_.count(Pass::kLeading, 2 * d2);
  see("proj", block, few, asking, lead_codes_.as<int32_t>());
}

// x += fc2(gelu(fc1(norm2(x)))); `few`: of the read-out rows alone.
void VitPass::mlp(int block, bool few) {
  const VitConfig& c = config();
  const VitBlockWeights& w = weights_->blocks[static_cast<size_t>(block)];
  Stream read_out{.x = few ? read_out_rows() : Tensor{}};
  feed_forward(on_, {.x = few ? &read_out : &stream_,
                     .w1 = &w.fc1,
                     .w2 = &w.fc2,
                     .act = c.activation,
                     .between = between(),
                     .rows = few ? leading() : rows()});
  pass_.count(few ? Pass::kLeading : now_.slot, 2.0 * c.dim * c.hidden_dim);
}

// logits = head(norm(special rows)); with tokens asked for, also norm(all rows alive).
void VitPass::read_out(bool special_only) {
  const VitConfig& c = config();
  if (run_->output == Output::tokens) {
    Rows alive = now_;
    alive.slot = live_slot();
    const Tensor kept = to_longest() || hides_rows() ? column(kept_, Dtype::i32) : Tensor{};
    norm(weights_->norm, x(), matrix_view(tokens_.as(), Dtype::f32, capacity_, c.dim), ragged(alive), kept);
    if (kept) follow(kept, now_, alive);
    kind_->token_slot = alive.slot;
    kind_->token_column = alive.column;
  }
  const Tensor few = read_out_rows();
  Tensor index;  // of the read-out rows where they still stand among the others
  if (run_->prune.after_block || run_->prune.readout) {
    if (!special_only) {
      const Tensor left = run_->prune.after_block ? special_rows_left() : lead_rows_index();
      gather(on_, {.x = x(), .index = left, .out = few, .rows = leading()});
    }
    if (run_->prune.readout) ask_for_readout(few);
  } else if (!special_only) {
    index = lead_rows_index();
  }
  // The head is f32 whatever the rest is: it costs next to nothing, and near ties between classes are decided
  // here.
  const int64_t lead = static_cast<int64_t>(batch_) * special();
  norm(weights_->norm, index ? x() : few, matrix_view(normed_lead_.as(), Dtype::f32, lead, c.dim), leading(),
       index);
  // The read-out rows of a picture side by side.
  const Tensor normed =
      matrix_view(normed_lead_.as(), Dtype::f32, batch_, static_cast<int64_t>(special()) * c.dim);
  const Tensor logits = matrix_view(pass_.answers(), Dtype::f32, batch_, c.classes);
  const Ragged pictures{one_each_.as<int32_t>(), batch_, batch_, 1};
  see("head_input", c.layers, normed, pictures, nullptr);
  linear(on_, {.x = normed, .w = &weights_->head, .out = logits, .rows = pictures});
  pass_.count(Pass::kLeading, static_cast<double>(c.dim) * c.classes);
  see("logits", c.layers, logits, pictures, nullptr);
}

void VitPass::queue_forward() {
  const int layers = config().layers;
  const bool skips = run_->output == Output::logits && !run_->whole_last_block && !run_->prune.after_block;
  rows_are({.capacity = capacity_, .longest = max_len_});
  kind_->kept_slot.clear();
  kind_->matchings.clear();
  kind_->stages.clear();
  kind_->columns = 1;
  embed();
  start_pruning();
  for (int block = 0; block < layers; ++block) {
    const bool last = block + 1 == layers && skips;
    before_block(block);
    if (last) {
      attend_for_readout(block);
      mlp(block, true);
      see("block", block, read_out_rows(), leading(), lead_codes_.as<int32_t>());
    } else {
      attend(block);
      mlp(block, false);
      see_rows("block", block, x());
      after_block(block);
    }
    kind_->kept_slot.push_back(last ? Pass::kLeading : live_slot());
  }
  read_out(skips);
}

}  // namespace hedgerow
