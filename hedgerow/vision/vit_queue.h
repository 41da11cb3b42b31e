// SPDX-License-Identifier: Apache-2.0
// The forward pass as a queue of ops that never asks for a length, for backends whose offsets live on a
// device: what the host knows (sizes, budgets) is uploaded first, what it wants to know (logits, rows left)
// comes back last. On a device the queue is recorded once per kind of run and replayed over batches with
// other lengths and budgets.
//
// Same ops, same order as vit.cpp's forward(): on a CPU table the logits are equal bit for bit, which is how
// this file is tested where no GPU is.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hedgerow/vision/batch_plan.h"
#include "hedgerow/vision/paper_gate.h"
#include "hedgerow/vision/vit.h"
#include "hedgerow/vision/vit_weights.h"

namespace hedgerow {

class VitQueue {
 public:
  // `on` must outlive this; its backend is the weights'. max_tokens is not 0.
  VitQueue(std::shared_ptr<const VitWeights> weights, VitLimits limits, Context& on);

  // Checks, uploads and queues. Throws Error on shapes and methods that do not fit (callbacks, traces and
  // padded-max need rows on the host).
  void submit(const VitImage* images, int batch, const VitRun& run);
  // Waits for everything submitted, and reads the last one's results. Submitting again before that is
  // allowed: passes follow each other, and only the last one's results are read.
  const VitResult& collect();
  // Launches in one replay of this kind of run; 0 where it was not recorded.
  size_t nodes(const VitRun& run, int batch) const;

 private:
  // The batch's rows at some point: which offsets they have, and which of the two row sets holds them.
  struct Rows {
    int slot = 0, set = 0;
    int capacity = 0, longest = 0, likely = 0;  // bounds of this kind of run, and the rows foreseen
    bool measured = false;                      // moments_ holds these rows'
  };
  // Multiply-adds of one op, from the row counts that come back with the logits.
  struct Term {
    enum Kind : uint8_t { per_row, per_pair, tome_pairs, diffrate_pairs } kind;
    int slot, other;  // offsets' slots; diffrate_pairs: the block
    double factor;
  };
  // What one recorded kind of run leaves behind: how to read its results.
  struct Recorded {
    std::shared_ptr<void> graph;
    // [layers] leaving each block, of the batches seen so far: bounds that grow where a batch needs more (it
    // is then recorded anew), and a guess at the rows.
    std::vector<int> most_rows, longest, likely_rows;
    std::vector<int> kept_slot;  // [layers]
    std::vector<Term> terms;
    int slots = 1, last_slot = 0, last_set = 0;
  };

  // vit_queue.cpp: the host's side
  void check(const VitImage* images, int batch, const VitRun& run) const;
  void reserve_for(const VitRun& run, const VitImage* images, int batch);
  void place_shapes();
  void upload_pixels(const VitImage* images);
  void upload_plan();
  std::string kind_of(const VitRun& run, int batch) const;
  void read_results();
  void read_tokens();

  // vit_queue_blocks.cpp: the model as ops
  void queue_forward();
  void embed();
  void attend(int block);
  void attend_for_readout(int block);
  void feed_forward(int block, const Tensor& x, const Ragged& rows, int slot);
  void read_out(bool special_only);
  void norm(const NormWeights& w, const Tensor& x, const Tensor& out, const Ragged& rows,
            const Tensor& index = {}, float eps = 0);
  // out = act(norm(x) w^T + bias), in one launch where the backend says that it pays; `normed` holds the rows
  // in between.
  void norm_linear(const NormWeights& n, const Tensor& x, const PackedLinear& w, const Tensor& normed,
                   const Tensor& out, const Ragged& rows, Activation act = Activation::none,
                   const Tensor& index = {});
  // x = act(...) w^T + bias + residual, which leaves moments where the backend gives them.
  void linear_to_stream(const PackedLinear& w, const Tensor& from, const Tensor& residual);
  // The projections in wide_, `width` values a row: keys from column `keys` on, values behind them.
  AttentionArgs attention_args(const Tensor& q, const Ragged& q_rows, int keys, int width);
  void attend_with(const AttentionArgs& args);
  Tensor lead_rows_index();
  void add(Term t);
  void count(int slot, double per_row);
  void count_pairs(int q_slot, int kv_slot, double factor);

  // vit_queue_prune.cpp: pruning methods as ops
  void start_pruning();
  void before_block(int block);
  void choose_queries(int block, const Tensor& v);
  void after_attention(int block, const Tensor& k);
  void after_block(int block);
  void score_first_row(float divisor, const Tensor& weight);
  void score_predictor(int stage);
  void score_paper_gate();
  void drop(SelectArgs how, bool fuse, int block);
  void merge_tome(int block, const Tensor& k);
  void merge_diffrate(int block);
  void apply_merge(MergeRule rule, const Tensor& into, int block);
  void move_rows(const Tensor& index, int block);
  void refresh_key_bias();
  SelectArgs select_args(int next_slot);
  int new_slot();
  bool masked() const { return run_->layout == Layout::padded; }
  bool hides_rows() const { return masked() && laid_out_ != 0; }  // a full grid of which some rows are gone
  bool sized() const { return merges_rows(run_->prune.method); }
  bool follows_patches() const { return run_->output == Output::tokens; }

