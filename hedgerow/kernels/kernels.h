// SPDX-License-Identifier: Apache-2.0
// The contract between models and backends: one args struct and one free function per op, one table per
// backend.
//
// How to read it
//  - The ops: ops.def, one list. Their args: ops/*.h.
//  - A free function (`linear(on, args)`) checks shapes once for all backends (throws Error), then calls the
//  table.
//  - A table entry is noexcept, allocates nothing, plans nothing: a new row count or new lengths cost
//  nothing.
//  - Rows: every op takes its live row count from a Ragged (offsets[batch]); extents are capacities, checked
//  on the host.
//  - Axis order is [rows, heads, head_dim]. Index arrays are int32. `f` and `r` in the args are sets of
//  dtypes: traits.h.
//  - The definition of every op, scalar and in double, is in kernels/reference/; tests compare all
//  backends with it.
//
// Promise (Sums::fixed): a row's result is a function of that row's
// inputs and its sequence alone - never of the other rows in the batch, of the row's place, of the thread
// count. The order of every sum is fixed; see docs/numerics.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "hedgerow/core/parallel.h"
#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"
#include "hedgerow/kernels/memory.h"
#include "hedgerow/kernels/ops/attention.h"
#include "hedgerow/kernels/ops/cache.h"
#include "hedgerow/kernels/ops/feed_forward.h"
#include "hedgerow/kernels/ops/linear.h"
#include "hedgerow/kernels/ops/merge.h"
#include "hedgerow/kernels/ops/norm.h"
#include "hedgerow/kernels/ops/rows.h"
#include "hedgerow/kernels/ops/select.h"
#include "hedgerow/kernels/ops/text.h"
#include "hedgerow/kernels/traits.h"

namespace hedgerow {

// In which order sums are added up. fixed: a row's bits are a function of its inputs and its sequence alone,
// never of the other rows of its batch; the CPU always adds so. fast: a device may choose kernels by the
// batch's rows, and kernels differ in the order of their sums; the same batch gives the same bits.
enum class Sums : uint8_t { fixed, fast };

// What a call runs on: a table, its threads (or stream), and scratch memory sized once. Contexts that share a
// pool run in turn on one thread: a second caller at the same time is an Error. Concurrent ones bring pools
// of their own.
class Context {
 public:
  // `backend` as returned by find_backend().
  Context(const Backend& backend, std::shared_ptr<Pool> pool, Sums sums = Sums::fixed);
  // With a pool of its own; threads >= 1.
  Context(const Backend& backend, int threads, Sums sums = Sums::fixed)
      : Context(backend, std::make_shared<Pool>(threads), sums) {}

  const Backend& backend() const { return *backend_; }
  Pool& pool() const { return *pool_; }
  int threads() const { return pool_->threads(); }
  // f(task, worker) on the pool, each thread present as the backend needs it.
  template <class F>
  void run(int tasks, F&& f);
  // Device backends: the queue that ops go to (a cudaStream_t); null on the CPU.
  void* stream() const { return stream_.get(); }
  Sums sums() const { return sums_; }

  // What went wrong in an entry, which cannot throw: the first is kept, and thrown by the next call that
  // waits.
  void fail(const char* doing, const char* why) noexcept {
    if (!failed_) failed_ = doing, why_ = why;
  }
  void throw_failure();

  // Makes sure that every worker has this much scratch. Allocates when it grows: call it before the hot path.
  void reserve_scratch(size_t bytes_per_worker);
  size_t scratch_bytes() const { return scratch_bytes_; }
  template <class T = void>
  T* scratch(int worker) const {
    return scratch_[worker].as<T>();
  }

