// SPDX-License-Identifier: Apache-2.0
// Host memory as a backend's, and buffers in any.
#include "hedgerow/kernels/memory.h"

#include <cstring>

#include "hedgerow/core/error.h"
#include "hedgerow/kernels/kernels.h"

namespace hedgerow {
namespace {

std::shared_ptr<void> open() { return nullptr; }
Buffer allocate(size_t bytes) { return Buffer(bytes); }
void store(void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}
void copy(Context&, void* to, const void* from, size_t bytes) { store(to, from, bytes); }
void fill(Context&, void* to, uint8_t value, size_t bytes) {
  if (bytes > 0) std::memset(to, value, bytes);
}
void wait(Context& on) { on.throw_failure(); }
std::shared_ptr<void> record(Context& on, const std::function<void()>&) {
  throw Error(std::string("record: wanted a backend that records, found ") + on.backend().name);
}
void replay(Context& on, const std::shared_ptr<void>&) {
  throw Error(std::string("replay: wanted a backend that records, found ") + on.backend().name);
}
size_t nodes(const std::shared_ptr<void>&) { return 0; }

}  // namespace

const Memory kHostMemory{.open = open,
                         .allocate = allocate,
                         .allocate_host = allocate,
                         .store = store,
                         .upload = copy,
                         .download = copy,
                         .fill = fill,
                         .wait = wait,
                         .records = false,
                         .record = record,
                         .replay = replay,
                         .nodes = nodes};

Buffer allocate_on(const Backend& on, size_t bytes) { return on.memory.allocate(bytes); }

Buffer copy_on(const Backend& on, const void* from, size_t bytes) {
  Buffer to = allocate_on(on, bytes);
  if (bytes > 0) on.memory.store(to.as(), from, bytes);
  return to;
}

}  // namespace hedgerow
