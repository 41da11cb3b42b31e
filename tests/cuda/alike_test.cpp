// SPDX-License-Identifier: Apache-2.0
// Which kernels give the same bits: what a run whose rows may not depend on their batch can choose from.
// Products: all that do not cut a sum. Attention: counted only (HEDGEROW_VERBOSE=1 tells), such runs keep to
// one kernel.
#include <map>

#include "tests/cuda/twin.h"

namespace hedgerow::cuda::test {
namespace {

struct Counted {
  size_t differ = 0, of = 0;
};
std::map<std::string, Counted> counted;

void note(const std::string& what, const Twin& a, const Twin& b, size_t live) {
  Counted& c = counted[what];
  c.of += live;
  for (size_t i = 0; i < live; ++i)
    c.differ +=
        std::memcmp(&a.host[i * bytes_of(a.dtype)], &b.host[i * bytes_of(a.dtype)], bytes_of(a.dtype)) != 0;
}

void products(Dtype dtype, int rows, int n, int k, Activation act, bool residual) {
  Batch batch({rows}, 3);
  Twin x(dtype, static_cast<size_t>(batch.capacity()) * k),
      old(dtype, static_cast<size_t>(batch.capacity()) * n), out(dtype, old.count), first(dtype, old.count);
  x.random(1), old.random(2);
  std::vector<float> w(static_cast<size_t>(n) * k), bias(n);
  const Rng rng{9, 9};
  for (size_t i = 0; i < w.size(); ++i)
    w[i] = static_cast<float>(rng.normal(i)) / std::sqrt(static_cast<float>(k));
  for (int i = 0; i < n; ++i) bias[i] = static_cast<float>(rng.normal(i + 100000000));
  const PackedLinear packed = pack_linear(w.data(), bias.data(), n, k, dtype);
  Product a;
  a.x = matrix_view(x.at(true), dtype, batch.capacity(), k);
  a.w = &packed, a.act = act, a.rows = batch.view(true);
  if (residual) a.residual = matrix_view(old.at(true), dtype, batch.capacity(), n);
  const std::pair<const char*, LinearPlan> plans[] = {
      {"ping-pong 128", {.tile = LinearTile::pingpong_128}},
      {"ping-pong 192", {.tile = LinearTile::pingpong_192}},
      {"ping-pong 192 rows shared", {.tile = LinearTile::pingpong_192, .share = Share::rows}},
      {"staged 128x192", {.tile = LinearTile::staged, .groups = 2, .cols = 192}},
      {"staged 64x80", {.tile = LinearTile::staged, .groups = 1, .cols = 80}},
      {"staged 128x160", {.tile = LinearTile::staged, .groups = 2, .cols = 160}},
      {"staged 192x192", {.tile = LinearTile::staged, .groups = 3, .cols = 192}},
      {"split 64x64", {LinearTile::split_64x64, 1}},
      {"split 128x64", {LinearTile::split_128x64, 1}},
      {"split 128x128", {LinearTile::split_128x128, 1}},
      {"split 64x64 by 2", {LinearTile::split_64x64, 2}},
      {"mma", {LinearTile::mma}},
      {"small 16", {LinearTile::small, 1, 16, 1}},
      {"small 64", {LinearTile::small, 1, 64, 1}},
      {"small 64 of 2", {LinearTile::small, 1, 64, 2}},
      {"small 104 of 2", {LinearTile::small, 1, 104, 2}},
      {"small 64 by 2", {LinearTile::small, 2, 64, 1}}};
  for (const auto& [name, plan] : plans) {
    a.out = matrix_view((&plan == &plans[0].second ? first : out).at(true), dtype, batch.capacity(), n);
    queued(linear(nullptr, a, plan), name);
    if (&plan == &plans[0].second) {
      first.pull();
      continue;
    }
    out.pull();
    note(std::string("product ") + name +
             (residual                  ? ", residual"
              : act == Activation::none ? ""
                                        : ", gelu"),
         first, out, static_cast<size_t>(rows) * n);
  }
}

void attentions(Dtype dtype, const std::vector<int>& lengths, const char* title) {
  Batch batch(lengths);
  constexpr int kHeads = 3, kDim = kHeads * 64;
  Twin qkv(dtype, static_cast<size_t>(batch.capacity()) * 3 * kDim), bias(Dtype::f32, batch.capacity());
  qkv.random(4, 2.0f), bias.fill(0);
  Twin out(dtype, static_cast<size_t>(batch.capacity()) * kDim), first(dtype, out.count);
  Twin row(Dtype::f32, static_cast<size_t>(batch.capacity()) * kHeads), first_row(Dtype::f32, row.count);
  AttentionArgs a;
  auto part = [&](int i) {
    return heads_view(static_cast<char*>(qkv.at(true)) + static_cast<size_t>(i) * kDim * bytes_of(dtype),
                      dtype, batch.capacity(), kHeads, 64, 3 * kDim);
  };
  a.q = part(0), a.kv = {part(1), part(2)}, a.q_rows = a.kv_rows = batch.view(true);
  a.scale = 0.125f;
  const std::pair<const char*, AttentionKernel> kernels[] = {{"two groups", AttentionKernel::two_groups},
                                                             {"one group", AttentionKernel::one_group},
                                                             {"halves", AttentionKernel::halves},
                                                             {"light", AttentionKernel::light},
                                                             {"mma", AttentionKernel::mma}};
  for (int with = 0; with < 2; ++with) {
    if (with) a.key_bias = vector_view(bias.at(true), Dtype::f32, batch.capacity());
    for (const auto& [name, kernel] : kernels) {
      const bool base = !with && kernel == AttentionKernel::two_groups;
      a.out = heads_view((base ? first : out).at(true), dtype, batch.capacity(), kHeads, 64);
      a.first_row = matrix_view((base ? first_row : row).at(true), Dtype::f32, batch.capacity(), kHeads);
      queued(attention(nullptr, a, kernel), name);
      (base ? first : out).pull(), (base ? first_row : row).pull();
      if (base) continue;
      const std::string what = std::string("attention ") + title + " " + name + (with ? ", bias of 0" : "");
      note(what, first, out, static_cast<size_t>(batch.rows) * kDim);
      note(what + ", first row", first_row, row, static_cast<size_t>(batch.rows) * kHeads);
    }
  }
}

}  // namespace

void test_alike() {
  for (Dtype dtype : {Dtype::f16, Dtype::bf16}) {
    for (int rows : {50, 197, 700, 3000}) {
      products(dtype, rows, 576, 192, Activation::none, false);
      products(dtype, rows, 768, 192, Activation::gelu_erf, false);
      products(dtype, rows, 192, 768, Activation::none, true);
      products(dtype, rows, 768, 3072, Activation::none, true);
    }
    attentions(dtype, {20, 1, 64, 33, 50}, "to 64");
    attentions(dtype, {20, 1, 128, 99, 120, 65}, "to 128");
    attentions(dtype, {20, 1, 197, 129, 160}, "to 197");
    attentions(dtype, {577, 300}, "to 577");
  }
  const bool verbose = std::getenv("HEDGEROW_VERBOSE") != nullptr;
  for (const auto& [what, c] : counted) {
    if (verbose) std::printf("  %-50s %8zu of %zu differ\n", what.c_str(), c.differ, c.of);
    // A sum that is cut in two rounds otherwise; every other product is one chain in steps of 16.
    const bool product = what.rfind("product", 0) == 0, cut = what.find(" by ") != std::string::npos;
    if (product && !cut) tally.check(c.differ == 0, what + ": bits differ");
  }
}

}  // namespace hedgerow::cuda::test
