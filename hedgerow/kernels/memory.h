// SPDX-License-Identifier: Apache-2.0
// The memory that a backend computes in, and how work reaches it. No entry is null: the host's are malloc,
// memcpy and nothing at all, and what was called has happened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "hedgerow/core/tensor.h"

namespace hedgerow {

struct Backend;
class Context;

// On a device, ops are queued and return at once; what goes wrong on the way is thrown by the next wait or
// record.
struct Memory {
  std::shared_ptr<void> (*open)();        // a queue, for one Context; null where none is needed
  Buffer (*allocate)(size_t bytes);       // zeroed
  Buffer (*allocate_host)(size_t bytes);  // host memory that copies to and from here need not wait for
  // To here, at once: for weights, not for batches.
  void (*store)(void* to, const void* from, size_t bytes);
  void (*upload)(Context&, void* to, const void* from,
                 size_t bytes);  // queued; `from` may be reused after wait()
  void (*download)(Context&, void* to, const void* from,
                   size_t bytes);                                 // queued; the bytes are there after wait()
  void (*fill)(Context&, void* to, uint8_t value, size_t bytes);  // queued
  void (*wait)(Context&);
  // Records what `body` queues, to be replayed in one call: pointers and capacities stay, what they point to
  // may change. Where `records` is false, nothing can be: Error.
  bool records;
  std::shared_ptr<void> (*record)(Context&, const std::function<void()>& body);
  void (*replay)(Context&, const std::shared_ptr<void>& recorded);
  size_t (*nodes)(const std::shared_ptr<void>& recorded);  // launches in one replay; 0 of null
};

extern const Memory kHostMemory;

// Memory that `on` computes in: zeroed, or holding a copy of `bytes` of host memory.
Buffer allocate_on(const Backend& on, size_t bytes);
Buffer copy_on(const Backend& on, const void* from, size_t bytes);

}  // namespace hedgerow
