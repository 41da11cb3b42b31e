// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>

#include "hedgerow/vision/classify.h"

namespace hedgerow {

std::vector<TopClass> top_classes(const float* logits, int classes, int top) {
  // NaN ranks below everything, so that the order is one even then.
  const auto rank = [logits](int i) {
    return std::isnan(logits[i]) ? -std::numeric_limits<float>::infinity() : logits[i];
  };
  std::vector<int> order(static_cast<size_t>(std::max(classes, 0)));
  for (int i = 0; i < classes; ++i) order[i] = i;
  const int n = std::clamp(top, 0, classes);
  std::partial_sort(order.begin(), order.begin() + n, order.end(),
                    [&](int a, int b) { return rank(a) != rank(b) ? rank(a) > rank(b) : a < b; });
  double highest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int i = 0; i < classes; ++i) highest = std::max(highest, static_cast<double>(rank(i)));
  for (int i = 0; i < classes; ++i) sum += std::exp(logits[i] - highest);
  std::vector<TopClass> out;
  for (int i = 0; i < n; ++i) out.push_back({order[i], std::exp(logits[order[i]] - highest) / sum});
  return out;
}

}  // namespace hedgerow
