// SPDX-License-Identifier: Apache-2.0
// The list of backends and what a call runs on.
#include "hedgerow/kernels/kernels.h"

#include <cstdlib>

#include "hedgerow/core/error.h"
#include "hedgerow/kernels/cpu/cpu.h"
#ifdef HEDGEROW_CUDA
#include "hedgerow/kernels/cuda/cuda.h"
#endif

namespace hedgerow {

Context::Context(const Backend& backend, std::shared_ptr<Pool> pool, Sums sums)
    : backend_(&backend), pool_(std::move(pool)), sums_(backend.host ? Sums::fixed : sums) {
  require(pool_ != nullptr, "context: wanted a pool, found none");
  scratch_.resize(static_cast<size_t>(pool_->threads()));
  stream_ = backend.memory.open();
}

void Context::throw_failure() {
  if (!failed_) return;
  const std::string what = std::string(backend_->name) + ": " + failed_ + ": " + why_;
  failed_ = why_ = nullptr;
  throw Error(what);
}

void Context::reserve_scratch(size_t bytes_per_worker) {
  if (bytes_per_worker <= scratch_bytes_) return;
  for (Buffer& b : scratch_) b = Buffer(bytes_per_worker);
  scratch_bytes_ = bytes_per_worker;
}

const char* name_of(Op op) {
  constexpr const char* kNames[] = {
#define HEDGEROW_OP(name, Args, cpu, cuda) #name,
#include "hedgerow/kernels/ops.def"
#undef HEDGEROW_OP
  };
  return kNames[static_cast<int>(op)];
}

void need(const Backend& on, Op op, const char* who) {
  require(has(on, op), std::string(who) + ": wanted a backend with the op " + name_of(op) + ", which " +
                           on.name + " lacks");
}

const std::vector<const Backend*>& all_backends() {
#ifdef HEDGEROW_CUDA
  static const std::vector<const Backend*> all = [] {
    std::vector<const Backend*> found = cpu::backends();
    found.push_back(&cuda::backend());
    return found;
  }();
  return all;
#else
  return cpu::backends();
#endif
}

namespace {

std::string names_of(bool runnable_only) {
  std::string names;
  for (const Backend* b : all_backends()) {
    if (runnable_only && !b->runs_here()) continue;
    if (!names.empty()) names += ", ";
    names += b->name;
  }
  return names;
}

}  // namespace

std::string text_of(DtypeSet set) {
  std::vector<const char*> names;
  for (const Dtype d : kAllDtypes)
    if (set.has(d)) names.push_back(name_of(d));
  std::string text;
  for (size_t i = 0; i < names.size(); ++i)
    text += std::string(i == 0 ? "" : i + 1 < names.size() ? ", " : " or ") + names[i];
  return text;
}

const Backend& find_backend(const std::string& name) {
  std::string wanted = name, origin;
  if (wanted.empty()) {
    if (const char* forced = std::getenv("HEDGEROW_KERNELS"); forced && *forced) {
      wanted = forced;
      origin = " (from HEDGEROW_KERNELS)";
    }
  }
  if (wanted.empty()) {
    const Backend* best = nullptr;
    for (const Backend* b : all_backends())
      if (b->host && b->runs_here()) best = b;
    require(best != nullptr, "kernels: none of " + names_of(false) + " runs on this machine");
    return *best;
  }
  for (const Backend* b : all_backends()) {
    if (wanted != b->name) continue;
    if (b->runs_here()) return *b;
    const std::string why = b->why_not();
    throw Error("kernels: '" + wanted + "'" + origin + " needs " + b->description +
                ", which this machine does not have" + (why.empty() ? "" : " (" + why + ")") +
                "; here run: " + names_of(true));
  }
#ifndef HEDGEROW_CUDA
  require(wanted != "cuda",
          "kernels: 'cuda'" + origin + " is not part of this build; configure with -DHEDGEROW_CUDA=ON");
#endif
  throw Error("kernels: unknown name '" + wanted + "'" + origin + "; wanted one of: " + names_of(false));
}

}  // namespace hedgerow
