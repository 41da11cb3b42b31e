// SPDX-License-Identifier: Apache-2.0
// A whole ViT forward pass built from the ops, pixels on the device to logits, in one graph: dense, or one
// prune by token norm after four blocks that keeps 50 % +- 20 % of the patches of each picture. Random
// weights. `known`: the host knows the counts; otherwise every later op has room for all rows and reads the
// counts on the device. `last`: the last block computes only the class token's row past its keys and values.
// JSON lines on standard output. Where it pays, layer norms are part of the products that follow them;
// `apart`: never. `few`: batch 1 and 8. `vendor`: products of 400 rows or more by cuBLASLt, but for fc1,
// whose GELU it has not; `vendor-gelu`: fc1 too, with the tanh kind. What a pass would gain from it.
//   vit_chain [f16|bf16] [f32|f16|bf16: of the residual stream] [apart] [few] [vendor|vendor-gelu]
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "bench/cuda/cublaslt.h"
#include "bench/cuda/timing.h"

using namespace hedgerow;
using namespace hedgerow::cuda;

namespace {

struct Block {
  PackedLinear qkv, query, keys_values, proj, fc1, fc2;
};

struct Model {
  int dim, heads, layers = 12, tokens = 197, classes = 1000, pixels = 768;
  Dtype dtype, stream;
  PackedLinear patch, head;
  std::vector<Block> blocks;
  Buffer ones, zeros;

  PackedLinear weights(int n, int k, uint64_t seed) const {
    std::vector<float> bias(n, 0.01f);
    PackedLinear w =
        pack_linear(std::vector<float>(static_cast<size_t>(n) * k).data(), bias.data(), n, k, dtype);
    w.data = bench::random_halves(static_cast<size_t>(n) * k, dtype, 0.02f, seed);
    return w;
  }
  Model(int d, Dtype t, Dtype r) : dim(d), heads(d / 64), dtype(t), stream(r) {
    patch = weights(d, pixels, 1), head = weights(classes, d, 2);
    for (int b = 0; b < layers; ++b) {
      blocks.push_back({weights(3 * d, d, 3 + b), weights(d, d, 20 + b), weights(2 * d, d, 30 + b),
                        weights(d, d, 40 + b), weights(4 * d, d, 50 + b), weights(d, 4 * d, 60 + b)});
    }
    const std::vector<float> one(d, 1.0f);
    ones = device_buffer(d * 4), zeros = device_buffer(d * 4);
    copy_to_device(ones.as(), one.data(), d * 4);
  }
};

struct Run {
  const Model& m;
  int batch, rows;
  bool prune, known, last, fuse;
  const char* vendor;  // null, "vendor" or "vendor-gelu"
  mutable std::map<std::tuple<int, int, int, bool, bool>, std::unique_ptr<bench::VendorLinear>> vendors;
  std::vector<int> counts;
  Buffer offsets, kept_offsets, single, count, kept, image_table, sizes, pixels, patches, positions, x, x2,
      norm, qkv, query, attended, hidden, score, logits, small;

  Run(const Model& model, int b, bool p, bool k, bool l, bool f, const char* v)
      : m(model), batch(b), rows(b * model.tokens), prune(p), known(k), last(l), fuse(f), vendor(v) {
    counts = bench::spread_lengths(batch, (m.tokens - 1) / 2, 0.4, 5);
    std::vector<int32_t> keep(counts.begin(), counts.end()), size(batch, 224);
    offsets = bench::device_offsets(std::vector<int>(batch, m.tokens)),
    kept_offsets = device_buffer((batch + 1) * 4);
    single = bench::device_offsets(std::vector<int>(batch, 1)), count = device_buffer(batch * 4);
    copy_to_device(count.as(), keep.data(), batch * 4);
    kept = device_buffer(static_cast<size_t>(rows) * 4);
    pixels = device_buffer(static_cast<size_t>(batch) * 3 * 224 * 224 * 4);
    std::vector<float> picture(3 * 224 * 224);
    const Rng rng{3, 3};
    for (size_t i = 0; i < picture.size(); ++i) picture[i] = static_cast<float>(rng.normal(i));
    std::vector<const float*> table(batch);
    for (int i = 0; i < batch; ++i) {
      table[i] = pixels.as<float>() + static_cast<size_t>(i) * picture.size();
      picture[i % picture.size()] += 1;
      copy_to_device(const_cast<float*>(table[i]), picture.data(), picture.size() * 4);
    }
    image_table = device_buffer(batch * sizeof(void*)), sizes = device_buffer(batch * 4);
    copy_to_device(image_table.as(), table.data(), batch * sizeof(void*)),
        copy_to_device(sizes.as(), size.data(), batch * 4);
    const size_t r = static_cast<size_t>(rows), d = m.dim, wide = bytes_of(m.stream);
    patches = device_buffer(r * m.pixels * 2), positions = device_buffer(r * d * wide);
    if (m.stream != Dtype::f32) positions = bench::random_halves(r * d, m.stream, 0.2f, 9);
    x = device_buffer(r * d * wide), x2 = device_buffer(r * d * wide), norm = device_buffer(r * d * 2);
    qkv = device_buffer(r * d * 6), attended = device_buffer(r * d * 2), hidden = device_buffer(r * d * 8);
    query = device_buffer(batch * d * 2), small = device_buffer(batch * d * wide);
    score = device_buffer(r * 4), logits = device_buffer(static_cast<size_t>(batch) * m.classes * 4);
  }

