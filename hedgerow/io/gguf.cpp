// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/io/gguf.h"

#include <fmt/format.h>

#include <cstring>
#include <limits>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"

namespace hedgerow {
namespace {

constexpr uint64_t kMostHeader = 256u << 20;
// The header ran past the bytes at hand: read more, if there are more.
struct Short {};

class Reader {
 public:
  Reader(const uint8_t* data, size_t bytes, const std::string& where)
      : data_(data), bytes_(bytes), where_(where) {}

  template <class T>
  T take() {
    T v;
    need(sizeof(T));
    std::memcpy(&v, data_ + at_, sizeof(T));
    at_ += sizeof(T);
    return v;
  }
  std::string text(const char* what, uint64_t most) {
    const auto length = take<uint64_t>();
    if (length > most) fail(what, fmt::format("at most {} bytes", most), fmt::format("{}", length));
    need(length);
    const std::string s(reinterpret_cast<const char*>(data_ + at_), length);
    at_ += length;
    return s;
  }
  // A count of things that take at least `least` bytes each.
  uint64_t count(const char* what, uint64_t least) {
    const auto n = take<uint64_t>();
    if (n > kMostHeader / least)
      fail(what, fmt::format("at most {}", kMostHeader / least), fmt::format("{}", n));
    return n;
  }
  size_t at() const { return at_; }
  [[noreturn]] void fail(const std::string& what, const std::string& wanted, const std::string& found) const {
    throw Error(
        fmt::format("{}: {}: wanted {}, found {} (at byte {})", where_, printable(what), wanted, found, at_));
  }

 private:
  void need(uint64_t n) const {
    if (n > bytes_ - at_) throw Short{};
  }
  const uint8_t* data_;
  size_t bytes_, at_ = 0;
  const std::string& where_;
};

enum : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kText, kArray, kU64, kI64, kF64 };

GgufValue scalar(Reader& r, uint32_t type, const std::string& key) {
  switch (type) {
    case kU8:
      return int64_t{r.take<uint8_t>()};
    case kI8:
      return int64_t{r.take<int8_t>()};
    case kU16:
      return int64_t{r.take<uint16_t>()};
    case kI16:
      return int64_t{r.take<int16_t>()};
    case kU32:
      return int64_t{r.take<uint32_t>()};
    case kI32:
      return int64_t{r.take<int32_t>()};
    case kF32:
      return double{r.take<float>()};
    case kBool:
      return r.take<uint8_t>() != 0;
    case kText:
      return r.text(key.c_str(), 16u << 20);
    case kU64: {
      const auto v = r.take<uint64_t>();
      if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        r.fail(key, "a whole number below 2^63", fmt::format("{}", v));
      return static_cast<int64_t>(v);
    }
    case kI64:
      return r.take<int64_t>();
    case kF64:
      return r.take<double>();
    default:
      r.fail(key, "a value of a known type", fmt::format("type {}", type));
  }
}

GgufValue array(Reader& r, const std::string& key) {
  const auto type = r.take<uint32_t>();
  const uint64_t n = r.count(key.c_str(), 1);
  std::vector<int64_t> whole;
  std::vector<double> real;
  std::vector<std::string> texts;
  for (uint64_t i = 0; i < n; ++i) {
    if (type == kArray) r.fail(key, "an array of numbers or text", "an array of arrays");
    GgufValue v = scalar(r, type, key);
    if (auto* w = std::get_if<int64_t>(&v)) whole.push_back(*w);
    if (auto* b = std::get_if<bool>(&v)) whole.push_back(*b);
    if (auto* d = std::get_if<double>(&v)) real.push_back(*d);
    if (auto* t = std::get_if<std::string>(&v)) texts.push_back(std::move(*t));
  }
  if (type == kText) return texts;
  if (type == kF32 || type == kF64) return real;
  return whole;
}

GgufTensor tensor(Reader& r) {
  GgufTensor t;
  t.name = r.text("a tensor's name", 256);
  const auto rank = r.take<uint32_t>();
  if (rank < 1 || rank > 4) r.fail(t.name, "1 to 4 dimensions", fmt::format("{}", rank));
  int64_t count = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    const auto n = r.take<uint64_t>();
    if (n < 1 || n > (uint64_t{1} << 31) || count > (int64_t{1} << 40) / static_cast<int64_t>(n))
      r.fail(t.name, "dimensions of 1 to 2^31, 2^40 values in all", fmt::format("{}", n));
    count *= static_cast<int64_t>(n);
    t.shape.insert(t.shape.begin(), static_cast<int64_t>(n));
  }
  t.type = r.take<uint32_t>();
  const GgmlType* type = ggml_type(t.type);
  if (!type)
    r.fail(t.name, "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K",
           fmt::format("ggml type {}", t.type));
  if (t.shape.back() % type->block)
    r.fail(t.name, fmt::format("rows of whole blocks of {}", type->block),
           fmt::format("{} columns", t.shape.back()));
  t.begin = r.take<uint64_t>();  // relative, for now
  t.end = static_cast<uint64_t>(count / type->block * type->bytes);
  return t;
}