 private:
  const Backend* backend_;
  std::shared_ptr<Pool> pool_;
  std::vector<Buffer> scratch_;
  size_t scratch_bytes_ = 0;
  std::shared_ptr<void> stream_;
  Sums sums_;
  const char *failed_ = nullptr, *why_ = nullptr;
};

inline PackedLinear pack_linear(const Context& on, const float* w, const float* bias, int n, int k,
                                Dtype dtype) {
  return pack_linear(on.backend(), w, bias, n, k, dtype);
}

// ------------------------------------------------------------------------------------------------------------
// table

// A table's entry for every op, none of them null.
struct Ops {
#define HEDGEROW_OP(name, Args, cpu, cuda) void (*name)(Context&, const Args&) noexcept;
#include "hedgerow/kernels/ops.def"
#undef HEDGEROW_OP
};

enum class Op : uint8_t {
#define HEDGEROW_OP(name, Args, cpu, cuda) name,
#include "hedgerow/kernels/ops.def"
#undef HEDGEROW_OP
};
inline constexpr Op kAllOps[] = {
#define HEDGEROW_OP(name, Args, cpu, cuda) Op::name,
#include "hedgerow/kernels/ops.def"
#undef HEDGEROW_OP
};
const char* name_of(Op op);

// The entry of an op that the backend lacks. The checked entry refuses it by name and never comes here; what
// comes here all the same is an Error at the next wait.
template <class Args>
void absent(Context& on, const Args&) noexcept {
  on.fail("an op", "this backend lacks it");
}
// Does this backend have the op? need() throws Error with its name where it does not: for models, at load.
inline bool has(const Backend& on, Op op);
void need(const Backend& on, Op op, const char* who);

struct Backend {
  const char* name;  // "scalar", "avx2", "avx512", "avx512bf16", "cuda"
  const char* description;
  bool (*runs_here)();        // does this machine have what it needs?
  std::string (*why_not)();   // what the machine lacks, where the description does not say it; or ""
  const Traits& (*traits)();  // what is legal here

  PackedLinear (*pack_linear)(const float* w, const float* bias, int n, int k, Dtype dtype);
  // Null where Traits::codes is false.
  PackedLinear (*pack_quant)(const QuantSource* parts, int count, const float* bias, RowsOf rows_of);
  // Bytes a row of k columns takes on its way into a product with codes.
  size_t (*quant_row_bytes)(int k, bool ordered, RowsOf rows_of);
  size_t (*scratch_bytes)(int max_len, int heads, int head_dim);  // per worker, enough for every op

  size_t (*cache_scratch_bytes)(int slots);  // per worker, of cached_attention

  // Multiply-adds and adds a second of the arithmetic alone, all threads at once, operands at hand:
  // what speeds are a share of. Takes a few milliseconds and waits.
  double (*peak_flops)(Context&, Dtype);
  const Presence& presence;  // of the threads that work for it
  const Memory& memory;
  bool host;  // tensors, offsets and index arrays are in host memory, and an op has run when its call returns

  // Does this backend gain by folding a norm into weights of this dtype, behind residual rows of that?
  bool (*folds_norm)(Dtype weights, Dtype stream);
  // Would `reader` read moments of so many residual rows?
  bool (*reads_moments)(const PackedNormLinear& reader, int rows);
  Ops ops;
};

inline bool has(const Backend& on, Op op) {
  switch (op) {
#define HEDGEROW_OP(name, Args, cpu, cuda) \
  case Op::name:                           \
    return on.ops.name != absent<Args>;
#include "hedgerow/kernels/ops.def"
#undef HEDGEROW_OP
  }
  return false;
}

template <class F>
void Context::run(int tasks, F&& f) {
  pool_->run(tasks, f, backend_->presence);
}

// All tables in this build, slowest first; the best that runs here; one by name (Error if unknown or not
// runnable here). find_backend("") honours the environment variable HEDGEROW_KERNELS, else picks the best CPU
// level.
const std::vector<const Backend*>& all_backends();
const Backend& find_backend(const std::string& name = "");

// The checked entry points: linear(on, args) and so on.
#define HEDGEROW_OP(name, Args, cpu, cuda) void name(Context& on, const Args& args);
#include "hedgerow/kernels/ops.def"
#undef HEDGEROW_OP

}  // namespace hedgerow
