// SPDX-License-Identifier: Apache-2.0
// Text that knows where each byte came from, and what Python's str does with it. Indices count code points; a
// byte that is no UTF-8 counts as one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hedgerow::jinja {

// What one rendering may use, in all: a template that needs more ends in an Error.
class Budget {
 public:
  Budget(int64_t steps, int64_t bytes) : steps_(steps), bytes_(bytes) {}
  void step(int64_t n = 1);
  // Call it before the bytes are made.
  void bytes(size_t n);

 private:
  int64_t steps_, bytes_;
};

constexpr char kTemplate = 't', kUser = 'u';

struct Text {
  std::string bytes, marks;  // marks[i] is the origin of bytes[i]

  Text() = default;
  Text(std::string_view s, char mark = kTemplate) : bytes(s), marks(s.size(), mark) {}
  size_t size() const { return bytes.size(); }
  bool empty() const { return bytes.empty(); }
  Text sub(size_t at, size_t n = std::string::npos) const;
  void append(const Text& other);
  void append(std::string_view s, char mark = kTemplate);
};

// The code point at bytes[at], and its length in bytes in `n`; 0xfffd-like -1 for a byte that is no UTF-8.
int32_t code_point(std::string_view s, size_t at, size_t& n);
size_t count_points(std::string_view s);
std::vector<size_t> point_starts(std::string_view s);  // and s.size() at the end
std::string encode_point(uint32_t c);
bool is_space(int32_t c);

enum class Side { left = 1, right = 2, both = 3 };
Text strip(const Text& t, Side side);
Text strip(const Text& t, Side side, std::string_view chars);
// at_most < 0: no limit.
std::vector<Text> split_spaces(const Text& t, int64_t at_most, Budget& budget);
std::vector<Text> split_at(const Text& t, std::string_view separator, int64_t at_most, Budget& budget);
std::vector<Text> split_lines(const Text& t, Budget& budget);
Text replace(const Text& t, std::string_view from, const Text& to, int64_t at_most, Budget& budget);
Text reversed(const Text& t);

enum class Case { upper, lower, capitalize, title, title_filter };
// Characters beyond ASCII that have a case are refused, by the name of the operation.
Text to_case(const Text& t, Case which);

void append_repr(Text& out, const Text& t);  // as Python's repr()
void append_json(Text& out, const Text& t);  // as json.dumps(ensure_ascii=False)
std::string float_repr(double d);
double read_float(std::string_view s);  // digits, as in source; NaN for anything else

}  // namespace hedgerow::jinja
