// SPDX-License-Identifier: Apache-2.0
// The forward pass of a Vision Transformer: one text for every backend, as a queue of ops that never asks for
// a length. What the host knows (sizes, budgets) is uploaded first, what it wants to know (logits, rows left)
// comes back last.
//
//   vit_pass.cpp     the model, top to bottom as in the paper
//   vit_prune.cpp    pruning methods at their four places of a block; vit_merge.cpp: those that fold rows
//   into others vit_layouts.cpp  the padded layouts; vit_callbacks.cpp: the caller's own steps vit_run.cpp
//   the host's side before: what is checked, uploaded, recorded; vit_results.cpp: and after
#pragma once

#include <memory>
#include <vector>

#include "hedgerow/model/pass.h"
#include "hedgerow/vision/batch_plan.h"
#include "hedgerow/vision/methods.h"
#include "hedgerow/vision/paper_gate.h"
#include "hedgerow/vision/vit.h"
#include "hedgerow/vision/vit_weights.h"

namespace hedgerow {

class VitPass {
 public:
  // `on` must outlive this; its backend is the weights'. max_tokens is not 0.
  VitPass(std::shared_ptr<const VitWeights> weights, VitLimits limits, Context& on);

  // Checks, uploads and queues. Throws Error on shapes and methods that do not fit.
  void submit(const VitImage* images, int batch, const VitRun& run);
  // Waits for everything submitted, and reads the last one's results. Submitting again before that is
  // allowed: passes follow each other, and only the last one's results are read.
  const VitResult& collect();
  // Launches in one replay of this kind of run; 0 where it was not recorded.
  size_t nodes(const VitRun& run, int batch) const;

 private:
  // EViT's fused tokens: one a stage at most, each a row of its own in a full grid.
  static constexpr int kFusedRows = 3;
  // The batch's rows at some point: which offsets they have, which of the two row sets holds them, and which
  // column their patch codes (0: those of the start).
  struct Rows {
    int slot = 0, set = 0, column = 0;
    int capacity = 0, longest = 0, likely = 0;  // bounds of this kind of run, and the rows foreseen
  };
  // Where a choice left the rows alive, for traces: their offsets' slot and patch codes. A merge before it:
  // the column of `into`, and the codes and offsets of the rows before.
  struct Stage {
    int block, slot = 0, column = 0;
    int into = -1, column_before = 0, slot_before = 0;
  };
  // Multiply-adds of matching rows, which follow from the plan: of rows of `slot` in halves, or (kNoSlot) of
  // DiffRate's sources and targets.
  static constexpr int kNoSlot = -3;
  struct Matching {
    int block, slot;
    double factor;
  };
  struct Kind : Recording {
    std::vector<int> kept_slot;  // [layers]
    std::vector<Matching> matchings;
    std::vector<Stage> stages;
    int columns = 1;                       // of patch codes
    int token_slot = 0, token_column = 0;  // of the rows handed out as tokens
  };

  // vit_run.cpp
  void check(const VitImage* images, int batch, const VitRun& run) const;
  void note_sizes(const VitImage* images, int batch, const Prune& prune);
  const std::vector<float>& positions_of(int grid_h, int grid_w);
  void place_shapes();
  void upload_pixels(const VitImage* images);
  void upload_plan();
  KindKey key_of(const VitRun& run, int batch) const;
  Kind& kind_for(const VitRun& run);
  // vit_reserve.cpp
  void reserve_for(const VitRun& run, const VitImage* images, int batch);
  // vit_results.cpp
  void fetch_rows();
  void read_results();
  void read_tokens();
  void read_trace();

  // vit_pass.cpp
  void queue_forward();
  void embed();
  void attend(int block);
  void attend_for_readout(int block);
  void mlp(int block, bool few);
  void read_out(bool special_only);
  void norm(const NormWeights& w, const Tensor& x, const Tensor& out, const Ragged& rows,
            const Tensor& index = {}, float eps = 0);
  // The projections in wide_, `width` values a row: keys from column `keys` on, values behind them.
  AttentionArgs attention_args(const Tensor& q, const Ragged& q_rows, int keys, int width);
  void attend_with(const AttentionArgs& args);
  Tensor lead_rows_index();

