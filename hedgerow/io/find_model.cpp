// SPDX-License-Identifier: Apache-2.0
// Where models known by name are looked for.
#include "hedgerow/io/find_model.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <vector>

#include "hedgerow/core/error.h"
#include "hedgerow/io/file.h"

namespace hedgerow {
namespace {

std::string parent(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

// <prefix> when this code runs from <prefix>/bin or <prefix>/lib[/triplet], wherever that was moved to.
std::vector<std::string> prefixes() {
  std::vector<std::string> out;
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&find_model), &info) != 0 && info.dli_fname) {
    char* real = ::realpath(info.dli_fname, nullptr);
    std::string at = real ? real : info.dli_fname;
    std::free(real);
    for (int up = 0; up < 3 && !(at = parent(at)).empty(); ++up) out.push_back(at);
  }
  return out;
}

}  // namespace

std::string find_model(const std::string& name) {
  if (name.empty()) throw Error("no model given");
  if (name.find('/') != std::string::npos || is_folder(name) || is_file(name)) return name;
  std::vector<std::string> places;
  if (const char* given = std::getenv("HEDGEROW_MODELS"); given && *given) places.push_back(given);
  for (const std::string& prefix : prefixes()) places.push_back(prefix + "/share/hedgerow/models");
#ifdef HEDGEROW_SOURCE_MODELS
  places.push_back(HEDGEROW_SOURCE_MODELS);
#endif
  std::string looked;
  for (const std::string& place : places) {
    if (is_folder(place + "/" + name)) return place + "/" + name;
    looked += (looked.empty() ? "" : ", ") + place;
  }
  throw Error(fmt::format("model \"{}\": not a path, and not in {}", name, looked));
}

}  // namespace hedgerow