  Ragged all() const { return {offsets.as<int32_t>(), batch, rows, m.tokens}; }
  Ragged left() const {
    if (!known) return {kept_offsets.as<int32_t>(), batch, rows, m.tokens};
    int total = 0, longest = 0;
    for (int c : counts) total += c + 1, longest = std::max(longest, c + 1);
    return {kept_offsets.as<int32_t>(), batch, total, longest};
  }
  Ragged one_each() const { return {single.as<int32_t>(), batch, batch, 1}; }

  cudaError_t queue(cudaStream_t s) const {
    const int64_t d = m.dim;
    cudaError_t first = cudaSuccess;
    auto note = [&](cudaError_t e) { first = first == cudaSuccess ? e : first; };
    auto normed = [&](const void* from, Dtype dtype, const Ragged& r, int64_t from_rows,
                      const int32_t* index = nullptr) {
      LayerNormArgs a;
      a.x = matrix_view(from, dtype, from_rows, d),
      a.out = matrix_view(norm.as(), m.dtype, r.row_capacity, d), a.rows = r;
      if (index) a.index = vector_view(index, Dtype::i32, r.row_capacity);
      a.gamma = vector_view(m.ones.as(), Dtype::f32, d), a.beta = vector_view(m.zeros.as(), Dtype::f32, d);
      note(layer_norm(s, a));
    };
    auto product = [&](const Buffer& from, const PackedLinear& w, const Buffer& to, Dtype to_dtype,
                       const Ragged& r, Activation act = Activation::none, const void* residual = nullptr) {
      const bool gelu = act != Activation::none;
      if (vendor && r.row_capacity >= 400 && m.stream == m.dtype &&
          (!gelu || !std::strcmp(vendor, "vendor-gelu"))) {
        auto& found = vendors[{r.row_capacity, w.n, w.k, gelu, residual != nullptr}];
        if (!found)
          found = std::make_unique<bench::VendorLinear>(m.dtype, r.row_capacity, w.n, w.k, gelu,
                                                        residual != nullptr);
        return note(*found ? found->queue(s, from.as(), w.data.as(), residual, to.as())
                           : cudaErrorNotSupported);
      }
      Product a;
      a.x = matrix_view(from.as(), m.dtype, r.row_capacity, w.k), a.w = &w, a.act = act, a.rows = r;
      if (residual) a.residual = matrix_view(residual, m.stream, r.row_capacity, w.n);
      a.out = matrix_view(to.as(), to_dtype, r.row_capacity, w.n);
      note(linear(s, a));
    };
    // Row i of r is layer-normalised row index[i] (or i) of `from`, times w.
    auto normed_product = [&](const void* from, const Ragged& r, int64_t from_rows, const int32_t* index,
                              const PackedLinear& w, const Buffer& to, Dtype to_dtype,
                              Activation act = Activation::none) {
      if (!fuse || fuses_norm(r.row_capacity, w.n, w.k, false, false) == NormFusion::none) {
        normed(from, m.stream, r, from_rows, index);
        product(norm, w, to, to_dtype, r, act);
        return;
      }
      Product a;
      a.x = matrix_view(from, m.stream, from_rows, d), a.w = &w, a.act = act, a.rows = r;
      if (index) a.index = vector_view(index, Dtype::i32, r.row_capacity);
      a.norm_gamma = vector_view(m.ones.as(), Dtype::f32, d),
      a.norm_beta = vector_view(m.zeros.as(), Dtype::f32, d);
      a.out = matrix_view(to.as(), to_dtype, r.row_capacity, w.n);
      note(linear(s, a));
    };
    auto attend = [&](const void* q, int64_t q_stride, const Ragged& q_rows, const char* k, int64_t kv_stride,
                      const Ragged& r) {
      AttentionArgs a;
      a.q = heads_view(q, m.dtype, q_rows.row_capacity, m.heads, 64, q_stride);
      a.kv.k = heads_view(k, m.dtype, r.row_capacity, m.heads, 64, kv_stride);
      a.kv.v = heads_view(k + d * 2, m.dtype, r.row_capacity, m.heads, 64, kv_stride);
      a.q_rows = q_rows, a.kv_rows = r, a.scale = 0.125f;
      a.out = heads_view(attended.as(), m.dtype, q_rows.row_capacity, m.heads, 64);
      note(attention(s, a));
    };

    PatchifyArgs p;
    p.images = image_table.as<const float* const>(), p.heights = p.widths = sizes.as<int32_t>();
    p.out = matrix_view(patches.as(), m.dtype, rows, m.pixels), p.rows = all();
    note(patchify(s, p));
    product(patches, m.patch, x, m.stream, all(), Activation::none, positions.as());
    const Buffer* now = &x;
    Ragged r = all();
    for (int b = 0; b < m.layers; ++b) {
      const Block& w = m.blocks[b];
      if (prune && b == 4) {
        note(row_norm(
            s, {matrix_view(now->as(), m.stream, rows, d), vector_view(score.as(), Dtype::f32, rows), r}));
        SelectArgs a;
        a.score = vector_view(score.as(), Dtype::f32, rows), a.rows = r, a.count = count.as<int32_t>();
        a.kept = vector_view(kept.as(), Dtype::i32, rows), a.kept_offsets = kept_offsets.as<int32_t>();
        note(select(s, a));
        r = left();
        note(gather(
            s, {matrix_view(x.as(), m.stream, rows, d), vector_view(kept.as(), Dtype::i32, r.row_capacity),
                matrix_view(x2.as(), m.stream, r.row_capacity, d), r}));
        now = &x2;
      }
      if (last && b == m.layers - 1) {
        normed_product(now->as(), r, r.row_capacity, nullptr, w.keys_values, qkv, m.dtype);
        const Ragged one = one_each();  // the class token leads its sequence
        normed_product(now->as(), one, r.row_capacity, r.offsets, w.query, query, m.dtype);
        attend(query.as(), d, one, qkv.as<char>(), 2 * d, r);
        note(gather(s, {matrix_view(now->as(), m.stream, r.row_capacity, d),
                        vector_view(r.offsets, Dtype::i32, batch),
                        matrix_view(small.as(), m.stream, batch, d), one}));
        product(attended, w.proj, small, m.stream, one, Activation::none, small.as());
        normed_product(small.as(), one, batch, nullptr, w.fc1, hidden, m.dtype, Activation::gelu_erf);
        product(hidden, w.fc2, small, m.stream, one, Activation::none, small.as());
        normed_product(small.as(), one, batch, nullptr, m.head, logits, Dtype::f32);
        break;
      }
      normed_product(now->as(), r, r.row_capacity, nullptr, w.qkv, qkv, m.dtype);
      attend(qkv.as(), 3 * d, r, qkv.as<char>() + d * 2, 3 * d, r);
      product(attended, w.proj, *now, m.stream, r, Activation::none, now->as());
      normed_product(now->as(), r, r.row_capacity, nullptr, w.fc1, hidden, m.dtype, Activation::gelu_erf);
      product(hidden, w.fc2, *now, m.stream, r, Activation::none, now->as());
      if (b == m.layers - 1)
        normed_product(now->as(), one_each(), r.row_capacity, r.offsets, m.head, logits, Dtype::f32);
    }
    return first;
  }
};

Dtype dtype_named(const char* name) {
  return !std::strcmp(name, "f32") ? Dtype::f32 : !std::strcmp(name, "bf16") ? Dtype::bf16 : Dtype::f16;
}

}  // namespace