  // vit_prune.cpp
  void start_pruning();
  void before_block(int block);
  void choose_queries(int block, const Tensor& v);  // from first_row and v: the queries that go on
  void after_attention(int block, const Tensor& k);
  void after_block(int block);
  void rank(int block);
  void score_first_row(float divisor, const Tensor& weight);
  void score_norm(const Tensor& x, const Buffer& to);
  void score_predictor(int block);
  void score_paper_gate(int block);
  void drop(SelectArgs rule, int block);
  void settle(int block);  // what follows from rows that have moved or been marked
  void move_rows(const Tensor& index, Rows next);
  void follow(const Tensor& index, const Rows& from, Rows& to);  // patch codes
  void refresh_key_bias();
  SelectArgs select_args(int next_slot);
  void see_choice(int block);
  void trace(Stage stage);
  // vit_merge.cpp
  void merge_by_keys(int block, const Tensor& k);
  void merge_by_list(int block);
  void apply_merge(MergeRule rule, const Tensor& into, int block);
  // Which row absorbs each: i32 [capacity], of this block's own where they are traced.
  Tensor into_of(int block) const {
    if (!run_->trace) return column(into_, Dtype::i32);
    return vector_view(traced_into_.as<int32_t>() + static_cast<int64_t>(block) * row_limit_, Dtype::i32,
                       capacity_);
  }
  // vit_layouts.cpp
  void make_room_for_fused();
  void place_fused(const SelectArgs& chosen);
  void pad_to_longest(int block);
  void padding_takes_no_part();
  void leave_padding_behind();
  // vit_callbacks.cpp
  PruneView rows_for_caller(int block);
  void score_by_caller(int block);
  void ask_after_block(int block);
  void ask_for_readout(const Tensor& rows);
  Tensor special_rows_left();

  const MethodTraits& method() const { return *method_; }
  bool in_grid() const { return run_->layout == Layout::padded; }
  bool to_longest() const { return run_->layout == Layout::padded_max; }
  bool masked() const { return run_->layout != Layout::ragged; }
  // A full grid of which some rows are gone.
  bool hides_rows() const { return in_grid() && (live_slot_ != 0 || now_.slot != 0); }
  bool has_callbacks(const VitRun& run) const {
    return run.prune.score || run.prune.after_block || run.prune.readout;
  }
  bool follows_patches(const VitRun& run) const {
    return run.output == Output::tokens || run.trace || run.observer || run.prune.score ||
           run.prune.after_block;
  }
  void see(const char* name, int block, const Tensor& value, const Ragged& rows, const int32_t* patch);
  void see_rows(const char* name, int block, const Tensor& value) {
    see(name, block, value, rows(), patch_codes());
  }

  const BatchPlan& plan() const { return plan_memory_.plan(); }
  const VitConfig& config() const { return weights_->config; }
  int special() const { return weights_->config.special(); }
  Dtype dtype() const { return weights_->dtype; }
  Ragged ragged(const Rows& r) const {
    return {pass_.offsets(r.slot), batch_, r.capacity, r.longest, r.likely};
  }
  Ragged rows() const { return ragged(now_); }
  // The rows alive: all of them in packed rows, those at kept_ in a masked layout.
  Ragged live_rows() const {
    Ragged live = rows();
    live.offsets = pass_.offsets(live_slot());
    return live;
  }
  int live_slot() const { return masked() ? live_slot_ : now_.slot; }
  // From here on the batch's rows are these.
  void rows_are(const Rows& rows);
  // The newest offsets, with this block's bounds, in the other row set.
  Rows rows_after(int block) const;
  Ragged leading() const;  // the read-out rows: `special` a picture
  Tensor read_out_rows() const;
  Tensor act(void* at, int cols, int64_t first = 0, int64_t stride = 0) const;
  Tensor stream(const Buffer& b) const {
    return matrix_view(b.as(), weights_->stream, capacity_, config().dim);
  }
  Tensor x() const { return stream(sets_[now_.set].x); }
  Tensor moments() const {
    return moments_ ? matrix_view(moments_.as(), Dtype::f32, capacity_, config().dim / 64 * 2) : Tensor{};
  }
  Workspace between() const { return {between_.as(), between_.bytes()}; }
  Tensor column(const Buffer& b, Dtype d) const { return vector_view(b.as(), d, capacity_); }
  Tensor sizes(const Rows& r) const {
    return column(r.slot == 0 ? ones_size_ : sets_[r.set].size, Dtype::f32);
  }
  int32_t* codes_at(int column) const {
    return codes_.as<int32_t>() + static_cast<int64_t>(column) * row_limit_;
  }
  const int32_t* patch_codes() const { return codes_ ? codes_at(now_.column) : nullptr; }
  Tensor alive_or_none() const { return masked() ? column(alive_, Dtype::u8) : Tensor{}; }
  const int32_t* counts_at(int block) const { return plan_counts_ + static_cast<int64_t>(block) * batch_; }
  const int32_t* merges_at(int block) const { return plan_merges_ + static_cast<int64_t>(block) * batch_; }

