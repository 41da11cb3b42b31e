// SPDX-License-Identifier: Apache-2.0
// The fused MLP: what it takes, whether it pays, and by whom a row is computed.
#include <algorithm>

#include "hedgerow/kernels/cuda/launch.h"
#include "hedgerow/kernels/cuda/ops.h"

namespace hedgerow::cuda {

cudaError_t mlp_f16(cudaStream_t, const MlpArgs&, MlpTeam);
cudaError_t mlp_bf16(cudaStream_t, const MlpArgs&, MlpTeam);

namespace {

bool fits(int dim, int hidden) {
  return device().hopper() && (dim == 192 || dim == 384) && hidden % 64 == 0 && hidden >= 256 &&
         hidden <= 4 * dim;
}

bool aligned(const Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.strides[0] * bytes_of(t.dtype) % 16 == 0;
}

}  // namespace

// H100, f16: a split team wins where its low tiles fit the chip at once, two that share win everywhere else
// (at 25,344 rows by 6 % at dim 192 and 11 % at 384, at 6,304 by 8 and 12 %).
MlpTeam mlp_team(int rows) {
  const int bands = (rows + 63) / 64, processors = std::max(1, device().multiprocessors);
  return 2 * bands <= processors ? MlpTeam::split : MlpTeam::shared;
}

// From here on it takes 0.58 to 0.93 of what three launches do; at 8,448 rows, dim 192 is even and 384 loses:
// the time that a block's first tile needs to come and go is not hidden.
constexpr int kPays = 12000;

bool fuses_mlp(int rows, int dim, int hidden) { return fits(dim, hidden) && rows >= kPays; }

cudaError_t mlp(cudaStream_t stream, const MlpArgs& a, MlpTeam team) {
  const int dim = a.w1->k, hidden = a.w1->n;
  if (!fits(dim, hidden) || a.w1->dtype != a.w2->dtype || a.w1->dtype == Dtype::f32 ||
      a.act == Activation::none || a.x.dtype != a.out.dtype ||
      (a.x.dtype != Dtype::f32 && a.x.dtype != a.w1->dtype) || !aligned(a.x) || !aligned(a.out))
    return cudaErrorNotSupported;
  if (a.rows.row_capacity == 0) return cudaSuccess;
  if (team == MlpTeam::automatic) team = mlp_team(a.rows.expected_rows());
  return a.w1->dtype == Dtype::f16 ? mlp_f16(stream, a, team) : mlp_bf16(stream, a, team);
}

}  // namespace hedgerow::cuda
