// SPDX-License-Identifier: Apache-2.0
// Getters that name the key, what was wanted and what was found.
#include "hedgerow/io/json.h"

#include <fmt/format.h>

#include <cmath>

#include "hedgerow/core/error.h"

namespace hedgerow {
namespace {

constexpr int kMaxDepth = 32;

[[noreturn]] void wrong(const nlohmann::json& value, const char* key, const std::string& wanted,
                        const std::string& where) {
  using nlohmann::json;
  const std::string found = value.is_primitive() && !value.is_binary()
                                ? value.dump(-1, ' ', true, json::error_handler_t::replace)
                                : std::string(value.type_name());
  throw Error(fmt::format("{}: \"{}\" should be {}, found {}", where, key, wanted, printable(found)));
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out(text.substr(0, 80));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  if (text.size() > 80) out += "...";
  return out;
}

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  const auto guard = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > kMaxDepth) throw Error(fmt::format("{}: JSON nested deeper than {}", where, kMaxDepth));
    return true;
  };
  try {
    return nlohmann::json::parse(text.begin(), text.end(), guard);
  } catch (const nlohmann::json::exception& e) {
    throw Error(fmt::format("{}: not valid JSON: {}", where, printable(e.what())));
  }
}

const nlohmann::json* json_find(const nlohmann::json& obj, const char* key) {
  if (!obj.is_object()) return nullptr;
  const auto it = obj.find(key);
  return it == obj.end() || it->is_null() ? nullptr : &*it;
}

int64_t json_int(const nlohmann::json& obj, const char* key, int64_t low, int64_t high, int64_t fallback,
                 const std::string& where) {
  const nlohmann::json* v = json_find(obj, key);
  if (!v) return fallback;
  const std::string wanted = fmt::format("a whole number from {} to {}", low, high);
  if (v->is_number_float() || !v->is_number()) wrong(*v, key, wanted, where);
  if (v->is_number_unsigned() && v->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    wrong(*v, key, wanted, where);
  const int64_t n = v->get<int64_t>();
  if (n < low || n > high) wrong(*v, key, wanted, where);
  return n;
}

double json_number(const nlohmann::json& obj, const char* key, double low, double high, double fallback,
                   const std::string& where) {
  const nlohmann::json* v = json_find(obj, key);
  if (!v) return fallback;
  const double n = v->is_number() ? v->get<double>() : NAN;
  if (!(n >= low && n <= high)) wrong(*v, key, fmt::format("a number from {} to {}", low, high), where);
  return n;
}

std::string json_text(const nlohmann::json& obj, const char* key, const std::string& fallback,
                      const std::string& where) {
  const nlohmann::json* v = json_find(obj, key);
  if (!v) return fallback;
  if (!v->is_string() || v->get_ref<const std::string&>().size() > 4096)
    wrong(*v, key, "a short text", where);
  return v->get<std::string>();
}

bool json_bool(const nlohmann::json& obj, const char* key, bool fallback, const std::string& where) {
  const nlohmann::json* v = json_find(obj, key);
  if (!v) return fallback;
  if (!v->is_boolean()) wrong(*v, key, "true or false", where);
  return v->get<bool>();
}

}  // namespace hedgerow
