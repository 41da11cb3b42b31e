// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/llama.h"

#include <fmt/format.h>

#include <cstdio>
#include <utility>

#include "hedgerow/core/error.h"

namespace hedgerow {
namespace {

int64_t matrix_bytes(const PackedLinear& w) {
  int64_t bytes = 0;
  for (int b = 0; b < w.band_count; ++b) bytes += w.bands[b].panels * w.bands[b].panel_bytes;
  return bytes;
}

// Bytes of memory that programs can have, as the system estimates them; 0: it does not say.
int64_t free_memory() {
  long long kib = 0;
  if (std::FILE* f = std::fopen("/proc/meminfo", "r")) {
    char line[128];
    while (std::fgets(line, sizeof line, f))
      if (std::sscanf(line, "MemAvailable: %lld kB", &kib) == 1) break;
    std::fclose(f);
  }
  return int64_t{kib} * 1024;
}

class Loader {
 public:
  Loader(const LmFile& file, const Backend& on, const LlamaLoad& how) : file_(file), on_(on), how_(how) {
    total_ = file.config().parameters() +
             (file.config().tied ? 0 : int64_t{file.config().vocab} * file.config().dim);
  }

  PackedLinear pack(std::vector<LmMatrix> parts, int layer, const std::vector<float>& bias = {}) {
    std::vector<QuantSource> sources;
    for (const LmMatrix m : parts) sources.push_back(rounded_to(file_.matrix(m, layer), how_.weights));
    PackedLinear p = pack_quant(on_, sources, bias.empty() ? nullptr : bias.data(), how_.activations);
    for (const QuantSource& s : sources) done_ += int64_t{s.n} * s.k;
    if (how_.progress) how_.progress(static_cast<double>(done_) / static_cast<double>(total_));
    return p;
  }
  std::vector<float> qkv_bias(int layer) const {
    std::vector<float> all;
    bool any = false;
    for (const auto& [bias, matrix] : {std::pair{LmVector::q_bias, LmMatrix::q},
                                       {LmVector::k_bias, LmMatrix::k},
                                       {LmVector::v_bias, LmMatrix::v}}) {
      std::vector<float> one = file_.vector(bias, layer);
      any = any || !one.empty();
      one.resize(static_cast<size_t>(shape_of(file_.config(), matrix).n));
      all.insert(all.end(), one.begin(), one.end());
    }
    return any ? all : std::vector<float>{};
  }

 private:
  const LmFile& file_;
  const Backend& on_;
  const LlamaLoad& how_;
  int64_t done_ = 0, total_ = 1;
};

// What the weights will take: that of the file, or that of floats rounded on the way in.
void check_memory(const LmFile& file, const LlamaLoad& how) {
  const LlamaConfig& c = file.config();
  const auto a_value = [&](LmMatrix m, int layer) {
    const Quant q = rounded_to(file.stored_as(m, layer), how.weights);
    return q.bits ? q.bits / 8.0 + 2.5 / q.group : 1.0 * bytes_of(q.values);
  };
  double bytes = 0;
  for (const LmMatrix m : {LmMatrix::embedding, LmMatrix::output}) {
    if (m == LmMatrix::output && c.tied) continue;
    const MatrixShape s = shape_of(c, m);
    bytes += a_value(m, -1) * s.n * s.k;
  }
  for (int layer = 0; layer < c.layers; ++layer)
    for (const LmMatrix m : kLayerMatrices) {
      const MatrixShape s = shape_of(c, m);
      bytes += a_value(m, layer) * s.n * s.k;
    }
  const int64_t there = free_memory();
  if (there > 0 && bytes > static_cast<double>(there))
    throw Error(fmt::format("{}: weights of {:.1f} GB: wanted as much free memory, found {:.1f} GB",
                            file.where(), bytes * 1e-9, static_cast<double>(there) * 1e-9));
}

}  // namespace

PackedLinear Llama::first_outputs(int n) const {
  const PackedLinear& all = output();
  PackedLinear some;
  some.owner = all.owner, some.dtype = all.dtype, some.k = all.k, some.panel = all.panel,
  some.rows_of = all.rows_of;
  some.n = some.bands[0].n = n, some.band_count = 1;
  some.bands[0].quant = all.bands[0].quant, some.bands[0].order = all.bands[0].order;
  some.bands[0].panel_bytes = all.bands[0].panel_bytes,
  some.bands[0].panels = (n + kQuantPanel - 1) / kQuantPanel;
  some.data = Buffer(all.data.as(), all.data.bytes(), [](void*) {});
  return some;
}

int64_t Llama::bytes_a_row() const {
  int64_t bytes = matrix_bytes(output());
  for (const LlamaLayer& l : layers)
    bytes += matrix_bytes(l.qkv.w) + matrix_bytes(l.o) + matrix_bytes(l.gate_up.w) + matrix_bytes(l.down);
  return bytes;
}

std::shared_ptr<const Llama> load_llama(const LmFile& file, const Backend& on, const LlamaLoad& how) {
  for (const Op op :
       {Op::embed, Op::append_kv, Op::cached_attention, Op::compact_kv, Op::top_columns, Op::longest_path})
    need(on, op, "a language model");
  check_memory(file, how);
  auto model = std::make_shared<Llama>();
  const LlamaConfig& c = model->config = file.config();
  model->backend = &on;
  Loader load(file, on, how);
  model->embedding = load.pack({LmMatrix::embedding}, -1);
  if (!c.tied) model->untied = load.pack({LmMatrix::output}, -1);
  const std::vector<float> last = file.vector(LmVector::final_norm, -1);
  model->final_gamma = copy_on(on, last.data(), last.size() * sizeof(float));
  for (int i = 0; i < c.layers; ++i) {
    LlamaLayer& l = model->layers.emplace_back();
    l.qkv = pack_norm_quant(on, file.vector(LmVector::attention_norm, i).data(), c.eps,
                            load.pack({LmMatrix::q, LmMatrix::k, LmMatrix::v}, i, load.qkv_bias(i)));
    l.o = load.pack({LmMatrix::o}, i);
    l.gate_up = pack_norm_quant(on, file.vector(LmVector::feed_forward_norm, i).data(), c.eps,
                                load.pack({LmMatrix::gate, LmMatrix::up}, i));
    l.down = load.pack({LmMatrix::down}, i);
  }
  return model;
}

}  // namespace hedgerow
