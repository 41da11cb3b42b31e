// SPDX-License-Identifier: Apache-2.0
// The products of a ViT block at few rows, as a pass at batch 1 to 8 meets them: every call waits for the one
// before and has weights of its own (12 sets in turn, so that most of a larger model's come from memory).
// Device time of one call, as a graph of 48 calls / 48; every small tile beside the automatic choice.
// `norm` products: layer_norm and linear as two nodes (`apart`), against the tiles that normalise by
// themselves. `us` is the automatic choice. JSON lines on standard output.
//   small_sweep [f16|bf16] [f32|f16|bf16: of the residual stream] [all]
#include <cstring>
#include <string>

#include "bench/cuda/timing.h"

using namespace hedgerow;
using namespace hedgerow::cuda;

namespace {

constexpr int kSets = 12, kCalls = 48;

struct Case {
  const char* name;
  int n, k;
  Activation act;
  bool residual, norm;
};

std::string name_of(const LinearPlan& p) {
  if (p.tile != LinearTile::small)
    return "old" + std::to_string(static_cast<int>(p.tile)) + "/" + std::to_string(p.split);
  return std::to_string(p.rows) + "x" + std::to_string(64 * p.groups) + "/" + std::to_string(p.split);
}

std::vector<LinearPlan> plans_for(const Case& product, int rows) {
  std::vector<LinearPlan> plans;
  const int steps = (product.k + 63) / 64;
  for (int height : {8, 16, 32, 64, 104, 128}) {
    for (int groups : {1, 2}) {
      if (height == 128 && groups == 1) continue;
      if (groups == 2 && height < (product.norm ? 32 : 64)) continue;
      if (product.norm && (height > 64 || (height * groups >= 64 && product.k > 384))) continue;
      const int row_tiles = (rows + height - 1) / height,
                columns = (product.n + 64 * groups - 1) / (64 * groups);
      for (int split : {1, 2, 4, 8}) {
        const int blocks = row_tiles * columns * split;
        if (split > 1 && (product.norm || steps < 2 * split || split > height / 4)) continue;
        if (blocks > 400 || (blocks > 200 && split > 1) || (blocks < 20 && rows > 8)) continue;
        plans.push_back({LinearTile::small, split, height, groups});
      }
    }
  }
  return plans;
}

}  // namespace

int main(int argc, char** argv) {
  auto dtype_named = [](const char* s) {
    return !std::strcmp(s, "f32") ? Dtype::f32 : !std::strcmp(s, "bf16") ? Dtype::bf16 : Dtype::f16;
  };
  const Dtype dtype = dtype_named(argc > 1 ? argv[1] : "f16"), wide = dtype_named(argc > 2 ? argv[2] : "f16");
  const bool all = argc > 3 && !std::strcmp(argv[3], "all");
  if (bench::no_device()) return 77;
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "creating a stream");
  for (int dim : {192, 384, 768}) {
    const Case products[] = {{"qkv", 3 * dim, dim, Activation::none, false, false},
                             {"proj", dim, dim, Activation::none, true, false},
                             {"fc1", 4 * dim, dim, Activation::gelu_erf, false, false},
                             {"fc2", dim, 4 * dim, Activation::none, true, false},
                             {"norm qkv", 3 * dim, dim, Activation::none, false, true},
                             {"norm fc1", 4 * dim, dim, Activation::gelu_erf, false, true}};
    for (const Case& product : products) {
      std::vector<PackedLinear> weights(kSets);
      const std::vector<float> one(product.k, 1.0f);
      const size_t count = static_cast<size_t>(product.n) * product.k;
      const Buffer random = bench::random_halves(count, dtype, 0.03f, 3);
      for (PackedLinear& w : weights) {
        w.dtype = dtype, w.n = product.n, w.k = product.k;
        w.data = device_buffer(count * 2), w.bias = device_buffer((product.n + 256) * 4);
        check(cudaMemcpy(w.data.as(), random.as(), count * 2, cudaMemcpyDeviceToDevice), "copying weights");
      }
      const Buffer gamma = device_buffer(product.k * 4), beta = device_buffer(product.k * 4);
      copy_to_device(gamma.as(), one.data(), product.k * 4);
      for (int rows : {8, 99, 197, 394, 792, 1576}) {
        const size_t in = static_cast<size_t>(rows) * product.k, to = static_cast<size_t>(rows) * product.n;
        const Buffer x = wide == Dtype::f32 && product.norm ? device_buffer(in * 4)
                                                            : bench::random_halves(in, dtype, 1, 1);
        const Buffer y = device_buffer(in * 2), out = device_buffer(to * 4), residual = device_buffer(to * 4),
                     offsets = bench::device_offsets({rows});
        cuda::Product a;
        a.x = matrix_view(x.as(), product.norm ? wide : dtype, rows, product.k), a.act = product.act;
        if (product.residual) a.residual = matrix_view(residual.as(), wide, rows, product.n);
        a.out = matrix_view(out.as(), product.residual ? wide : dtype, rows, product.n);
        a.rows = {offsets.as<const int32_t>(), 1, rows, rows};
        if (product.norm) {
          a.norm_gamma = vector_view(gamma.as(), Dtype::f32, product.k);
          a.norm_beta = vector_view(beta.as(), Dtype::f32, product.k);
        }
        auto timed = [&](LinearPlan plan, bool apart) {
          auto queue = [&](cudaStream_t s) {
            for (int i = 0; i < kCalls; ++i) {
              cuda::Product b = a;
              b.w = &weights[i % kSets];
              cudaError_t e = cudaSuccess;
              if (apart) {
                LayerNormArgs n;
                n.x = a.x, n.gamma = a.norm_gamma, n.beta = a.norm_beta, n.rows = a.rows;
                b.norm_gamma = b.norm_beta = {};
                b.x = n.out = matrix_view(y.as(), dtype, rows, product.k);
                e = layer_norm(s, n);
              }
              if (e == cudaSuccess) e = linear(s, b, plan);
              if (e != cudaSuccess) return e;
            }
            return cudaSuccess;
          };
          return bench::time_graph(stream, queue, 3).device_us / kCalls;
        };
        std::printf("{\"op\":\"small\",\"dim\":%d,\"rows\":%d,\"product\":\"%s\",\"us\":%.2f", dim, rows,
                    product.name, timed({}, false));
        if (product.norm) std::printf(",\"apart\":%.2f", timed({}, true));
        if (all) {
          for (const LinearPlan& plan : plans_for(product, rows))
            std::printf(",\"%s\":%.2f", name_of(plan).c_str(), timed(plan, false));
        }
        std::printf("}\n");
        std::fflush(stdout);
      }
    }
  }
}
