// SPDX-License-Identifier: Apache-2.0
// The CUDA table: ops queued on the context's stream, memory, and graphs that replay a whole forward pass.
//
// An op that cannot be queued must not throw from a table entry; the first failure is kept and thrown by the
// next call that waits.
#include <string>

#include "hedgerow/core/error.h"
#include "hedgerow/kernels/cuda/cuda.h"
#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/memory.h"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {
namespace {

cudaStream_t stream_of(Context& on) { return static_cast<cudaStream_t>(on.stream()); }

// A call's stream and how it may be cut up: what an op is queued with. Most ops only look at the stream.
struct Queue {
  Context& on;
  operator cudaStream_t() const { return stream_of(on); }
};
bool fixed(const Queue& q) { return q.on.sums() == Sums::fixed; }
cudaError_t linear(const Queue& q, const LinearArgs& a) {
  return cuda::linear(q, product_of(a), fixed(q) ? kInvariantLinear : LinearPlan{});
}
cudaError_t norm_linear(const Queue& q, const NormLinearArgs& a) { return cuda::norm_linear(q, a, fixed(q)); }
cudaError_t residual_linear(const Queue& q, const ResidualLinearArgs& a) {
  return cuda::residual_linear(q, a, fixed(q));
}
cudaError_t feed_forward(const Queue& q, const FeedForwardArgs& a) {
  return cuda::feed_forward(q, a, fixed(q));
}
cudaError_t attention(const Queue& q, const AttentionArgs& a) {
  return cuda::attention(q, a, fixed(q) ? kInvariantAttention : AttentionKernel::automatic);
}

void note(Context& on, const char* op, cudaError_t e) noexcept {
  if (e != cudaSuccess) on.fail(op, cudaGetErrorString(e));
}

bool runs_here() { return device().major >= 8; }
std::string why_not() {
  int driver = 0, count = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return "no NVIDIA driver";
  const cudaError_t asked = cudaGetDeviceCount(&count);
  if (asked != cudaSuccess) return cudaGetErrorString(asked);
  if (count == 0) return "no device";
  return "the device has compute capability " + std::to_string(device().major) + ".x";
}
const Traits& traits() {
  static const Traits found = [] {
    const DtypeSet floats = {Dtype::f32, Dtype::bf16, Dtype::f16};
    Traits t{.weights = floats, .rows = floats, .residual = floats, .most_select_len = kMostSelectLen};
    if (takes_eight_bits()) t.weights = floats | DtypeSet{Dtype::e4m3, Dtype::i8};
    return t;
  }();
  return found;
}
size_t scratch_bytes(int, int, int) { return 0; }

std::shared_ptr<void> open() {
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  return {stream, [](void* s) { cudaStreamDestroy(static_cast<cudaStream_t>(s)); }};
}

void upload(Context& on, void* to, const void* from, size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_of(on)), "copying to the device");
}
void wait(Context& on) {
  const cudaError_t done = cudaStreamSynchronize(stream_of(on));
  on.throw_failure();
  check(done, "computing");
}
void download(Context& on, void* to, const void* from, size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_of(on)), "copying from the device");
}

void fill(Context& on, void* to, uint8_t value, size_t bytes) {
  check(cudaMemsetAsync(to, value, bytes, stream_of(on)), "filling memory");
}

struct Recording {
  cudaGraphExec_t ready;
  size_t nodes;
  Recording(cudaGraphExec_t r, size_t n) : ready(r), nodes(n) {}
  Recording(const Recording&) = delete;
  ~Recording() { cudaGraphExecDestroy(ready); }
};

std::shared_ptr<void> record(Context& on, const std::function<void()>& body) {
  const cudaStream_t stream = stream_of(on);
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording");
  cudaGraph_t graph = nullptr;
  try {
    body();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph) cudaGraphDestroy(graph);
    throw;
  }
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  cudaGraphExec_t ready = nullptr;
  const cudaError_t built = ended == cudaSuccess ? cudaGraphInstantiate(&ready, graph, 0) : ended;
  size_t nodes = 0;
  if (built == cudaSuccess) cudaGraphGetNodes(graph, nullptr, &nodes);
  if (graph) cudaGraphDestroy(graph);
  on.throw_failure();
  check(built, "recording");
  return std::make_shared<Recording>(ready, nodes);
}
void replay(Context& on, const std::shared_ptr<void>& recorded) {
  check(cudaGraphLaunch(static_cast<const Recording*>(recorded.get())->ready, stream_of(on)), "replaying");
}
size_t nodes(const std::shared_ptr<void>& recorded) {
  return recorded ? static_cast<const Recording*>(recorded.get())->nodes : 0;
}

double peak(Context& on, Dtype dtype) {
  wait(on);
  double flops = 0;
  check(peak_flops(stream_of(on), dtype, &flops), "measuring the peak");
  return flops;
}

const Memory kDeviceMemory{.open = open,
                           .allocate = device_buffer,
                           .allocate_host = host_buffer,
                           .store = copy_to_device,
                           .upload = upload,
                           .download = download,
                           .fill = fill,
                           .wait = wait,
                           .records = true,
                           .record = record,
                           .replay = replay,
                           .nodes = nodes};

}  // namespace

const Backend& backend() {
  static const Backend table = {
      .name = "cuda",
      .description = "an NVIDIA GPU of compute capability 8.0 or more and its driver",
      .runs_here = runs_here,
      .why_not = why_not,
      .traits = traits,
      .pack_linear = pack_linear,
      .pack_quant = [](const QuantSource*, int, const float*, RowsOf) { return PackedLinear{}; },
      .quant_row_bytes = [](int, bool, RowsOf) { return size_t{0}; },
      .scratch_bytes = scratch_bytes,
      .cache_scratch_bytes = [](int) { return size_t{0}; },
      .peak_flops = peak,
      .presence = kNoPresence,
      .memory = kDeviceMemory,
      .host = false,
      .folds_norm = folds_norm,
      .reads_moments = reads_moments,
      .ops =
          {
#define HEDGEROW_ENTRY_here(op, Args) \
  [](Context& on, const Args& a) noexcept { note(on, #op, op(Queue{on}, a)); }
#define HEDGEROW_ENTRY_absent(op, Args) absent<Args>
#define HEDGEROW_OP(name, Args, cpu, cuda) .name = HEDGEROW_ENTRY_##cuda(name, Args),
#include "hedgerow/kernels/ops.def"
#undef HEDGEROW_OP
          },
  };
  return table;
}

}  // namespace hedgerow::cuda
