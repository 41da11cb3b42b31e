// SPDX-License-Identifier: Apache-2.0
// The model of vit.cpp as ops on rows whose number nobody asks for.
#include <cmath>

#include "hedgerow/vision/vit_queue.h"

namespace hedgerow {

Tensor VitQueue::act(const Buffer& b, int cols, int64_t first, int64_t stride) const {
  return matrix_view(b.as<char>() + first * bytes_of(dtype()), dtype(), capacity_, cols, stride);
}

Tensor VitQueue::rows_for(const PackedLinear& w, float unit, const Buffer& b, int rows) const {
  if (w.dtype == Dtype::e4m3) return e4m3_view(b.as(), unit, rows, w.k);
  return matrix_view(b.as(), w.dtype == Dtype::i8 ? w.dtype : dtype(), rows, w.k);
}

Tensor VitQueue::units_for(Dtype dtype, int rows) const {
  return dtype == Dtype::i8 ? vector_view(row_units_.as(), Dtype::f32, rows) : Tensor{};
}

Ragged VitQueue::leading() const {
  return {lead_offsets_.as<int32_t>(), batch_, batch_ * special(), special()};
}

// Ops over the same rows add up here, so that a picture's sum has few terms however deep the model is.
void VitQueue::add(Term t) {
  for (Term& same : kind_->terms) {
    if (same.kind != t.kind || same.slot != t.slot || same.other != t.other) continue;
    same.factor += t.factor;
    return;
  }
  kind_->terms.push_back(t);
}
void VitQueue::count(int slot, double per_row) { add({Term::per_row, slot, 0, per_row}); }
void VitQueue::count_pairs(int q_slot, int kv_slot, double factor) {
  add({Term::per_pair, q_slot, kv_slot, factor});
}

void VitQueue::norm(const NormWeights& w, const Tensor& x, const Tensor& out, const Ragged& rows,
                    const Tensor& index, float eps) {
  layer_norm(on_, {.x = x,
                   .index = index,
                   .gamma = w.folded ? Tensor{} : vector_of(w.gamma),
                   .beta = w.folded ? Tensor{} : vector_of(w.beta),
                   .eps = eps > 0 ? eps : config().norm_eps,
                   .out = out,
                   .out_scales = units_for(out.dtype, rows.row_capacity),
                   .rows = rows});
}

void VitQueue::norm_linear(const NormWeights& n, const Tensor& x, const PackedLinear& w, const Tensor& normed,
                           const Tensor& out, const Ragged& rows, Activation act, const Tensor& index) {
  const auto fuses = on_.backend().fuses_norm;
  const bool folded = n.folded && !index;
  NormFusion how = NormFusion::none;
  const bool measured = folded && now_.measured && x.data == this->x().data;
  if (fuses && on_.sums() == Sums::fast && bytes_of(w.dtype) == 2)
    how = fuses(rows.expected_rows(), w.n, w.k, folded, measured);
  if (how != NormFusion::none) {
    LinearArgs fused{.x = x,
                     .index = index,
                     .divided = how == NormFusion::divided,
                     .norm_eps = config().norm_eps,
                     .w = &w,
                     .act = act,
                     .out = out,
                     .rows = rows};
    if (how == NormFusion::divided && measured) fused.x_moments = moments();
    if (how == NormFusion::whole) fused.norm_gamma = vector_of(n.gamma), fused.norm_beta = vector_of(n.beta);
    return linear(on_, fused);
  }
  norm(n, x, normed, rows, index);
  linear(on_, {.x = normed,
               .w = &w,
               .act = act,
               .x_scales = units_for(w.dtype, rows.row_capacity),
               .out = out,
               .rows = rows});
}

void VitQueue::linear_to_stream(const PackedLinear& w, const Tensor& from, const Tensor& residual) {
  const auto gives = on_.backend().gives_moments;
  now_.measured = moments_ && bytes_of(w.dtype) == 2 && on_.sums() == Sums::fast &&
                  gives(rows().expected_rows(), w.n, w.k);
  linear(on_, {.x = from,
               .w = &w,
               .residual = residual,
               .out = x(),
               .moments = now_.measured ? moments() : Tensor{},
               .rows = rows()});
}

// x = patches W^T + (token, position, bias)
void VitQueue::embed() {
  const VitConfig& c = config();
  const Tensor patches = act(wide_, 3 * c.patch * c.patch);
  patchify(on_, {.images = image_table_.as<const float* const>(),
                 .heights = heights_.as<int32_t>(),
                 .widths = widths_.as<int32_t>(),
                 .patch = c.patch,
                 .special = c.special(),
                 .out = patches,
                 .rows = rows()});
  linear_to_stream(weights_->patch, patches, stream(positions_));
}

// In a full grid the keys and values of the rows alive are packed first (the index is the last choice's), so
// that sums run over the same keys in the same order as where the rows themselves are packed.
AttentionArgs VitQueue::attention_args(const Tensor& q, const Ragged& q_rows, int keys, int width) {
  const VitConfig& c = config();
  const auto part = [&](const Buffer& b, int from, int row) {
    return heads_view(b.as<char>() + static_cast<int64_t>(from) * bytes_of(dtype()), dtype(), capacity_,
                      c.heads, c.head_dim(), row);
  };
  AttentionArgs args{.q = q,
                     .kv = {part(wide_, keys, width), part(wide_, keys + c.dim, width)},
                     .q_rows = q_rows,
                     .kv_rows = rows(),
                     .key_bias = sized() ? column(key_bias_, Dtype::f32) : Tensor{},
                     .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim())),
                     .out = {}};
  if (!hides_rows()) return args;
  args.kv_rows.offsets = offsets(laid_out_);
  const int per = 4 / bytes_of(dtype());  // moved as whole words
  const auto words = [&](const Buffer& b, int from, int row) {
    return matrix_view(b.as<char>() + static_cast<int64_t>(from) * bytes_of(dtype()), Dtype::i32, capacity_,
                       2 * c.dim / per, row / per);
  };
  gather(on_, {.x = words(wide_, keys, width),
               .index = column(kept_, Dtype::i32),
               .out = words(seen_, 0, 2 * c.dim),
               .rows = args.kv_rows});
  args.kv = {part(seen_, 0, 2 * c.dim), part(seen_, c.dim, 2 * c.dim)};
  return args;
}