GgufHeader parse(Reader& r, uint64_t file_bytes, const std::string& where) {
  GgufHeader h;
  h.where = where;
  if (r.take<uint32_t>() != 0x46554747u) r.fail("magic", "GGUF", "other bytes");
  const auto version = r.take<uint32_t>();
  if (version != 3 && version != 2) r.fail("version", "2 or 3", fmt::format("{}", version));
  const uint64_t tensors = r.count("tensors", 32), values = r.count("metadata", 13);
  for (uint64_t i = 0; i < values; ++i) {
    const std::string key = r.text("a key", 1024);
    const auto type = r.take<uint32_t>();
    GgufValue v = type == kArray ? array(r, key) : scalar(r, type, key);
    if (!h.values.emplace(key, std::move(v)).second) r.fail(key, "a key once", "it twice");
  }
  std::vector<GgufTensor> list;
  for (uint64_t i = 0; i < tensors; ++i) list.push_back(tensor(r));
  const auto align = static_cast<uint64_t>(h.whole("general.alignment", 1, 1 << 20, 32));
  const uint64_t data = (r.at() + align - 1) / align * align;
  for (GgufTensor& t : list) {
    if (t.begin % align)
      r.fail(t.name, fmt::format("an offset that {} divides", align), fmt::format("{}", t.begin));
    if (t.begin > file_bytes || data > file_bytes - t.begin || t.end > file_bytes - data - t.begin)
      r.fail(t.name, fmt::format("{} bytes at {}", t.end, t.begin), fmt::format("a file of {}", file_bytes));
    t.begin += data, t.end += t.begin;
    const std::string name = t.name;
    if (!h.tensors.emplace(name, std::move(t)).second) r.fail(name, "a tensor once", "it twice");
  }
  return h;
}

const GgufValue* find(const GgufHeader& h, const std::string& key) {
  const auto it = h.values.find(key);
  return it == h.values.end() ? nullptr : &it->second;
}
[[noreturn]] void wrong(const GgufHeader& h, const std::string& key, const std::string& wanted,
                        const std::string& found) {
  throw Error(fmt::format("{}: {}: wanted {}, found {}", h.where, printable(key), wanted, found));
}

}  // namespace

const GgmlType* ggml_type(uint32_t type) {
  static constexpr GgmlType kTypes[] = {{"F32", 1, 4},      {"F16", 1, 2},      {"Q4_0", 32, 18},
                                        {"Q4_1", 32, 20},   {"Q5_0", 32, 22},   {"Q5_1", 32, 24},
                                        {"Q8_0", 32, 34},   {"Q4_K", 256, 144}, {"Q5_K", 256, 176},
                                        {"Q6_K", 256, 210}, {"BF16", 1, 2}};
  static constexpr uint32_t kIds[] = {0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 30};
  for (size_t i = 0; i < sizeof(kIds) / sizeof(kIds[0]); ++i)
    if (kIds[i] == type) return &kTypes[i];
  return nullptr;
}

