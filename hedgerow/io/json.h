// SPDX-License-Identifier: Apache-2.0
// JSON from strangers: bounded depth, errors in one line. For .cpp files only: no public header shows the
// JSON library.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace hedgerow {

// `where` opens every message. Nesting deeper than 32 is refused.
nlohmann::json parse_json(std::string_view text, const std::string& where);

// obj[key] as a whole number in [low, high], or `fallback` where the key is absent or null. Error when it is
// anything else.
int64_t json_int(const nlohmann::json& obj, const char* key, int64_t low, int64_t high, int64_t fallback,
                 const std::string& where);
// The same for a finite number and for text (at most 4096 bytes).
double json_number(const nlohmann::json& obj, const char* key, double low, double high, double fallback,
                   const std::string& where);
std::string json_text(const nlohmann::json& obj, const char* key, const std::string& fallback,
                      const std::string& where);
bool json_bool(const nlohmann::json& obj, const char* key, bool fallback, const std::string& where);
// obj[key] if it is there and not null, else nullptr. `obj` may be of any type.
const nlohmann::json* json_find(const nlohmann::json& obj, const char* key);

// Text fit for a one-line message: control characters replaced, cut at 80 bytes.
std::string printable(std::string_view text);

}  // namespace hedgerow
