// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/cli/bench_support.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>

#include "hedgerow/cli/output.h"
#include "hedgerow/core/clock.h"
#include "hedgerow/core/error.h"

namespace hedgerow::cli {

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const size_t rank = static_cast<size_t>(std::ceil(q * static_cast<double>(values.size())));
  const size_t at = std::min(values.size() - 1, rank > 0 ? rank - 1 : 0);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[at];
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double measured_peak(Context& on, Dtype dtype) {
  double best = 0;
  for (int again = 0; again < (on.backend().host ? 3 : 1); ++again)
    best = std::max(best, on.backend().peak_flops(on, dtype));
  return best;
}

double peak_memory_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmHWM:", 0) == 0) return 1024 * std::strtod(line.c_str() + 6, nullptr);
  return 0;
}

void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << 5; }

std::vector<std::string> split_list(const std::string& text, const std::string& flag) {
  std::vector<std::string> out;
  for (size_t from = 0; from <= text.size();) {
    const size_t comma = std::min(text.find(',', from), text.size());
    if (comma > from) out.push_back(text.substr(from, comma - from));
    from = comma + 1;
  }
  require(!out.empty(), fmt::format("{}: wanted a list as in a,b, found '{}'", flag, text));
  return out;
}

std::vector<double> number_list(const std::string& text, const std::string& flag, double low, double high) {
  std::vector<double> out;
  for (const std::string& part : split_list(text, flag)) {
    double value = 0;
    const auto [end, fault] = std::from_chars(part.data(), part.data() + part.size(), value);
    require(fault == std::errc() && end == part.data() + part.size() && value >= low && value <= high,
            fmt::format("{}: wanted numbers from {} to {}, found '{}'", flag, low, high, part));
    out.push_back(value);
  }
  return out;
}

std::vector<int> int_list(const std::string& text, const std::string& flag, int low, int high) {
  std::vector<int> out;
  for (const double v : number_list(text, flag, low, high)) {
    require(v == std::floor(v), fmt::format("{}: wanted whole numbers, found {}", flag, v));
    out.push_back(static_cast<int>(v));
  }
  return out;
}

std::string Table::text() const {
  std::vector<size_t> wide;
  for (const auto& row : rows_)
    for (size_t c = 0; c < row.size(); ++c) {
      if (wide.size() <= c) wide.push_back(0);
      wide[c] = std::max(wide[c], row[c].size());
    }
  const auto is_number = [](const std::string& s) {
    return !s.empty() && (std::isdigit(s[0]) || s[0] == '-');
  };
  std::string out;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (size_t c = 0; c < rows_[r].size(); ++c) {
      // A head stands over its column the way the column's first cell does.
      const bool right = is_number(rows_[r == 0 && rows_.size() > 1 ? 1 : r][c]);
      line += right ? fmt::format("{:>{}}  ", rows_[r][c], wide[c])
                    : fmt::format("{:<{}}  ", rows_[r][c], wide[c]);
    }
    while (!line.empty() && line.back() == ' ') line.pop_back();
    out += line + "\n";
  }
  return out;
}

std::string machine_text(const Backend& backend, int threads) {
  std::string cpu = "unknown processor";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) {
      cpu = line.substr(std::min(line.size(), line.find(':') + 2));
      break;
    }
  return fmt::format("{}, {}, kernels {}, hedgerow {}, {}", cpu,
                     counted(static_cast<size_t>(threads), "thread"), backend.name, HEDGEROW_VERSION,
#if defined(__clang__)
                     "clang " __clang_version__
#else
                     "g++ " __VERSION__
#endif
  );
}

}  // namespace hedgerow::cli