  std::shared_ptr<const VitWeights> weights_;
  VitLimits limits_;
  Context& on_;
  Pass pass_;
  const int row_limit_;  // of any batch

  struct RowSet {
    Buffer x, size;  // residual stream; f32 patches merged into the row
  } sets_[2];
  // Rows between norms and products. Behind the normalised ones, where hidden columns will lie, first
  // patches, then queries, keys and values.
  Buffer between_;
  void* wide_ = nullptr;  // there: f [capacity, 3 dim or 3 patch^2]
  Buffer attended_;       // f [capacity, dim]
  Buffer moments_;        // of the residual rows (Stream::moments), where they are read
  Buffer positions_;      // residual rows a batch starts from, laid out when its sizes change
  Buffer alive_, role_, survivors_, key_bias_, first_row_, score_, weight_, similarity_, unit_, kept_, best_;
  Buffer into_, traced_into_;  // i32 [capacity], [layers, capacity]: the row that absorbs each
  Buffer codes_;               // i32 [columns, capacity]: patch codes, a column a step that moves rows
  Buffer seen_,
      seen_row_;      // full grid: keys and values of the rows alive, f [capacity, 2 dim]; their first_row
  Buffer ones_size_;  // f32 [capacity] of 1: merged sizes at the start
  Buffer nobody_;     // i32 [capacity] of -1
  Buffer index_;      // i32 [capacity]: where a padded layout's rows come from
  Buffer lead_, lead_offsets_, lead_codes_,
      one_each_;  // [batch * special]; offsets of `special` rows a picture; of one
  Buffer small_x_, lead_rows_[2], normed_lead_;
  Buffer tokens_, pixels_, image_table_, heights_, widths_;
  Buffer plan_;  // counts, merges, thresholds, masses, floors, samples of the batch
  Buffer host_plan_, host_tokens_, host_codes_, host_into_;
  int32_t *plan_counts_ = nullptr, *plan_merges_ = nullptr, *plan_floors_ = nullptr, *plan_samples_ = nullptr;
  float* plan_thresholds_ = nullptr;
  double* plan_masses_ = nullptr;
  std::vector<char> packed_plan_;
  bool plan_sent_ = false;  // plan() is what the pointers above lead to
  size_t plan_there_ = 0;   // bytes of the plan that is on the device, as in host_plan_

  // The batch at hand.
  int batch_ = 0, capacity_ = 0, max_len_ = 0;
  int live_slot_ = 0;            // masked layouts: the offsets' slot that counts the rows alive
  int fused_ = 0;                // fused tokens placed so far (full grid)
  const VitRun* run_ = nullptr;  // while queueing
  const MethodTraits* method_ = nullptr;
  bool placed_ = false;  // positions, codes and offsets are those of the batch's sizes
  bool tokens_wanted_ = false;
  VitTrace* trace_wanted_ = nullptr;
  std::vector<int> patches_, heights_now_, widths_now_;
  std::vector<const float*> pixels_now_, pixels_next_;
  std::vector<uint64_t> content_;
  PlanMemory plan_memory_;
  Rows now_;
  Stream stream_;  // of these rows
  Kind* kind_ = nullptr;
  std::vector<std::unique_ptr<Kind>> kinds_;
  std::unique_ptr<PaperGate> gate_;
  VitResult result_;
  std::vector<std::vector<int32_t>> kept_spare_;

  // Rows a picture of a grid starts from, made once a grid.
  struct Positions {
    int grid_h, grid_w;
    std::vector<float> rows;
  };
  std::vector<Positions> positions_known_;
  std::vector<char> rows_at_start_;  // of the batch: positions, then patch codes and offsets
  std::vector<int32_t> codes_at_start_, offsets_at_start_;
  // What host steps bring over, and what callers fill.
  std::vector<float> values_here_, scores_here_;
  std::vector<uint16_t> halves_here_;
  std::vector<char> scratch_here_[3];
  std::vector<uint8_t> keep_here_;
  std::vector<int32_t> patch_here_, kept_here_, offsets_here_;
  const int32_t* codes_here_ = nullptr;
};

}  // namespace hedgerow
