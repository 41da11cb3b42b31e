// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/cli/generate_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace hedgerow::cli {

std::string GenerateReport::json() const {
  const GenerateStats& s = generated.stats;
  nlohmann::json acceptance = nlohmann::json::array(), histogram = s.accepted_lengths;
  for (size_t d = 0; d < s.drafts_by_depth.size(); ++d)
    acceptance.push_back(
        {{"depth", d + 1}, {"drafts", s.drafts_by_depth[d]}, {"accepted", s.accepted_by_depth[d]}});
  std::vector<bool> drafted(generated.drafted.begin(), generated.drafted.end());
  const bool used = s.speculative_passes > 0, asked = lm.draft || lm.lookup;
  nlohmann::json speculation = {{"used", used}};
  if (!used) speculation["reason"] = asked ? s.why_not : "no draft was given";
  const double rate = s.drafted ? static_cast<double>(s.accepted) / static_cast<double>(s.drafted) : 0;
  nlohmann::json out = {
      {"text", text},
      {"tokens", generated.tokens},
      {"drafted_tokens", drafted},
      {"prompt_tokens", s.prompt_tokens},
      {"finish_reason", name_of(generated.finish)},
      {"seed", seed},
      {"template", raw ? "raw" : "model"},
      {"tree", tree},
      {"passes", s.passes},
      {"drafted", s.drafted},
      {"accepted", s.accepted},
      {"acceptance",
       {{"definition", "survival: drafts whose first d tokens were accepted, of drafts that reached depth d"},
        {"by_depth", acceptance}}},
      {"speculation", speculation},
      {"seconds",
       {{"load", load},
        {"prefill", s.prefill},
        {"draft_prefill", s.draft_prefill},
        {"draft", s.draft},
        {"verify", s.verify},
        {"other", std::max(0.0, s.generate - s.draft - s.draft_prefill - s.verify)},
        {"generate", s.generate},
        {"total", total}}},
      {"metrics",
       {{"num_spec_steps", s.speculative_passes},
        {"num_draft_tokens", s.drafted},
        {"num_accepted_draft_tokens", s.accepted},
        {"mean_acceptance_length",
         s.speculative_passes ? 1 + static_cast<double>(s.accepted) / s.speculative_passes : 1.0},
        {"draft_acceptance_rate", rate},
        {"acceptance_histogram", histogram}}}};
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string GenerateReport::text_stats() const {
  const GenerateStats& s = generated.stats;
  const auto n = static_cast<double>(generated.tokens.size());
  std::string out = fmt::format(
      "\n{} tokens behind {} in {:.2f} s: {:.1f} tokens/s, {:.2f} tokens a pass (prefill {:.2f} s, load "
      "{:.2f} s)\n",
      generated.tokens.size(), s.prompt_tokens, s.generate, n / std::max(1e-9, s.generate),
      n / std::max(1, s.passes), s.prefill, load);
  if (!s.costs.draft.empty()) {
    out += "milliseconds of a pass, by rows:";
    for (const int rows : s.costs.target.rows())
      out += fmt::format(" {}: {:.1f}", rows, 1e3 * s.costs.target.at(rows));
    out += fmt::format("; of the draft, one row: {:.1f}\n", 1e3 * s.costs.draft.at(1));
  }
  if (s.speculative_passes == 0) {
    if (lm.draft || lm.lookup) out += fmt::format("speculation was not used: {}\n", s.why_not);
    return out;
  }
  out += fmt::format("time: draft {:.2f} s ({:.2f} of it reading the prompt), verify {:.2f} s\n",
                     s.draft + s.draft_prefill, s.draft_prefill, s.verify);
  out += fmt::format(
      "drafted {}, accepted {}: {:.1f} %; survival by depth:", s.drafted, s.accepted,
      100.0 * static_cast<double>(s.accepted) / static_cast<double>(std::max<int64_t>(1, s.drafted)));
  for (size_t d = 0; d < s.drafts_by_depth.size(); ++d)
    out += fmt::format(" {:.0f} %", 100.0 * static_cast<double>(s.accepted_by_depth[d]) /
                                        static_cast<double>(std::max<int64_t>(1, s.drafts_by_depth[d])));
  out += "\n";
  const double mean = static_cast<double>(s.accepted) / s.speculative_passes;
  if (s.speculative_passes >= 16 && mean < 0.2)
    out += "acceptance is very low: this draft does not know this text\n";
  return out;
}

}  // namespace hedgerow::cli
