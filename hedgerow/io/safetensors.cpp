// SPDX-License-Identifier: Apache-2.0
// The header is read by events, not into a tree: memory stays proportional to what is kept, and a repeated
// name, a wrong type or too deep a nesting is caught where it stands.
#include "hedgerow/io/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "hedgerow/core/error.h"
#include "hedgerow/core/tensor.h"
#include "hedgerow/io/json.h"

namespace hedgerow {
namespace {

constexpr int kMaxRank = 8;
constexpr size_t kMaxName = 1024;

// Accepts {"name": {"dtype": text, "shape": [n...], "data_offsets": [n, n]}, ..., "__metadata__": {text:
// text}}.
class HeaderEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderEvents(const std::string& where) : where_(where) {}
  std::vector<TensorEntry> entries;

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a truth value"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return unexpected("a fraction"); }
  bool binary(binary_t&) override { return unexpected("binary"); }
  bool number_unsigned(number_unsigned_t n) override {
    if (!in_array_) return unexpected("a number");
    std::vector<int64_t>& list = field_ == Field::shape ? entries.back().shape : offsets_;
    if (n > (uint64_t{1} << 62) || list.size() >= kMaxRank)
      return unexpected("too large a number or too many of them");
    list.push_back(static_cast<int64_t>(n));
    return true;
  }
  bool string(string_t& s) override {
    if (depth_ == 2 && in_metadata_) return true;
    if (depth_ != 2 || in_array_ || field_ != Field::dtype) return unexpected("text");
    entries.back().dtype = s.substr(0, 16);
    seen_ |= 1;
    return true;
  }
  bool key(string_t& k) override {
    if (depth_ == 1) {
      in_metadata_ = k == "__metadata__";
      if (k.size() > kMaxName) return unexpected("a name longer than 1024 bytes");
      if (!in_metadata_) entries.emplace_back().name = k;
    } else if (!in_metadata_) {
      field_ = k == "dtype"          ? Field::dtype
               : k == "shape"        ? Field::shape
               : k == "data_offsets" ? Field::offsets
                                     : Field::none;
      if (field_ == Field::none) return unexpected("key \"" + printable(k) + "\"");
    }
    return true;
  }
  bool start_object(size_t) override {
    if (depth_ >= 2 || in_array_) return unexpected("an object");
    if (++depth_ == 2) {
      seen_ = 0;
      offsets_.clear();
    }
    return true;
  }
  bool end_object() override {
    if (depth_-- == 2 && !in_metadata_) {
      TensorEntry& e = entries.back();
      if (seen_ != 7 || offsets_.size() != 2 || offsets_[0] > offsets_[1])
        throw Error(fmt::format("{}: tensor {}: wanted dtype, shape and two rising data_offsets", where_,
                                printable(e.name)));
      e.begin = static_cast<uint64_t>(offsets_[0]);
      e.end = static_cast<uint64_t>(offsets_[1]);
    }
    return true;
  }
  bool start_array(size_t) override {
    if (depth_ != 2 || in_metadata_ || in_array_ || (field_ != Field::shape && field_ != Field::offsets))
      return unexpected("a list");
    (field_ == Field::shape ? entries.back().shape : offsets_).clear();
    seen_ |= field_ == Field::shape ? 2 : 4;
    return in_array_ = true;
  }
  bool end_array() override {
    in_array_ = false;
    return true;
  }
  bool parse_error(size_t at, const std::string&, const nlohmann::json::exception&) override {
    throw Error(fmt::format("{}: the header is not valid JSON at byte {}", where_, 8 + at));
  }

 private:
  enum class Field { none, dtype, shape, offsets };

  bool unexpected(const std::string& what) const {
    throw Error(fmt::format("{}: the header has {} where it does not belong", where_, what));
  }

  const std::string& where_;
  std::vector<int64_t> offsets_;
  Field field_ = Field::none;
  int depth_ = 0, seen_ = 0;
  bool in_array_ = false, in_metadata_ = false;
};

// Bytes the shape asks for; Error when that does not fit 62 bits.
uint64_t bytes_wanted(const TensorEntry& e, const std::string& where) {
  uint64_t n = static_cast<uint64_t>(bytes_of_dtype(e.dtype));
  for (int64_t extent : e.shape)
    if (__builtin_mul_overflow(n, static_cast<uint64_t>(extent), &n) || n > (uint64_t{1} << 62))
      throw Error(
          fmt::format("{}: tensor {}: shape {} is too large", where, printable(e.name), shape_text(e.shape)));
  return n;
}

}  // namespace

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

