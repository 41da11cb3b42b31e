// SPDX-License-Identifier: Apache-2.0
// Running a Llama: a state holds the caches of some sequences and what a pass needs, reserved once. A pass
// adds rows to sequences: a stretch of text, or a tree of which a part is kept afterwards.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "hedgerow/language/llama.h"
#include "hedgerow/model/pass.h"

namespace hedgerow {

struct LlamaLimits {
  int sequences = 1;
  int context = 2048;        // keys a sequence
  int rows = 512;            // new rows a pass, of all sequences
  int logit_rows = 64;       // of which so many are asked for logits
  Dtype cache = Dtype::f16;  // or f32
  int outputs = 0;           // logits of the first so many tokens only; 0: of all
};

enum class Logits : uint8_t { none, last, all };

// New rows of one sequence.
struct LlamaRows {
  int sequence = 0;
  const int32_t* tokens = nullptr;
  int count = 0;
  // Null: each row follows the one before. A tree: parent of each row, before it in the tree; -1 where that
  // is the sequence's last token; at most 64 rows.
  const int32_t* parents = nullptr;
  // Rows of the tree that the pass before began: parents are counted from its root on.
  bool extend = false;
  Logits logits = Logits::last;
};

class LlamaPass {
 public:
  // `on` must outlive this and be of the model's backend.
  LlamaPass(std::shared_ptr<const Llama> model, Context& on, const LlamaLimits& limits);

  const Llama& model() const { return *model_; }
  const LlamaLimits& limits() const { return limits_; }
  Context& context() const { return on_; }

  // Rows' keys lie in the cache behind length(); they stay only if keep() says so.
  void forward(const std::vector<LlamaRows>& batch);
  // Text behind what a sequence holds, as many rows a pass as there is room for, all kept. Logits of its last
  // row, if asked for. `go_on`, where given, is asked before each pass. Returns how many tokens were read.
  int read(int sequence, const int32_t* tokens, int count, Logits last = Logits::none,
           const std::function<bool()>& go_on = {});
  // Of the rows that asked, in order: [outputs()], on the host, until the next pass.
  const float* logits(int i) const { return logits_.as<float>() + static_cast<int64_t>(i) * outputs(); }
  int logit_rows() const { return wanted_; }
  int outputs() const { return some_outputs_.n ? some_outputs_.n : model_->config.vocab; }
  // The best columns of the logit rows [first, first + rows), as top_columns says: columns, values
  // [rows, count], log_sums [rows]; the latter two may be null.
  void best(int first, int rows, int count, int32_t* columns, float* values, float* log_sums);

  int length(int sequence) const { return lengths_[static_cast<size_t>(sequence)]; }
  // Rows of the tree, or of the last pass, that stay, ascending: they become the sequence's next keys. The
  // first ones: count only.
  void keep(int sequence, int count);
  void keep(int sequence, const int32_t* path, int count);
  // Forgets what is behind.
  void truncate(int sequence, int length);

  Observer observer;  // null: none

 private:
  void lay_out(const std::vector<LlamaRows>& batch);
  void add_rows(const LlamaRows& rows);
  void need_positions(int count);
  void queue();
  Ragged rows() const;
  void see(const char* name, int layer, const Tensor& value);

  std::shared_ptr<const Llama> model_;
  Context& on_;
  LlamaLimits limits_;
  PackedLinear some_outputs_;
  Pass pass_;
  std::vector<KvCache> layers_;
  std::vector<Buffer> cache_memory_;
  std::vector<int> lengths_;
  struct OpenTree {  // rows behind a sequence's length
    std::vector<uint64_t> ancestors;
    std::vector<int> depth;
  };
  std::vector<OpenTree> trees_;
  Buffer x_, qkv_, attended_, between_, rotation_, normed_, logits_;
  int positions_known_ = 0;
  std::vector<float> frequencies_;
  // of the pass that is on
  std::vector<int32_t> ids_, positions_, offsets_, sequences_, filled_, pending_, ancestors_, wanted_rows_;
  Visibility visibility_ = Visibility::causal;
  int wanted_ = 0, longest_ = 0;
};

}  // namespace hedgerow
