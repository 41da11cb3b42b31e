// SPDX-License-Identifier: Apache-2.0
// Generating text: plainly, or by drafting a tree of tokens, running all of it in one pass and keeping what
// the model itself would have chosen. Both give the same tokens.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hedgerow/language/draft.h"
#include "hedgerow/language/policy.h"
#include "hedgerow/language/sampler.h"

namespace hedgerow {

struct DraftWith {
  LlamaPass* model = nullptr;  // null: none
  bool lookup = false;         // beside it, or alone
  bool extend = false;         // the model's chain goes on by lookup
};

struct GenerateOptions {
  Sampling sampling = {};
  TreeShape tree = {};
  int max_tokens = 256;
  std::vector<int32_t> end_of_text = {};
  Costs costs = {};  // empty: measured before the first token
  const std::atomic<bool>* interrupted = nullptr;
};

enum class Finish : uint8_t { length, end_of_text, stop, context, interrupted };
const char* name_of(Finish f);

struct GenerateStats {
  int prompt_tokens = 0, passes = 0;
  int64_t drafted = 0, accepted = 0;
  std::vector<int64_t> drafts_by_depth, accepted_by_depth;  // passes that reached so deep; [depth - 1]
  std::vector<int> accepted_lengths;                        // histogram by accepted tokens of a pass
  double prefill = 0, draft_prefill = 0, draft = 0, verify = 0, generate = 0, total = 0;
  int speculative_passes = 0;
  Costs costs;          // as they were at the end
  std::string why_not;  // where a draft was given and never used
};

struct Generated {
  std::vector<int32_t> tokens;   // an end-of-text token is not among them
  std::vector<uint8_t> drafted;  // [tokens]: came from the draft
  Finish finish = Finish::length;
  GenerateStats stats;
};

class Generator {
 public:
  // Sequence 0 of `target` is this one's.
  Generator(LlamaPass& target, const DraftWith& draft);

  // A token that became text, in order; false ends the generation there (a stop string).
  using OnToken = std::function<bool(int32_t token, bool drafted)>;
  // What the cache already shares with the prompt stays (the turns of a chat).
  Generated run(const std::vector<int32_t>& prompt, const GenerateOptions& how, const OnToken& on_token = {});

  // Seconds of passes here: at most half a second, or 20 plain tokens.
  Costs measure();

 private:
  struct Run;
  void prefill(Run& r);
  void plan(Run& r);
  void draft_shape(Run& r, const TreeShape& shape);
  void draft_auto(Run& r);
  void keep_best(Run& r, int nodes);
  bool prefill_pays(Run& r, int behind) const;
  void add_lookup(Run& r);
  int children(Run& r, int node, int count, double least);
  void step(Run& r);
  bool take(Run& r, int32_t token, bool drafted);

  LlamaPass& target_;
  DraftWith with_;
  std::unique_ptr<ModelDraft> model_;
  LookupDraft lookup_;
  std::vector<int32_t> known_;  // text in the target's cache
};

}  // namespace hedgerow
