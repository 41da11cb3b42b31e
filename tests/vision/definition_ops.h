// SPDX-License-Identifier: Apache-2.0
// The ops of kernels/reference on the rows of one picture, each value with a bound: how far a backend may be
// from it. Bounds are running error analysis (Higham 2002, ch. 3): what the inputs may be off, carried
// through the op's derivative in absolute values, plus the op's own rounding. A sum of n products is off by
// at most (n + 2) 2^-24 of the sum of their absolute values, whatever the order; a sum over the channels of a
// row by (n / 16 + 24) 2^-24 (sum_steps in tests/ops/claims.h); a stored value by half of its dtype's last
// place. GELU: 1e-6 (kernels/cpu/gelu.h). Softmax: see Ops::attention.
//
// Bounds are worst cases and grow with every op: they mean something over the few ops between two places at
// which rows are replaced by observed ones (bound 0), not over a whole model.
#pragma once

#include <vector>

#include "hedgerow/kernels/kernels.h"

namespace hedgerow::test {

// [count, width]; value[i] is off by at most bound[i].
struct Rows {
  int count = 0, width = 0;
  std::vector<double> value, bound;

  Rows() = default;
  Rows(int count, int width)
      : count(count),
        width(width),
        value(static_cast<size_t>(count) * static_cast<size_t>(width)),
        bound(value.size()) {}
  double* row(int i) { return value.data() + static_cast<size_t>(i) * static_cast<size_t>(width); }
  const double* row(int i) const { return const_cast<Rows*>(this)->row(i); }
  double* off(int i) { return bound.data() + static_cast<size_t>(i) * static_cast<size_t>(width); }
  const double* off(int i) const { return const_cast<Rows*>(this)->off(i); }
};

Rows take(const Rows& x, const std::vector<int>& index);  // rows
Rows columns(const Rows& x, int first, int width);        // of every row
Rows side_by_side(const std::vector<Rows>& parts);        // the same number of rows each
double half_of_last_place(Dtype dtype);                   // relative: 2^-24, bf16 2^-8, f16 2^-11

// What a pass computes in.
struct Numerics {
  Dtype dtype = Dtype::f32;   // of matrices and of the rows that meet them
  Dtype stream = Dtype::f32;  // of the residual stream
  bool folds_norms = false;   // norms are part of the matrix behind them, which is rounded with them

  static Numerics of(const Backend& backend, Dtype dtype);
};

struct Norm {
  const std::vector<float>&gamma, &beta;
  float eps;
};
struct Matrix {
  const std::vector<float>&w, &bias;  // [n, k] row-major; [n] or empty
  int n;
};

class Ops {
 public:
  explicit Ops(Numerics numerics) : numerics_(numerics) {}

  // Rounded as `dtype` stores it: grows the bound, leaves the value.
  void store(Rows& x, Dtype dtype) const;
  void store_rows(Rows& x) const { store(x, numerics_.dtype); }

  // act(x w^T + bias), w and x as `dtype` has them (the pass's own dtype, or f32 for the head). Not stored
  // yet.
  Rows linear(const Rows& x, const Matrix& m, Dtype dtype, Activation act = Activation::none) const;
  Rows linear(const Rows& x, const Matrix& m, Activation act = Activation::none) const {
    return linear(x, m, numerics_.dtype, act);
  }
  Rows layer_norm(const Rows& x, const Norm& n) const;  // not stored yet
  // A norm and the product behind it, stored.
  Rows norm_linear(const Rows& x, const Norm& n, const Matrix& m, Activation act = Activation::none) const;
  Rows add(const Rows& a, const Rows& b) const;  // stored as the stream

  struct Attended {
    Rows out;        // stored
    Rows first_row;  // [keys, heads]: probabilities of the first query
  };
  // size: [keys, 1], weighs a key by how many patches it stands for; no rows: all ones.
  Attended attention(const Rows& q, const Rows& k, const Rows& v, const Rows& size, int heads) const;

  Rows row_norm(const Rows& x, int heads = 1) const;  // [count, 1], as all scores
  Rows head_score(const Rows& probabilities, double divisor,
                  const Rows& weight) const;  // weight: may be empty
  Rows keep_log_prob(const Rows& two) const;
  Rows global_half(const Rows& x, int special) const;  // stored
  // Mean over heads, of length one. All of a row is off by at most its bounds' first value, in length.
  Rows directions(const Rows& x, int heads) const;

  // The sum of score[j] x[j] over the rows of `dropped`.
  Rows fused(const Rows& x, const Rows& score, const std::vector<int>& dropped) const;
  // Row i of the result: kept[i] and the rows that go into it (into[j] == kept[i]). size changes as it says.
  Rows merged(const Rows& x, Rows& size, const std::vector<int>& kept, const std::vector<int>& into,
              const Rows& similarity, MergeRule rule) const;

 private:
  Numerics numerics_;
};

}  // namespace hedgerow::test
