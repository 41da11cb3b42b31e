// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/cli/bench_counts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "hedgerow/core/error.h"
#include "hedgerow/io/file.h"
#include "hedgerow/io/json.h"

namespace hedgerow::cli {

std::vector<int> spread_counts(int batch, int patches, double keep, double spread, uint64_t seed) {
  std::mt19937 generator(static_cast<uint32_t>(seed));
  std::vector<double> r;
  double mean = 0;
  for (int i = 0; i < batch; ++i) {
    r.push_back(static_cast<double>(generator() & 0xffffff) * 0x1p-24 * 2 - 1);
    mean += r.back() / batch;
  }
  std::vector<int> counts;
  for (const double x : r)
    counts.push_back(
        std::clamp(static_cast<int>(std::nearbyint((keep + spread * (x - mean)) * patches)), 1, patches));
  return counts;
}

std::vector<std::vector<int32_t>> read_counts(const std::string& file) {
  std::vector<std::vector<int32_t>> out;
  const std::string text = read_file(file, 256u << 20);
  for (size_t from = 0, number = 1; from < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', from), text.size());
    const std::string line = text.substr(from, end - from), where = fmt::format("{} line {}", file, number);
    from = end + 1;
    if (line.empty()) continue;
    const nlohmann::json object = parse_json(line, where);
    const nlohmann::json* kept = json_find(object, "kept");
    require(kept && kept->is_array() && kept->size() <= 1000,
            where + ": wanted \"kept\": [rows leaving each block]");
    std::vector<int32_t> rows;
    for (const auto& v : *kept) {
      require(v.is_number_unsigned() && v.get<uint64_t>() <= 1u << 20, where + ": kept: wanted row counts");
      rows.push_back(v.get<int32_t>());
    }
    out.push_back(std::move(rows));
  }
  require(!out.empty(), file + ": wanted at least one line, found none");
  return out;
}

double rate_of(int count, int patches) { return std::min(1.0, (count + 0.25) / patches); }

}  // namespace hedgerow::cli