int main(int argc, char** argv) {
  const Dtype dtype = dtype_named(argc > 1 ? argv[1] : "f16"),
              residual = dtype_named(argc > 2 ? argv[2] : "f16");
  bool fuse = true, few = false;
  const char* vendor = nullptr;
  for (int i = 3; i < argc; ++i) {
    fuse = fuse && std::strcmp(argv[i], "apart") != 0;
    few = few || std::strcmp(argv[i], "few") == 0;
    if (!std::strncmp(argv[i], "vendor", 6)) vendor = argv[i];
  }
  if (bench::no_device()) return 77;
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "creating a stream");
  for (int dim : {192, 384, 768}) {
    const Model model(dim, dtype, residual);
    for (int batch : {1, 8, 32, 256}) {
      if (few && batch > 8) break;
      for (int variant = 0; variant < 4; ++variant) {
        const bool prune = variant > 0, known = variant != 2, last = variant == 3;
        const Run run(model, batch, prune, known, last, fuse, vendor);
        check(run.queue(stream), "a first pass");  // a vendor's product allocates when it is first met
        check(cudaStreamSynchronize(stream), "a first pass");
        const bench::GraphTime time = bench::time_graph(
            stream, [&](cudaStream_t s) { return run.queue(s); }, batch > 64 ? 7 : 31);
        std::vector<float> logits(1000);
        copy_from_device(logits.data(), run.logits.as(), 4000);
        double sum = 0;
        for (float v : logits) sum += v;
        std::printf(
            "{\"op\":\"vit\",\"dim\":%d,\"batch\":%d,\"dtype\":\"%s\",\"residual\":\"%s\",\"prune\":%d,"
            "\"known\":%d,"
            "\"last\":%d,\"us\":%.1f,\"images_per_s\":%.0f,\"host_us\":%.1f,\"nodes\":%zu,\"us_per_node\":%."
            "2f,"
            "\"finite\":%d}\n",
            dim, batch, name_of(dtype), name_of(residual), prune, known, last, time.device_us,
            batch / time.device_us * 1e6, time.host_us, time.nodes, time.device_us / time.nodes,
            std::isfinite(sum));
        std::fflush(stdout);
      }
    }
  }
}