int64_t TensorEntry::count() const {
  int64_t n = 1;
  for (int64_t extent : shape) n *= extent;
  return n;
}

int bytes_of_dtype(const std::string& dtype) {
  constexpr struct {
    const char* name;
    int bytes;
  } kTypes[] = {{"F64", 8},  {"F32", 4}, {"F16", 2},     {"BF16", 2},    {"I64", 8},    {"I32", 4},
                {"I16", 2},  {"I8", 1},  {"U64", 8},     {"U32", 4},     {"U16", 2},    {"U8", 1},
                {"BOOL", 1}, {"C64", 8}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}};
  for (const auto& t : kTypes)
    if (dtype == t.name) return t.bytes;
  return 0;
}

uint64_t safetensors_header_bytes(const uint8_t first[8], uint64_t file_bytes, const std::string& where) {
  uint64_t n = 0;
  for (int i = 7; i >= 0; --i) n = n << 8 | first[i];
  if (n > kMaxSafetensorsHeader || n + 8 > file_bytes)
    throw Error(fmt::format("{}: not a safetensors file: a header of {} bytes in a file of {}", where, n,
                            file_bytes));
  return n;
}

std::vector<TensorEntry> parse_safetensors(const uint8_t* data, size_t bytes, uint64_t file_bytes,
                                           const std::string& where) {
  if (bytes < 8 || file_bytes < bytes)
    throw Error(fmt::format("{}: not a safetensors file: {} bytes are too few for a header", where, bytes));
  const uint64_t header = safetensors_header_bytes(data, file_bytes, where);
  if (header + 8 > bytes) throw Error(where + ": the header is not all there");
  HeaderEvents events(where);
  const char* text = reinterpret_cast<const char*>(data) + 8;
  if (!nlohmann::json::sax_parse(text, text + header, &events))
    throw Error(where + ": the header is not valid JSON");

  std::vector<TensorEntry> entries = std::move(events.entries);
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  const uint64_t data_bytes = file_bytes - 8 - header;
  uint64_t at = 0;
  for (TensorEntry& e : entries) {
    const int width = bytes_of_dtype(e.dtype);
    if (width == 0)
      throw Error(
          fmt::format("{}: tensor {}: unknown dtype {}", where, printable(e.name), printable(e.dtype)));
    if (const uint64_t wanted = bytes_wanted(e, where); wanted != e.end - e.begin)
      throw Error(fmt::format("{}: tensor {}: {} {} needs {} bytes, the header gives it {}", where,
                              printable(e.name), e.dtype, shape_text(e.shape), wanted, e.end - e.begin));
    if (e.begin != at)
      throw Error(fmt::format("{}: tensor {}: starts at {}, but the one before ends at {}", where,
                              printable(e.name), e.begin, at));
    if (e.end > data_bytes)
      throw Error(
          fmt::format("{}: tensor {}: ends at {}, but the file has only {} bytes of values (cut short?)",
                      where, printable(e.name), e.end, data_bytes));
    at = e.end;
    e.begin += 8 + header;
    e.end += 8 + header;
  }
  if (at != data_bytes)
    throw Error(fmt::format("{}: {} bytes after the last tensor belong to none", where, data_bytes - at));
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  for (size_t i = 1; i < entries.size(); ++i)
    if (entries[i].name == entries[i - 1].name)
      throw Error(fmt::format("{}: tensor {} is listed twice", where, printable(entries[i].name)));
  return entries;
}

void values_to_f32(const TensorEntry& entry, const uint8_t* from, size_t count, float* to,
                   const std::string& where) {
  if (entry.dtype == "F32") {
    if (count > 0) std::memcpy(to, from, count * 4);
    return;
  }
  const bool bf16 = entry.dtype == "BF16";
  if (!bf16 && entry.dtype != "F16")
    throw Error(fmt::format("{}: tensor {}: dtype {} is not supported (F32, F16 and BF16 are)", where,
                            printable(entry.name), entry.dtype));
  for (size_t i = 0; i < count; ++i) {
    const uint16_t h = static_cast<uint16_t>(from[2 * i] | from[2 * i + 1] << 8);
    to[i] = bf16 ? bf16_to_f32(h) : f16_to_f32(h);
  }
}

}  // namespace hedgerow
