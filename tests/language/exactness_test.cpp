// SPDX-License-Identifier: Apache-2.0
// The two promises on our own pair of models: a row's bits do not depend on what runs beside it, and drafted
// text is plain text, token for token.
#include <gtest/gtest.h>

#include <cstring>

#include "hedgerow/core/rng.h"
#include "hedgerow/io/file.h"
#include "hedgerow/io/json.h"
#include "hedgerow/language/language_model.h"

namespace hedgerow {
namespace {

const std::string kModels = std::string(HEDGEROW_SOURCE_DIR) + "/models/";

std::vector<const Backend*> levels() {
  std::vector<const Backend*> here;
  for (const Backend* b : all_backends())
    if (b->host && b->runs_here()) here.push_back(b);
  return here;
}

// Logits of every row of a pass, copied.
std::vector<std::vector<float>> rows_of(const LlamaPass& pass) {
  std::vector<std::vector<float>> rows;
  for (int i = 0; i < pass.logit_rows(); ++i)
    rows.emplace_back(pass.logits(i), pass.logits(i) + pass.outputs());
  return rows;
}
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}
std::vector<int32_t> some_tokens(int count, uint64_t key, int vocab) {
  std::vector<int32_t> t;
  for (int i = 0; i < count; ++i)
    t.push_back(
        static_cast<int32_t>(Rng{7, key}.bits(static_cast<uint64_t>(i)) % static_cast<uint64_t>(vocab)));
  return t;
}

void read_context(LlamaPass& pass, int sequence, const std::vector<int32_t>& tokens, int count, int step) {
  pass.truncate(sequence, 0);
  for (int at = 0; at < count; at += step) {
    const int now = std::min(step, count - at);
    pass.forward(
        {{.sequence = sequence, .tokens = tokens.data() + at, .count = now, .logits = Logits::none}});
    pass.keep(sequence, now);
  }
}

class EveryFormat : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(, EveryFormat, testing::Values("q4_0", "q8_0", "f32", "f16", "bf16"));

TEST_P(EveryFormat, a_row_of_a_tree_has_the_bits_of_its_path_alone) {
  const auto file = open_lm({.path = std::string("random:small-") + GetParam(), .gptq_zeros = ""});
  for (const Backend* b : levels())
    for (const Dtype cache : {b->name[0] == 's' ? Dtype::f32 : Dtype::f16}) {
      const auto model = load_llama(*file, *b);
      Context on(*b, cache == Dtype::f16 ? 2 : 1);
      LlamaPass pass(model, on, {.context = 400, .cache = cache});
      const std::vector<int32_t> text = some_tokens(80, 1, 500), drafted = some_tokens(64, 2, 500);
      for (const int context : {0, 17, 65})
        for (const int count : {1, 9, 33}) {
          read_context(pass, 0, text, context, 64);
          std::vector<int32_t> parents{-1};
          for (int i = 1; i < count; ++i)
            parents.push_back(static_cast<int32_t>(Rng{9, 3}.bits(static_cast<uint64_t>(i * 64 + count)) %
                                                   static_cast<uint64_t>(i)));
          pass.forward({{.sequence = 0,
                         .tokens = drafted.data(),
                         .count = count,
                         .parents = parents.data(),
                         .logits = Logits::all}});
          const auto tree = rows_of(pass);
          for (const int row : {0, count / 2, count - 1}) {
            std::vector<int32_t> path;
            for (int n = row; n >= 0; n = parents[static_cast<size_t>(n)])
              path.insert(path.begin(), drafted[static_cast<size_t>(n)]);
            for (const int32_t t : path) {
              pass.forward({{.sequence = 0, .tokens = &t, .count = 1}});
              pass.keep(0, 1);
            }
            EXPECT_TRUE(same_bits(rows_of(pass)[0], tree[static_cast<size_t>(row)]))
                << b->name << ": context " << context << ", row " << row << " of " << count;
            pass.truncate(0, context);
          }
        }
    }
}

TEST(Exactness, however_a_prompt_is_cut_and_whatever_shares_the_batch_the_bits_are_one) {
  const auto file = open_lm({.path = kModels + "hedgerow-lm-mini", .gptq_zeros = ""});
  for (const Backend* b : levels()) {
    const auto model = load_llama(*file, *b, {.weights = WeightsAs::int4});
    Context on(*b, 2);
    LlamaPass pass(model, on, {.sequences = 2, .context = 300});
    const std::vector<int32_t> a = some_tokens(200, 4, 1500), c = some_tokens(90, 5, 1500);
    std::vector<std::vector<float>> seen;
    for (const int step : {1, 7, 64, 65, 200}) {
      read_context(pass, 0, a, 199, step);
      pass.forward({{.sequence = 0, .tokens = &a[199], .count = 1}});
      seen.push_back(rows_of(pass)[0]);
      EXPECT_TRUE(same_bits(seen[0], seen.back())) << b->name << ": " << step << " at a time";
    }
    for (const bool first : {true, false}) {
      read_context(pass, 0, a, 150, 64), read_context(pass, 1, c, 40, 64);
      const LlamaRows mine{.sequence = 0, .tokens = a.data() + 150, .count = 50},
          other{.sequence = 1, .tokens = c.data() + 40, .count = 50};
      pass.forward(first ? std::vector{mine, other} : std::vector{other, mine});
      EXPECT_TRUE(same_bits(rows_of(pass)[first ? 0 : 1], seen[0])) << b->name;
    }
  }
}

TEST(Exactness, what_is_kept_of_a_tree_is_what_plain_decoding_would_have_kept) {
  const auto file = open_lm({.path = kModels + "hedgerow-lm-mini", .gptq_zeros = ""});
  const Backend& b = find_backend("");
  const auto model = load_llama(*file, b);
  Context on(b, 1);
  LlamaPass tree(model, on, {.context = 200}), plain(model, on, {.context = 200});
  const std::vector<int32_t> t = some_tokens(80, 6, 1500);
  read_context(tree, 0, t, 30, 64), read_context(plain, 0, t, 30, 64);
  const std::vector<int32_t> parents = {-1, 0, 0, 1, 2, 4, 3}, path = {0, 2, 4, 5};
  tree.forward({{.sequence = 0,
                 .tokens = t.data() + 30,
                 .count = 7,
                 .parents = parents.data(),
                 .logits = Logits::none}});
  tree.keep(0, path.data(), 4);
  for (const int32_t row : path) {
    plain.forward(
        {{.sequence = 0, .tokens = &t[30 + static_cast<size_t>(row)], .count = 1, .logits = Logits::none}});
    plain.keep(0, 1);
  }
  EXPECT_EQ(tree.length(0), plain.length(0));
  tree.forward({{.sequence = 0, .tokens = t.data() + 40, .count = 20, .logits = Logits::all}});
  plain.forward({{.sequence = 0, .tokens = t.data() + 40, .count = 20, .logits = Logits::all}});
  for (int i = 0; i < 20; ++i)
    EXPECT_TRUE(same_bits(rows_of(tree)[static_cast<size_t>(i)], rows_of(plain)[static_cast<size_t>(i)]))
        << i;
}

struct Pair {
  LanguageModel target = open_language_model({.model = kModels + "hedgerow-lm-mini"}),
                draft = open_language_model({.model = kModels + "hedgerow-lm-mini-draft"});
  nlohmann::json prompts =
      parse_json(read_file(kModels + "hedgerow-lm-mini/prompts.json", 1 << 20), "prompts");
  // Costs at which trees pay, so that a test does not depend on the machine.
  Costs costs{.target = CostCurve({1, 16, 64}, {1, 1.2, 2}),
              .draft = CostCurve({1, 16}, {0.1, 0.15}),
              .draft_prefill = 0.001};
};
Pair& pair() {
  static Pair p;
  return p;
}

Generated run(const std::string& tree, const DraftWith& with, LlamaPass& pass,
              const std::vector<int32_t>& prompt, const Sampling& sampling, int most,
              const Generator::OnToken& on_token = {}) {
  pass.truncate(0, 0);
  if (with.model) with.model->truncate(0, 0);
  Generator g(pass, with);
  return g.run(prompt,
               {.sampling = sampling,
                .tree = parse_tree(tree),
                .max_tokens = most,
                .end_of_text = pair().target.tokenizer->vocabulary().end_of_text,
                .costs = pair().costs},
               on_token);
}

TEST(Exactness, drafted_text_is_plain_text_in_every_mode) {
  Pair& p = pair();
  const Backend& b = *p.target.weights->backend;
  int accepted_runs = 0, runs = 0;
  for (const int threads : {2}) {
    Context on(b, threads);
    LlamaPass pass(p.target.weights, on, {.context = 500}), draft(p.draft.weights, on, {.context = 564});
    for (const Sampling& s :
         {Sampling{}, Sampling{.temperature = 0.8, .top_k = 50, .top_p = 0.95, .min_p = 0.01, .seed = 3},
          Sampling{.repeat_penalty = 1.1}}) {
      for (const auto& [domain, texts] : p.prompts.items()) {
        const std::vector<int32_t> prompt = p.target.chat({{"user", texts[0].get<std::string>()}});
        const Generated plain = run("off", {.model = &draft}, pass, prompt, s, 32);
        for (const char* tree : {"chain:3", "full:3x2", "best:15:4", "auto"})
          for (const DraftWith& with : {DraftWith{.model = &draft}, DraftWith{.lookup = true},
                                        DraftWith{.model = &draft, .lookup = true},
                                        DraftWith{.model = &draft, .lookup = true, .extend = true}}) {
            const Generated drafted = run(tree, with, pass, prompt, s, 32);
            EXPECT_EQ(drafted.tokens, plain.tokens) << domain << " " << tree << " threads " << threads;
            EXPECT_EQ(drafted.finish, plain.finish) << domain << " " << tree;
            ++runs, accepted_runs += drafted.stats.accepted > 0;
          }
      }
    }
  }
  EXPECT_GE(accepted_runs * 10, runs * 7) << "too few runs accepted anything to show something";
}

TEST(Exactness, a_draft_that_is_the_target_is_always_right_and_a_hostile_one_changes_nothing) {
  Pair& p = pair();
  const Backend& b = *p.target.weights->backend;
  Context on(b, 1);
  LlamaPass pass(p.target.weights, on, {.context = 400}), same(p.target.weights, on, {.context = 464});
  const std::vector<int32_t> prompt = p.target.chat({{"user", p.prompts["code"][0].get<std::string>()}});
  const Generated plain = run("off", {}, pass, prompt, {}, 60);
  const Generated sure = run("chain:4", {.model = &same}, pass, prompt, {}, 60);
  EXPECT_EQ(sure.tokens, plain.tokens);
  EXPECT_GT(sure.stats.drafted, 30);
  EXPECT_GE(sure.stats.accepted, sure.stats.drafted - 4);  // but for what lies behind the end of the text
  const auto random = load_llama(*open_lm({.path = "random:small-q8_0"}), b),
             other = load_llama(*open_lm({.path = "random:small-f32"}), b);
  LlamaPass second(random, on, {.context = 200}), hostile(other, on, {.context = 264});
  const std::vector<int32_t> low = some_tokens(20, 8, 500);
  const Generated plain_low = run("off", {}, second, low, {}, 40),
                  with_hostile = run("full:2x3", {.model = &hostile}, second, low, {}, 40);
  EXPECT_EQ(with_hostile.tokens, plain_low.tokens);
}

TEST(Exactness, a_text_that_ends_inside_an_accepted_path_ends_as_plain_text_does) {
  Pair& p = pair();
  Context on(*p.target.weights->backend, 1);
  const std::vector<int32_t> prompt =
      p.target.chat({{"user", p.prompts["arithmetic"][1].get<std::string>()}});
  for (int most = 1; most <= 24; most += 3)
    for (const int room : {400, static_cast<int>(prompt.size()) + most / 2 + 1}) {
      LlamaPass pass(p.target.weights, on, {.context = room}),
          draft(p.draft.weights, on, {.context = room + 64});
      const Generated plain = run("off", {}, pass, prompt, {}, most);
      for (const char* tree : {"chain:5", "full:3x2", "best:15:4"}) {
        const Generated drafted = run(tree, {.model = &draft}, pass, prompt, {}, most);
        EXPECT_EQ(drafted.tokens, plain.tokens) << tree << " at " << most << " in " << room;
        EXPECT_EQ(drafted.finish, plain.finish) << tree << " at " << most << " in " << room;
      }
      // A stop in the middle.
      int seen = 0;
      const auto stop = [&](int32_t, bool) { return ++seen < most; };
      const Generated stopped = run("chain:5", {.model = &draft}, pass, prompt, {}, 100, stop);
      EXPECT_EQ(stopped.tokens, std::vector<int32_t>(plain.tokens.begin(),
                                                     plain.tokens.begin() +
                                                         static_cast<std::ptrdiff_t>(stopped.tokens.size())));
    }
}

}  // namespace
}  // namespace hedgerow