int64_t GgufHeader::whole(const std::string& key, int64_t low, int64_t high) const {
  const GgufValue* v = find(*this, key);
  if (!v) wrong(*this, key, fmt::format("a whole number of {} to {}", low, high), "none");
  const auto* n = std::get_if<int64_t>(v);
  if (!n || *n < low || *n > high)
    wrong(*this, key, fmt::format("a whole number of {} to {}", low, high),
          n ? fmt::format("{}", *n) : "another type");
  return *n;
}
int64_t GgufHeader::whole(const std::string& key, int64_t low, int64_t high, int64_t fallback) const {
  return has(key) ? whole(key, low, high) : fallback;
}
double GgufHeader::number(const std::string& key, double fallback) const {
  const GgufValue* v = find(*this, key);
  if (!v) return fallback;
  if (const auto* n = std::get_if<int64_t>(v)) return static_cast<double>(*n);
  const auto* d = std::get_if<double>(v);
  if (!d || !(*d - *d == 0)) wrong(*this, key, "a number", "something else");
  return *d;
}
std::string GgufHeader::text(const std::string& key, const std::string& fallback) const {
  const GgufValue* v = find(*this, key);
  if (!v) return fallback;
  const auto* t = std::get_if<std::string>(v);
  if (!t) wrong(*this, key, "text", "another type");
  return *t;
}
bool GgufHeader::flag(const std::string& key, bool fallback) const {
  const GgufValue* v = find(*this, key);
  if (!v) return fallback;
  const auto* b = std::get_if<bool>(v);
  if (!b) wrong(*this, key, "true or false", "another type");
  return *b;
}
const std::vector<std::string>& GgufHeader::texts(const std::string& key) const {
  static const std::vector<std::string> none;
  const GgufValue* v = find(*this, key);
  if (!v) return none;
  const auto* t = std::get_if<std::vector<std::string>>(v);
  if (!t) wrong(*this, key, "texts", "another type");
  return *t;
}
std::vector<double> GgufHeader::numbers(const std::string& key) const {
  const GgufValue* v = find(*this, key);
  if (!v) return {};
  if (const auto* d = std::get_if<std::vector<double>>(v)) return *d;
  const auto* w = std::get_if<std::vector<int64_t>>(v);
  if (!w) wrong(*this, key, "numbers", "another type");
  return {w->begin(), w->end()};
}

GgufHeader parse_gguf(const uint8_t* data, size_t bytes, uint64_t file_bytes, const std::string& where) {
  Reader r(data, bytes, where);
  try {
    return parse(r, file_bytes, where);
  } catch (const Short&) {
    throw Error(fmt::format("{}: header: wanted more than the {} bytes that are there", where, bytes));
  }
}

GgufHeader read_gguf(const File& file) {
  std::vector<uint8_t> head;
  for (uint64_t size = 1u << 20;; size *= 4) {
    const uint64_t bytes = std::min(file.bytes(), size);
    head.resize(bytes);
    file.read(0, head.data(), bytes);
    Reader r(head.data(), bytes, file.path());
    try {
      return parse(r, file.bytes(), file.path());
    } catch (const Short&) {
      if (bytes == file.bytes() || bytes >= kMostHeader)
        throw Error(
            fmt::format("{}: header: wanted more than the {} bytes that are there", file.path(), bytes));
    }
  }
}

bool is_gguf(const std::string& path) {
  const File file(path);
  uint32_t magic = 0;
  if (file.bytes() >= 4) file.read(0, &magic, 4);
  return magic == 0x46554747u;
}

}  // namespace hedgerow
