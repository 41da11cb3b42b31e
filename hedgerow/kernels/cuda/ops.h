// SPDX-License-Identifier: Apache-2.0
// Every op of the contract as a call that queues kernels on a stream and returns at once. The table in
// cuda.cu wraps these; tests and benchmarks may call them directly. Pointers inside the args (offsets, index
// arrays, per-sequence arrays) are device pointers.
#pragma once

#include <cuda_runtime.h>

#include "hedgerow/kernels/kernels.h"

namespace hedgerow::cuda {

// What a product is beside LinearArgs: with a norm or what a fold left of it, rows of an index, moments in
// and out. How a layer norm and the product after it become one launch.
enum class NormFusion : uint8_t { none, whole, divided };

// out = act(y w^T + bias) + residual, y[i] = x[j], j = index ? index[i] : i. One fused pass.
// With norm_gamma: y[i] is x[j] layer-normalised as LayerNormArgs says and rounded to the dtype of w; x may
// then be f32 whatever w is. Divided: y[i] is x[j] / sqrt(variance + norm_eps), all that is left of a norm
// where w took in the rest (fold_norm). None of them with 8 bits. With w in e4m3 (takes_eight_bits): x stored
// times w stored are summed in the matrix unit's own precision (13 bits behind the leading one of the largest
// term of 32, on Hopper), once multiplied with both units; out is f16, or e4m3 without a residual; what
// exceeds its range becomes the largest value. With w in int8 the sums are exact; every row of x and every
// output has a unit of its own; out as with e4m3. Both: GELU of either kind is the tanh kind to 0.002.
struct Product {
  Tensor x;           // f [rows, k], dtype of w; [*, k] with index
  Tensor index = {};  // optional i32 [rows]: which rows of x
  Tensor norm_gamma = {},
         norm_beta = {};  // optional f32 [k]: like w and its bias never written by an op still queued
  bool divided = false;   // instead of norm_gamma; without index
  Tensor x_moments = {};  // divided, optional: what `moments` below became where x was computed
  float norm_eps = 1e-6f;
  const PackedLinear* w = nullptr;  // [n, k]
  Activation act = Activation::none;
  Tensor x_units = {};   // int8 only: f32 [rows], what a stored 1 of each row of x stands for
  Tensor residual = {};  // optional f32 [rows, n]; may be `out` itself
  Tensor out;            // f [rows, n]
  // Optional out, where gives_moments says so: f32 [rows, 2 n / 64], pairs that add up to the sum and the sum
  // of squares of the row's outputs (one pass in f32, before they are rounded). They spare a divided product
  // behind this one a look at its rows.
  Tensor moments = {};
  Ragged rows;
};

// out = x + act(norm(x) w1^T + bias1) w2^T + bias2, a whole feed-forward half of a block in one pass: rows
// normalised as LayerNormArgs says and rounded to the dtype of the weights, as are the activated hidden
// columns. For what fits (mlp/mlp.cu).
struct MlpArgs {
  Tensor x;                      // f32, or of the weights' dtype: [rows, dim]
  Tensor norm_gamma, norm_beta;  // f32 [dim]; like the weights never written by an op still queued
  float norm_eps = 1e-6f;
  const PackedLinear *w1 = nullptr, *w2 = nullptr;  // [hidden, dim] and [dim, hidden], both with a bias
  Activation act = Activation::gelu_erf;            // not none
  Tensor out;                                       // like x [rows, dim]; may be x itself
  Ragged rows;
};

// Which kernel computes attention; `automatic` chooses by head_dim, device, bounds and measured times. A
// kernel that can't take the case hands it to one that can.
enum class AttentionKernel : uint8_t { automatic, mma, light, one_group, two_groups, halves };

cudaError_t attention(cudaStream_t stream, const AttentionArgs& args,
                      AttentionKernel kernel = AttentionKernel::automatic);
// The one that serves any lengths: with it a row's bits do not depend on its batch.
constexpr AttentionKernel kInvariantAttention = AttentionKernel::two_groups;

// How a product is cut up; `automatic` chooses by rows and shape. small: few rows, all of k in flight
// (linear/small.cuh); split_*: a cluster of `split` blocks (1, 2, 4 or 8) shares a tile, each with its part
// of k; staged: tiles of many sizes, the residual fetched ahead (all of one dtype); pingpong_N: two
// warpgroups take turns with tiles of 128 x N, one finishes while the other multiplies; mma: without Hopper's
// instructions.
enum class LinearTile : uint8_t {
  automatic,
  plain,
  split_64x64,
  split_128x64,
  split_128x128,
  mma,
  staged,
  pingpong_192,
  pingpong_128,
  small
};
// What the two blocks of a cluster fetch for each other (pingpong_N).
enum class Share : uint8_t { none, weights, rows };
struct LinearPlan {
  LinearTile tile = LinearTile::automatic;
  int split = 1;
  int rows = 0, groups = 1;  // of a small tile: rows (8, 16, 32, 64, 104 or 128) and groups of 64 outputs
  int cols = 0;  // of a staged tile: `groups` times 64 rows by so many outputs, one of kStagedTiles
  Share share = Share::none;  // pingpong_N only
};
// Staged tiles there are; `gelu`: also with the erf form behind the product (the tanh form: 2 x 192 alone).
struct StagedTile {
  int groups, cols;
  bool gelu = false;
  // Whether the residual's tile fits a block's memory too.
  constexpr bool takes_residual() const { return groups < 3 && cols <= 192; }
  constexpr bool takes(Activation act) const {
    return act == Activation::none || (groups == 2 && cols == 192) || (act == Activation::gelu_erf && gelu);
  }
};
inline constexpr StagedTile kStagedTiles[] = {
    {1, 48, true}, {1, 64, true},  {1, 80},        {1, 96, true},  {1, 128, true}, {1, 176, true}, {1, 192},
    {2, 128},      {2, 160, true}, {2, 192, true}, {2, 208, true}, {2, 240},       {3, 192, true}};
inline constexpr int kStagedTileCount = sizeof(kStagedTiles) / sizeof(StagedTile);

// One that serves any number of rows: with it a row's bits do not depend on its batch.
constexpr LinearPlan kInvariantLinear{.tile = LinearTile::pingpong_128};
// The residual may be f32 or the dtype of x; so may `out`. A norm, a division or an index is fused for any
// shape.
cudaError_t linear(cudaStream_t stream, const Product& args, LinearPlan plan = {});
NormFusion fuses_norm(int rows, int n, int k, bool folded, bool moments);
bool gives_moments(int rows, int n, int k);
// `alike`: x, the residual and out are of one dtype.
LinearPlan linear_plan(int rows, int n, int k, bool residual, bool alike = true,
                       Activation act = Activation::none);
// Of 8-bit rows and weights: always tiles in turns.
LinearPlan linear_plan_eight_bits(int rows, int n, int k, bool residual);
bool takes_eight_bits();

// Who computes a row of the fused MLP (mlp.cuh): blocks alone, two that fetch weights for each other, or two
// that take half of the hidden columns each; `automatic` chooses by rows and shape.
enum class MlpTeam : uint8_t { automatic, alone, shared, split };
// Hopper, dim 192 or 384, at most 4 dim hidden columns, 64 or more of them for each of four warpgroups; else
// cudaErrorNotSupported. x and out: both f32, or both of the weights' dtype, 16-byte aligned.
cudaError_t mlp(cudaStream_t stream, const MlpArgs& args, MlpTeam team = MlpTeam::automatic);
bool fuses_mlp(int rows, int dim, int hidden);
MlpTeam mlp_team(int rows);

// Weights for linear(): row-major in `dtype` (e4m3: in units of their own), the bias padded with zeros.
// Throws Error when memory is out.
Product product_of(const LinearArgs& args);

// The ops that fuse: by rows, unless sums are `fixed`; then as single ops.
cudaError_t norm_linear(cudaStream_t stream, const NormLinearArgs& args, bool fixed);
cudaError_t residual_linear(cudaStream_t stream, const ResidualLinearArgs& args, bool fixed);
cudaError_t feed_forward(cudaStream_t stream, const FeedForwardArgs& args, bool fixed);
bool folds_norm(Dtype weights, Dtype stream);
bool reads_moments(const PackedNormLinear& reader, int rows);

PackedLinear pack_linear(const float* w, const float* bias, int n, int k, Dtype dtype);

// Rows may be f32, f16 or bf16 on either side; out also e4m3.
cudaError_t layer_norm(cudaStream_t stream, const LayerNormArgs& args);
// `images` is a device array of device pointers; heights and widths are device arrays.
cudaError_t patchify(cudaStream_t stream, const PatchifyArgs& args);
cudaError_t gather(cudaStream_t stream, const GatherArgs& args);    // also 16-bit rows
cudaError_t scatter(cudaStream_t stream, const ScatterArgs& args);  // also 16-bit rows
cudaError_t row_norm(cudaStream_t stream, const RowNormArgs& args);
cudaError_t head_score(cudaStream_t stream, const HeadScoreArgs& args);
cudaError_t keep_log_prob(cudaStream_t stream, const KeepLogProbArgs& args);
cudaError_t unit_row(cudaStream_t stream, const UnitRowArgs& args);

constexpr int kMostSelectLen = 9000;  // rows of a sequence: they are ranked in a block's own memory
// count, threshold, mass, floor, samples and kept_offsets are device arrays.
cudaError_t select(cudaStream_t stream, const SelectArgs& args);
// x and out (alike) may be f32, f16 or bf16 in these:
cudaError_t fuse_dropped(cudaStream_t stream, const FuseDroppedArgs& args);
cudaError_t global_half(cudaStream_t stream, const GlobalHalfArgs& args);
cudaError_t merge(cudaStream_t stream, const MergeArgs& args);
cudaError_t match(cudaStream_t stream, const MatchArgs& args);

// Rate of the matrix units on operands in shared memory and registers, random values, all multiprocessors at
// once; of plain multiply-adds for f32. 0 where no such loop is known. Takes about 5 ms and waits.
cudaError_t peak_flops(cudaStream_t stream, Dtype dtype, double* flops);

// pairs and kept_offsets are device arrays.
cudaError_t lead_rows(cudaStream_t stream, const LeadRowsArgs& args);
cudaError_t key_bias(cudaStream_t stream, const KeyBiasArgs& args);
cudaError_t tome_roles(cudaStream_t stream, const TomeRolesArgs& args);
cudaError_t tome_order(cudaStream_t stream, const TomeOrderArgs& args);
cudaError_t survivor_roles(cudaStream_t stream, const SurvivorRolesArgs& args);

}  // namespace hedgerow::cuda