// The first query's probabilities go back to where the keys came from.
void VitQueue::attend_with(const AttentionArgs& args) {
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
void VitQueue::attend(int block) {
  const VitConfig& c = config();
  const VitBlockWeights& w = weights_->blocks[static_cast<size_t>(block)];
  const double d2 = static_cast<double>(c.dim) * c.dim;
  const Ragged all = rows();
  if (w.qkv.n > 0) {
    const Tensor h = rows_for(w.qkv, w.scales.norm1, narrow_[0], capacity_);
    norm_linear(w.norm1, x(), w.qkv, h, act(wide_, 3 * c.dim), all);
  } else if (now_.measured) {  // the last block keeps q apart from k and v
    const Tensor none = act(narrow_[0], c.dim);
    norm_linear(w.norm1, x(), w.q, none, act(wide_, c.dim, 0, 3 * c.dim), all);
    norm_linear(w.norm1, x(), w.kv, none, act(wide_, 2 * c.dim, c.dim, 3 * c.dim), all);
  } else {
    const Tensor h = act(narrow_[0], c.dim);
    norm(w.norm1, x(), h, all);
    linear(on_, {.x = h, .w = &w.q, .out = act(wide_, c.dim, 0, 3 * c.dim), .rows = all});
    linear(on_, {.x = h, .w = &w.kv, .out = act(wide_, 2 * c.dim, c.dim, 3 * c.dim), .rows = all});
  }
  count(now_.slot, 3 * d2);
  const auto part = [&](int i) {
    return heads_view(wide_.as<char>() + static_cast<int64_t>(i) * c.dim * bytes_of(dtype()), dtype(),
                      capacity_, c.heads, c.head_dim(), 3 * c.dim);
  };
  const Tensor k = part(1), v = part(2);
  AttentionArgs args = attention_args(part(0), all, c.dim, 3 * c.dim);
  args.out = heads_view(narrow_[1].as(), dtype(), capacity_, c.heads, c.head_dim());
  const Prune& prune = run_->prune;
  const bool ats = drops_queries(prune, block, c.layers);
  if (wants_first_row(prune, block, c.layers))
    args.first_row = matrix_view(first_row_.as(), Dtype::f32, capacity_, c.heads);

  if (ats && !masked()) {
    // Pass 1: one query a picture gives the scores; pass 2: the chosen queries see all keys.
    AttentionArgs first = args;
    first.q_index = vector_view(all.offsets, Dtype::i32, batch_);
    first.q_rows = {one_each_.as<int32_t>(), batch_, batch_, 1};
    first.out = heads_view(small_narrow_[1].as(), dtype(), batch_, c.heads, c.head_dim());
    attention(on_, first);
    count(now_.slot, 2.0 * c.dim);
    const int from = now_.slot;
    choose_queries(block, v);
    args.first_row = {};
    args.q_index = column(kept_, Dtype::i32);
    args.q_rows = ragged(rows_after(block));
    attention(on_, args);
    count_pairs(kind_->slots - 1, from, 2.0 * c.dim);
    move_rows(column(kept_, Dtype::i32), block);
  } else {
    attend_with(args);
    count_pairs(now_.slot, masked() ? laid_out_ : now_.slot, 2.0 * c.dim);
  }
  linear_to_stream(w.proj, act(narrow_[1], c.dim), x());
  count(now_.slot, d2);
  if (ats && masked()) choose_queries(block, v);
  after_attention(block, k);
}

// offsets[i] + t: with one special row the offsets themselves are the index.
Tensor VitQueue::lead_rows_index() {
  if (special() == 1) return vector_view(offsets(now_.slot), Dtype::i32, batch_);
  const Tensor index = vector_view(lead_.as(), Dtype::i32, static_cast<int64_t>(batch_) * special());
  lead_rows(on_, {.rows = rows(), .special = special(), .index = index});
  return index;
}

// The last block when only the special rows are read: they alone ask, and they alone go on.
void VitQueue::attend_for_readout(int block) {
  const VitConfig& c = config();
  const VitBlockWeights& w = weights_->blocks[static_cast<size_t>(block)];
  const double d2 = static_cast<double>(c.dim) * c.dim;
  const int64_t lead = static_cast<int64_t>(batch_) * special();
  const Tensor h = act(narrow_[0], c.dim);
  norm_linear(w.norm1, x(), w.kv, h, act(wide_, 2 * c.dim), rows());
  count(now_.slot, 2 * d2);

  const Ragged asking = leading();
  const Tensor index = lead_rows_index();
  const auto small = [&](const Buffer& b) { return matrix_view(b.as(), dtype(), lead, c.dim); };
  norm_linear(w.norm1, x(), w.q, small(small_narrow_[0]), small(small_narrow_[1]), asking, Activation::none,
              index);
  const auto heads = [&](const Buffer& b) {
    return heads_view(b.as(), dtype(), lead, c.heads, c.head_dim(), c.dim);
  };
  AttentionArgs args = attention_args(heads(small_narrow_[1]), asking, 0, 2 * c.dim);
  args.out = heads(small_narrow_[0]);
  attention(on_, args);
  count_pairs(-1, masked() ? laid_out_ : now_.slot, 2.0 * c.dim);
  const Tensor few = matrix_view(small_x_.as(), weights_->stream, lead, c.dim);
  gather(on_, {.x = x(), .index = index, .out = few, .rows = asking});
  linear(on_, {.x = small(small_narrow_[0]), .w = &w.proj, .residual = few, .out = few, .rows = asking});
  count(-1, 2 * d2);
}

// x += fc2(gelu(fc1(norm2(x))))
void VitQueue::feed_forward(int block, const Tensor& x, const Ragged& rows, int slot) {
  const VitConfig& c = config();
  const VitBlockWeights& w = weights_->blocks[static_cast<size_t>(block)];
  const bool few = slot < 0;
  count(slot, 2.0 * c.dim * c.hidden_dim);
  const auto fuses = on_.backend().fuses_mlp;
  if (fuses && on_.sums() == Sums::fast && bytes_of(w.fc1.dtype) == 2 && bytes_of(w.fc2.dtype) == 2 &&
      fuses(rows.expected_rows(), c.dim, c.hidden_dim)) {
    mlp(on_, {.x = x,
              .norm_gamma = vector_of(w.norm2.gamma),
              .norm_beta = vector_of(w.norm2.beta),
              .norm_eps = c.norm_eps,
              .w1 = &w.fc1,
              .w2 = &w.fc2,
              .act = c.activation,
              .out = x,
              .rows = rows});
    now_.measured = false;
    return;
  }
  const Tensor h = rows_for(w.fc1, w.scales.norm2, few ? small_narrow_[1] : narrow_[0], rows.row_capacity),
               inside = rows_for(w.fc2, w.scales.hidden, few ? small_wide_ : wide_, rows.row_capacity);
  norm_linear(w.norm2, x, w.fc1, h, inside, rows, c.activation);
  if (few)
    linear(on_, {.x = inside, .w = &w.fc2, .residual = x, .out = x, .rows = rows});
  else
    linear_to_stream(w.fc2, inside, x);
}

// logits = head(norm(special rows)); with tokens asked for, also norm(all rows).
void VitQueue::read_out(bool special_only) {
  const VitConfig& c = config();
  const int64_t lead = static_cast<int64_t>(batch_) * special();
  if (run_->output == Output::tokens)
    norm(weights_->norm, x(), matrix_view(tokens_.as(), Dtype::f32, capacity_, c.dim), rows());
  const Dtype head = weights_->head.dtype;
  const Tensor normed = matrix_view(normed_lead_.as(), head, lead, c.dim);
  const Tensor few = matrix_view(small_x_.as(), weights_->stream, lead, c.dim),
               logits = matrix_view(results_.as(), Dtype::f32, batch_, c.classes);
  const Ragged pictures{one_each_.as<int32_t>(), batch_, batch_, 1};
  const Tensor index = special_only ? Tensor{} : lead_rows_index();
  if (special() == 1) {
    norm_linear(weights_->norm, special_only ? few : x(), weights_->head, normed, logits, pictures,
                Activation::none, index);
  } else {  // both read-out rows of a picture side by side
    norm(weights_->norm, special_only ? few : x(), normed, leading(), index);
    linear(on_, {.x = matrix_view(normed_lead_.as(), head, batch_, static_cast<int64_t>(special()) * c.dim),
                 .w = &weights_->head,
                 .out = logits,
                 .rows = pictures});
  }
  count(-1, static_cast<double>(c.dim) * c.classes);
}

void VitQueue::queue_forward() {
  const int layers = config().layers;
  const bool skips = run_->output == Output::logits && !run_->whole_last_block;
  now_ = {.capacity = capacity_, .longest = max_len_};
  kind_->slots = 1;
  kind_->terms.clear();
  kind_->kept_slot.assign(static_cast<size_t>(layers), 0);
  embed();
  start_pruning();
  for (int block = 0; block < layers; ++block) {
    const bool last = block + 1 == layers && skips;
    before_block(block);
    if (last) {
      attend_for_readout(block);
      const int64_t lead = static_cast<int64_t>(batch_) * special();
      feed_forward(block, matrix_view(small_x_.as(), weights_->stream, lead, config().dim), leading(), -1);
    } else {
      attend(block);
      feed_forward(block, x(), rows(), now_.slot);
      after_block(block);
    }
    kind_->kept_slot[static_cast<size_t>(block)] = last ? -1 : masked() ? laid_out_ : now_.slot;
  }
  read_out(skips);
  kind_->last_slot = now_.slot;
  kind_->last_set = now_.set;
}

}  // namespace hedgerow