  const BatchPlan& plan() const { return plan_memory_.plan(); }
  const VitConfig& config() const { return weights_->config; }
  int special() const { return weights_->config.special(); }
  Dtype dtype() const { return weights_->dtype; }
  int32_t* offsets(int slot) const { return results_offsets_ + static_cast<int64_t>(slot) * (batch_ + 1); }
  Ragged ragged(const Rows& r) const { return {offsets(r.slot), batch_, r.capacity, r.longest, r.likely}; }
  Ragged rows() const { return ragged(now_); }
  // The newest offsets, with this block's bounds, in the other row set.
  Rows rows_after(int block) const;
  void fit_bounds();
  Ragged leading() const;  // the read-out rows: `special` a picture
  Tensor act(const Buffer& b, int cols, int64_t first = 0, int64_t stride = 0) const;
  // Rows for a product with `w`: of its dtype, in `unit` where that is e4m3.
  Tensor rows_for(const PackedLinear& w, float unit, const Buffer& b, int rows) const;
  // Their units where it is int8.
  Tensor units_for(Dtype dtype, int rows) const;
  Tensor stream(const Buffer& b) const {
    return matrix_view(b.as(), weights_->stream, capacity_, config().dim);
  }
  Tensor x() const { return stream(sets_[now_.set].x); }
  Tensor moments() const { return matrix_view(moments_.as(), Dtype::f32, capacity_, config().dim / 64 * 2); }
  Tensor column(const Buffer& b, Dtype d) const { return vector_view(b.as(), d, capacity_); }
  Tensor alive_or_none() const { return masked() ? column(alive_, Dtype::u8) : Tensor{}; }
  const int32_t* counts_at(int block) const { return plan_counts_ + static_cast<int64_t>(block) * batch_; }
  const int32_t* merges_at(int block) const { return plan_merges_ + static_cast<int64_t>(block) * batch_; }
  const Memory& memory() const { return on_.backend().memory; }
  Buffer on_device(size_t bytes) const { return allocate_on(*weights_->backend, bytes); }
  void copy_in(void* to, const void* from, size_t bytes);
  void copy_out(void* to, const void* from, size_t bytes);
  // At once, for what changes seldom; earlier work of this queue must be done.
  void store_at(void* to, const void* from, size_t bytes);

  std::shared_ptr<const VitWeights> weights_;
  VitLimits limits_;
  Context& on_;
  const int max_len_;

  struct RowSet {
    Buffer x, patch, size;  // residual stream; i32 patch position + 1; f32 patches merged into the row
  } sets_[2];
  Buffer narrow_[2], wide_;  // f [capacity, dim] twice; [capacity, widest]
  Buffer moments_;           // of the residual stream's rows (LinearArgs::moments)
  Buffer positions_;         // residual rows a batch starts from, laid out when its sizes change
  Buffer row_units_;         // f32 [capacity]: of int8 rows, from a norm to the product behind it
  Buffer alive_, role_, survivors_, key_bias_, first_row_, score_, weight_, similarity_, unit_, kept_, best_,
      into_;
  Buffer seen_,
      seen_row_;        // full grid: keys and values of the rows alive, f [capacity, 2 dim]; their first_row
  Buffer ones_size_;    // f32 [capacity] of 1: merged sizes at the start
  Buffer patch_start_;  // i32 [capacity]: patch numbers at the start
  Buffer lead_, lead_offsets_, one_each_;  // [batch * special]; offsets of `special` rows a picture; of one
  Buffer small_x_, small_narrow_[2], small_wide_, normed_lead_;
  Buffer tokens_;
  Buffer results_;  // logits [batch, classes], then offsets, a slot a step: one copy brings both back
  Buffer pixels_, image_table_, heights_, widths_;
  Buffer plan_;  // counts, merges, thresholds, masses, floors, samples of the batch
  Buffer host_plan_, host_results_, host_tokens_, host_patch_;
  int32_t* results_offsets_ = nullptr;
  int32_t *plan_counts_ = nullptr, *plan_merges_ = nullptr, *plan_floors_ = nullptr, *plan_samples_ = nullptr;
  float* plan_thresholds_ = nullptr;
  double* plan_masses_ = nullptr;
  std::vector<char> packed_plan_;
  bool plan_sent_ = false;  // plan() is what the pointers above lead to
  size_t plan_there_ = 0;   // bytes of the plan that is on the device, as in host_plan_

  // The batch at hand.
  int batch_ = 0, capacity_ = 0;
  int laid_out_ = 0;                              // full grid: the offsets' slot that counts the rows alive
  bool tokens_wanted_ = false, waiting_ = false;  // waiting: submitted, not yet collected
  const VitRun* run_ = nullptr;                   // while queueing
  std::vector<int> patches_, heights_now_, widths_now_;
  std::vector<const float*> pixels_now_;
  std::vector<uint64_t> content_;
  PlanMemory plan_memory_;
  Rows now_;
  Recorded* kind_ = nullptr;
  std::map<std::string, Recorded> kinds_;
  std::unique_ptr<PaperGate> gate_;
  VitResult result_;
};

}  // namespace hedgerow
