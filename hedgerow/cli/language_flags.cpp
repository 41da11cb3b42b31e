// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/cli/language_flags.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "hedgerow/cli/flags.h"
#include "hedgerow/core/error.h"
#include "hedgerow/io/file.h"
#include "hedgerow/io/json.h"

namespace hedgerow::cli {

void LanguageFlags::add_to(CLI::App& c, bool drafts) {
  c.add_option("--model", model,
               "a GGUF file, a Hugging Face folder, a name, or random:SHAPE (default: hedgerow-lm-mini)");
  if (drafts)
    c.add_option("--draft", draft,
                 "what drafts: a smaller model, lookup (the text so far), MODEL+lookup (one tree), "
                 "MODEL+extend (its chain goes on by lookup), or none; "
                 "hedgerow-lm-mini has a draft of its own");
  if (drafts)
    c.add_option(
         "--draft-outputs", draft_outputs,
         "the draft proposes the first so many tokens only; 0: all (default: 32768 of large vocabularies)")
        ->check(CLI::Range(0, 1 << 24));
  c.add_option("--weights", weights,
               "what weights stored as floats become: file (as they are), bf16, int8 or int4")
      ->check(CLI::IsMember({"file", "bf16", "int8", "int4"}));
  c.add_option("--activations", activations, "what meets weights of codes: int8 or f32")
      ->check(CLI::IsMember({"int8", "f32"}));
  c.add_option("--cache", cache, "keys and values: f16 or f32")->check(CLI::IsMember({"f16", "f32"}));
  c.add_option("--gptq-zeros", gptq_zeros,
               "how GPTQ files store zeros, where they don't say it right: v1 or v2")
      ->check(CLI::IsMember({"v1", "v2"}));
  c.add_option("--context", context,
               "tokens that fit, prompt and text (default: what is needed, at most the model's)")
      ->check(CLI::Range(1, 1 << 24));
  c.add_option("--threads", threads, "threads (default: all cores)")->check(CLI::Range(1, 1024));
  c.add_flag("--verbose", verbose, "say what is fed and loaded, on stderr");
}

LanguageOptions LanguageFlags::options(const std::string& which) const {
  LanguageOptions o;
  o.model = which, o.gptq_zeros = gptq_zeros;
  o.load.weights = weights == "bf16"   ? WeightsAs::bf16
                   : weights == "int8" ? WeightsAs::int8
                   : weights == "int4" ? WeightsAs::int4
                                       : WeightsAs::file;
  o.load.activations = activations == "f32" ? RowsOf::f32 : RowsOf::int8;
  if (isatty(STDERR_FILENO))
    o.load.progress = [shown = -1, which](double done) mutable {
      const int percent = static_cast<int>(done * 100);
      if (percent / 5 == shown / 5 && percent < 100) return;
      shown = percent;
      fmt::print(stderr, "\r{} {} %{}", which, percent, percent >= 100 ? "\r\x1b[K" : "");
      std::fflush(stderr);
    };
  return o;
}

void SamplingFlags::add_to(CLI::App& c) {
  c.add_option("--temperature", sampling.temperature, "0: the likeliest token (default)")
      ->check(CLI::Range(0.0, 100.0));
  c.add_option("--top-k", sampling.top_k, "draw among the K likeliest; 0: all")
      ->check(CLI::Range(0, 1 << 22));
  c.add_option("--top-p", sampling.top_p, "draw among the fewest whose probabilities reach P")
      ->check(CLI::Range(1e-9, 1.0));
  c.add_option("--min-p", sampling.min_p,
               "leave out what has less than this share of the largest probability")
      ->check(CLI::Range(0.0, 0.999999));
  c.add_option("--repeat-penalty", sampling.repeat_penalty, "divides logits of tokens that were there before")
      ->check(CLI::Range(0.01, 100.0));
  c.add_option("--seed", sampling.seed, "of the draws");
}

OpenLanguage::OpenLanguage(const LanguageFlags& flags, bool drafts)
    : target(open_language_model(flags.options(flags.model))), flags_(flags) {
  std::string with = drafts ? flags.draft : "none";
  if (with == "default") with = flags.model == "hedgerow-lm-mini" ? "hedgerow-lm-mini-draft" : "none";
  const auto ends = [&](const char* what) {
    const bool yes = with.ends_with(what);
    if (yes) with.resize(with.size() - std::string_view(what).size());
    return yes;
  };
  extend = ends("+extend"), lookup = extend || ends("+lookup") || with == "lookup";
  if (with != "none" && with != "lookup") {
    draft = std::make_unique<LanguageModel>(open_language_model(flags.options(with)));
    check_draft(target, *draft);
  }
  for (const LanguageModel* m : {&target, draft.get()})
    for (const std::string& note : m ? m->notes : std::vector<std::string>{})
      fmt::print(stderr, "note: {}\n", note);
  on = std::make_unique<Context>(*target.weights->backend, flags.threads ? flags.threads : default_threads());
}

void OpenLanguage::make_room(int context) {
  const int most = target.weights->config.context;
  const int wanted = flags_.context ? flags_.context : std::min(context, most);
  if (wanted > most)
    throw Error(fmt::format("--context: wanted at most the model's {}, found {}", most, wanted));
  LlamaLimits limits{.context = wanted, .cache = flags_.cache == "f32" ? Dtype::f32 : Dtype::f16};
  pass = std::make_unique<LlamaPass>(target.weights, *on, limits);
  limits.context += kMostNodes;  // its tree lies behind the whole text
  // Vocabularies of byte-level BPE stand in the order of their merges: tokens of every day first.
  constexpr int kEveryDay = 32768;
  const int vocab = draft ? draft->weights->config.vocab : 0;
  limits.outputs = flags_.draft_outputs >= 0 ? flags_.draft_outputs : vocab >= 2 * kEveryDay ? kEveryDay : 0;
  if (draft) draft_pass = std::make_unique<LlamaPass>(draft->weights, *on, limits);
}

void PromptFlags::add_to(CLI::App& c) {
  auto* text = c.add_option("--prompt", prompt, "what to say to the model");
  auto* file =
      c.add_option("--prompt-file", prompt_file, "a file of it; - is standard input")->excludes(text);
  c.add_option("--messages", messages_file, "a conversation: a JSON list of {\"role\", \"content\"}")
      ->excludes(text)
      ->excludes(file);
  c.add_option("--system", system, "a system message in front");
  auto* as_chat = c.add_flag("--chat", chat, "by the model's chat template (default where it has one)");
  c.add_flag("--raw", raw, "as plain text, no template")->excludes(as_chat);
}

std::vector<int32_t> PromptFlags::tokens(const LanguageModel& model, std::string* fed) const {
  constexpr uint64_t kMost = 16u << 20;
  const auto text_of = [](const std::string& path) {
    if (path != "-") return read_file(path, kMost);
    std::string text;
    char buffer[65536];
    for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, stdin)) > 0;) {
      text.append(buffer, n);
      if (text.size() > kMost) throw Error("standard input: wanted at most 16 MB, found more");
    }
    return text;
  };
  std::vector<ChatMessage> messages;
  if (!system.empty()) messages.push_back({"system", system});
  if (!messages_file.empty()) {
    const nlohmann::json list = parse_json(text_of(messages_file), messages_file);
    if (!list.is_array() || list.empty())
      throw Error(messages_file + ": wanted a list of messages, found something else");
    for (const nlohmann::json& m : list) {
      const nlohmann::json *role = json_find(m, "role"), *content = json_find(m, "content");
      if (!role || !content || !role->is_string() || !content->is_string())
        throw Error(messages_file + ": wanted role and content as text in every message, found another");
      messages.push_back({role->get<std::string>(), content->get<std::string>()});
    }
  } else {
    const std::string text = prompt_file.empty() ? prompt : text_of(prompt_file);
    if (text.empty() && prompt_file.empty())
      throw Error("generate: wanted --prompt, --prompt-file or --messages, found none");
    messages.push_back({"user", text});
  }
  if (!raw && (chat || model.chat_template)) return model.chat(messages, fed);
  std::string all;
  for (const ChatMessage& m : messages) all += (all.empty() ? "" : "\n") + m.content;
  if (fed) *fed = all;
  return model.raw(all);
}

}  // namespace hedgerow::cli
