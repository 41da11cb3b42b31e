// SPDX-License-Identifier: Apache-2.0
// The ops of a block: where a norm, the product behind it, or a whole MLP become one launch, and where a
// product leaves moments of its rows. What pays follows from rows and shapes, and changes the order of sums:
// with fixed ones nothing is fused.
#include "hedgerow/kernels/between.h"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {
namespace {

LinearPlan plan_of(bool fixed) { return fixed ? kInvariantLinear : LinearPlan{}; }

bool narrow(const PackedLinear& w) { return bytes_of(w.dtype) == 2; }

// Kernels that leave moments and divide by them are built for f16 alone.
bool may_measure(const PackedLinear& w) { return w.dtype == Dtype::f16; }
bool measures(const ResidualLinearArgs& a) {
  const auto f16 = [](const Tensor& t) {
    return !t ||
           (t.dtype == Dtype::f16 && reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.strides[0] % 8 == 0);
  };
  return a.to->moments && may_measure(*a.w) && f16(a.x) && f16(a.residual) && f16(a.to->x) &&
         gives_moments(a.rows.expected_rows(), a.w->n, a.w->k);
}

// How `w` takes its norm. `measured`: the rows come with moments.
NormFusion fusion_of(const NormLinearArgs& a, const PackedNormLinear& w, bool measured, bool fixed) {
  if (fixed || !narrow(w.w)) return NormFusion::none;
  return fuses_norm(a.rows.expected_rows(), w.w.n, w.w.k, w.folded && !a.index, measured);
}

Product fused(const NormLinearArgs& a, const PackedNormLinear& w, const Tensor& out, NormFusion how,
              bool measured) {
  Product p{};
  p.x = a.x.x, p.index = a.index, p.w = &w.w, p.act = a.act, p.out = out, p.rows = a.rows;
  p.norm_eps = w.eps;
  p.divided = how == NormFusion::divided;
  if (p.divided && measured) p.x_moments = a.x.moments;
  if (how == NormFusion::whole) p.norm_gamma = vector_in(w.gamma), p.norm_beta = vector_in(w.beta);
  return p;
}

// One after the other; the first that fails ends it.
struct Steps {
  cudaError_t e = cudaSuccess;
  void then(cudaError_t next) { e = e == cudaSuccess ? next : e; }
};

cudaError_t apart(cudaStream_t stream, const NormLinearArgs& a, bool fixed) {
  Steps steps;
  norm_then_linear(
      a, [&](const LayerNormArgs& n) { steps.then(layer_norm(stream, n)); },
      [&](const LinearArgs& l) { steps.then(linear(stream, product_of(l), plan_of(fixed))); });
  return steps.e;
}

}  // namespace

Product product_of(const LinearArgs& a) {
  Product p{};
  p.x = a.x, p.w = a.w, p.act = a.act, p.x_scales = a.x_scales, p.residual = a.residual, p.out = a.out,
  p.rows = a.rows;
  return p;
}

// Only where the rows are of the weights' own dtype does a division do for the rest of a norm.
bool folds_norm(Dtype weights, Dtype stream) { return weights == stream; }

bool reads_moments(const PackedNormLinear& reader, int rows) {
  return reader.folded && may_measure(reader.w) && gives_moments(rows, reader.w.k, reader.w.k);
}

cudaError_t norm_linear(cudaStream_t stream, const NormLinearArgs& a, bool fixed) {
  const bool measured = a.w->folded && !a.index && a.x.measured;
  // Two products of rows that need a norm share it.
  if (a.also && !measured) return apart(stream, a, fixed);
  Steps steps;
  const auto one = [&](const PackedNormLinear& w, const Tensor& out) {
    const NormFusion how = fusion_of(a, w, measured, fixed);
    if (how != NormFusion::none) return steps.then(linear(stream, fused(a, w, out, how, measured)));
    NormLinearArgs alone = a;
    alone.w = &w, alone.out = out, alone.also = nullptr;
    steps.then(apart(stream, alone, fixed));
  };
  one(*a.w, a.out);
  if (a.also) one(*a.also, a.also_out);
  return steps.e;
}

cudaError_t residual_linear(cudaStream_t stream, const ResidualLinearArgs& a, bool fixed) {
  Product p = product_of(plain(a));
  a.to->measured = !fixed && measures(a);
  if (a.to->measured) p.moments = a.to->moments;
  return linear(stream, p, plan_of(fixed));
}

cudaError_t feed_forward(cudaStream_t stream, const FeedForwardArgs& a, bool fixed) {
  const PackedLinear& w1 = a.w1->w;
  if (!fixed && narrow(w1) && narrow(*a.w2) && a.act != Activation::none && w1.dtype == a.w2->dtype &&
      fuses_mlp(a.rows.expected_rows(), w1.k, w1.n)) {
    const cudaError_t e = mlp(stream, {.x = a.x->x,
                                       .norm_gamma = vector_in(a.w1->gamma),
                                       .norm_beta = vector_in(a.w1->beta),
                                       .norm_eps = a.w1->eps,
                                       .w1 = &w1,
                                       .w2 = a.w2,
                                       .act = a.act,
                                       .out = a.x->x,
                                       .rows = a.rows});
    if (e != cudaErrorNotSupported) {
      a.x->measured = false;
      return e;
    }
  }
  const BetweenRows hidden = hidden_rows(a);
  Steps steps;
  steps.then(norm_linear(stream, first_half(a, hidden.rows), fixed));
  steps.then(residual_linear(stream, second_half(a, hidden.rows), fixed));
  return steps.e;
}

}  // namespace hedgerow::cuda
