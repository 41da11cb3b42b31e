// SPDX-License-Identifier: Apache-2.0
// How the bench commands measure: variants take turns inside a round, the multiply-add peak is taken in every
// round, and what is reported is a median over rounds - of ratios where two things are compared.
#pragma once

#include <string>
#include <vector>

#include "hedgerow/core/parallel.h"
#include "hedgerow/kernels/kernels.h"

namespace hedgerow::cli {

double median(std::vector<double> values);              // 0 of nothing
double quantile(std::vector<double> values, double q);  // nearest rank

// The multiply-add peak, flop/s. On a CPU the best of three: one that a neighbour cut short is no peak, and
// shares of it would pass 100 %.
double measured_peak(Context& on, Dtype dtype);

// The most memory the process has held since reset_peak_memory() (where the system allows a reset), in bytes.
double peak_memory_bytes();
void reset_peak_memory();

std::vector<std::string> split_list(const std::string& text, const std::string& flag);
std::vector<int> int_list(const std::string& text, const std::string& flag, int low, int high);
std::vector<double> number_list(const std::string& text, const std::string& flag, double low, double high);

// Rows of cells; numbers to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> head) : rows_{std::move(head)} {}
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// One line about the machine and the build, for the head of a report.
std::string machine_text(const Backend& backend, int threads);

}  // namespace hedgerow::cli
