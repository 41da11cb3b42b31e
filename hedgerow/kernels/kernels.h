// SPDX-License-Identifier: Apache-2.0
// The contract between models and backends: one args struct and one free function per op, one table per backend.
//
// How to read it
//  - A free function (`linear(on, args)`) checks shapes once for all backends (throws Error), then calls the table.
//  - A table entry is noexcept, allocates nothing, plans nothing: a new row count or new lengths cost nothing.
//  - Rows: every op takes its live row count from a Ragged (offsets[batch]); extents are capacities, checked on the host.
//  - Axis order is [rows, heads, head_dim]. Index arrays are int32. `f` below stands for f32 or bf16.
//  - The definition of every op, scalar and in double, is in kernels/reference.cpp; tests compare all backends with it.
//
// Promise (CPU, and a GPU whose Context is batch-invariant): a row's result is a function of that row's inputs and its
// sequence alone - never of the other rows in the batch, of the row's place, of the thread count. The order of every sum
// is fixed; see docs/numerics.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hedgerow/core/parallel.h"
#include "hedgerow/core/ragged.h"
#include "hedgerow/core/tensor.h"

namespace hedgerow {

struct Backend;

// What a call runs on: a table, its threads (or stream), and scratch memory sized once.
class Context {
 public:
  // `backend` as returned by find_backend(); threads >= 1.
  Context(const Backend& backend, int threads);

  const Backend& backend() const { return *backend_; }
  Pool& pool() const { return *pool_; }
  int threads() const { return pool_->threads(); }
  // Device backends: the queue that ops go to (a cudaStream_t); null on the CPU.
  void* stream() const { return stream_.get(); }
  // Device backends choose kernels by the batch's rows, and kernels differ in the order of their sums. Set this, and ops
  // queued from then on are cut up so that a row's bits do not depend on its batch, for some time more.
  void set_batch_invariant(bool on) { batch_invariant_ = on; }
  bool batch_invariant() const { return batch_invariant_; }

  // Makes sure that every worker has this much scratch. Allocates when it grows: call it before the hot path.
  void reserve_scratch(size_t bytes_per_worker);
  size_t scratch_bytes() const { return scratch_bytes_; }
  template <class T = void>
  T* scratch(int worker) const {
    return scratch_[worker].as<T>();
  }

 private:
  const Backend* backend_;
  std::unique_ptr<Pool> pool_;
  std::vector<Buffer> scratch_;
  size_t scratch_bytes_ = 0;
  std::shared_ptr<void> stream_;
  bool batch_invariant_ = false;
};

// ---------------------------------------------------------------------------------------------------- dense algebra

// A weight matrix [n, k] (n outputs) and optional bias, in the layout of the backend that packed it.
struct PackedLinear {
  const Backend* owner = nullptr;
  Dtype dtype = Dtype::f32;  // of the weights, and of the x it multiplies: f32 or bf16, f16, e4m3, int8: takes()
  float unit = 1;            // e4m3: the value that a stored 1 stands for, a power of two
  int n = 0, k = 0;
  int panel = 0;             // outputs per panel; the layout inside is the backend's own affair
  Buffer data;
  Buffer bias;               // f32 [n rounded up to panel], empty = none
  Buffer units;              // int8: bf16 [n rounded up to panel], what a stored 1 of each output's weights stands for
};

// w: row-major f32 [n, k]; bias: f32 [n] or null. 8 bits: n and k multiples of 16; e4m3: the unit is the least that leaves no
// weight above 448; int8: each output's is a 127th of its largest weight.
PackedLinear pack_linear(const Backend& on, const float* w, const float* bias, int n, int k, Dtype dtype);
inline PackedLinear pack_linear(const Context& on, const float* w, const float* bias, int n, int k, Dtype dtype) {
  return pack_linear(on.backend(), w, bias, n, k, dtype);
}

enum class Activation : uint8_t { none, gelu_erf, gelu_tanh };
// How a layer norm and the product after it become one launch.
enum class NormFusion : uint8_t { none, whole, divided };

// out = act(y w^T + bias) + residual, y[i] = x[j], j = index ? index[i] : i. One fused pass.
// With norm_gamma: y[i] is x[j] layer-normalised as LayerNormArgs says and rounded to the dtype of w; x may then be f32
// whatever w is. Divided: y[i] is x[j] / sqrt(variance + norm_eps), all that is left of a norm where w took in the rest
// (fold_norm). Both only where the backend has fuses_norm; so for index without a norm; none of them with 8 bits.
// With w in e4m3 (backends with takes_eight_bits): x stored times w stored are summed in the matrix unit's own precision (13 bits
// behind the leading one of the largest term of 32, on Hopper), once multiplied with both units; out is f16, or e4m3 without a
// residual; what exceeds its range becomes the largest value. With w in int8 the sums are exact; every row of x and every output
// has a unit of its own; out as with e4m3. Both: GELU of either kind is the tanh kind to 0.002.
struct LinearArgs {
  Tensor x;                          // f [rows, k], dtype of w; [*, k] with index
  Tensor index;                      // optional i32 [rows]: which rows of x
  Tensor norm_gamma, norm_beta;      // optional f32 [k]: like w and its bias never written by an op still queued
  bool divided = false;              // instead of norm_gamma; without index
  Tensor x_moments;                  // divided, optional: what `moments` below became where x was computed
  float norm_eps = 1e-6f;
  const PackedLinear* w = nullptr;   // [n, k]
  Activation act = Activation::none;
  Tensor x_units;                    // int8 only: f32 [rows], what a stored 1 of each row of x stands for
  Tensor residual;                   // optional f32 [rows, n]; may be `out` itself
  Tensor out;                        // f [rows, n]
  // Optional out, where gives_moments says so: f32 [rows, 2 n / 64], pairs that add up to the sum and the sum of squares of the
  // row's outputs (one pass in f32, before they are rounded). They spare a divided product behind this one a look at its rows.
  Tensor moments;
  Ragged rows;
};

// out = x + act(norm(x) w1^T + bias1) w2^T + bias2, a whole feed-forward half of a block in one pass: rows normalised as
// LayerNormArgs says and rounded to the dtype of the weights, as are the activated hidden columns. Only where the backend
// has fuses_mlp and it says yes, and not on a batch-invariant Context.
struct MlpArgs {
  Tensor x;                                      // f32, or of the weights' dtype: [rows, dim]
  Tensor norm_gamma, norm_beta;                  // f32 [dim]; like the weights never written by an op still queued
  float norm_eps = 1e-6f;
  const PackedLinear *w1 = nullptr, *w2 = nullptr;  // [hidden, dim] and [dim, hidden], both with a bias
  Activation act = Activation::gelu_erf;         // not none
  Tensor out;                                    // like x [rows, dim]; may be x itself
  Ragged rows;
};

// out[i] = (x[j] - mean) / sqrt(var + eps) * gamma + beta, j = index ? index[i] : i; variance over dim (biased).
struct LayerNormArgs {
  Tensor x;            // f32 [*, dim]
  Tensor index;        // optional i32 [rows]: which rows of x
  Tensor gamma, beta;  // f32 [dim]
  float eps = 1e-6f;
  Tensor out;          // f [rows, dim]; e4m3 or int8 where the backend takes it
  Tensor out_units;    // int8 only, out f32 [rows]: a 127th of the row's largest value
  Ragged rows;         // rows of out
};

// -------------------------------------------------------------------------------------------------------- attention

struct KeyValues {
  Tensor k, v;  // f [kv_rows, heads, head_dim]; both may be strided views of one fused projection
};

// Softmax attention inside each sequence, all keys visible:
//   out[i] = sum_j p_ij v_j,  p_i = softmax_j(scale * q_i . k_j + key_bias_j).
// A key whose bias is -inf contributes exactly nothing; a row that sees nothing becomes 0.
// Hidden keys (bias -inf) are left out before anything is computed, so putting them between or behind live keys does not
// change a bit of the result, whatever they hold. Sums run over live keys in one fixed order.
struct AttentionArgs {
  Tensor q;               // f [*, heads, head_dim], head_dim 32, 64 or 128
  KeyValues kv;           // same dtype as q
  Ragged q_rows, kv_rows; // the same number of sequences; lengths may differ
  Tensor q_index;         // optional i32 [q_rows]: output row i asks with q[q_index[i]] (else q[i])
  Tensor key_bias;        // optional f32 [kv_rows], added to the logits (log of merged size; -inf hides a key)
  float scale = 0;        // usually 1 / sqrt(head_dim)
  Tensor out;             // f [q_rows, heads, head_dim]
  Tensor first_row;       // optional f32 [kv_rows, heads]: softmax probabilities of each sequence's first query
};

// ----------------------------------------------------------------------------------------------------- moving rows

// Images -> rows of patch values. Row offsets[i] + special + p holds patch p (row-major grid) of image i as (channel, y,
// x) - the order of a conv weight; the `special` rows in front become 0.
struct PatchifyArgs {
  const float* const* images = nullptr;  // [batch] CHW f32, 3 channels
  const int32_t* heights = nullptr;      // [batch] pixels, multiples of patch
  const int32_t* widths = nullptr;
  int patch = 16, special = 1;
  Tensor out;                            // f [rows, 3 * patch * patch]
  Ragged rows;                           // length i = special + (height/patch) * (width/patch)
};

// out[i] = index[i] < 0 ? 0 : x[index[i]], whole rows of any 4-byte dtype (f32, i32).
struct GatherArgs {
  Tensor x;      // [*, dim] or [*]
  Tensor index;  // i32 [rows]
  Tensor out;    // like x, [rows, ...]
  Ragged rows;   // rows of out
};

// out[index[i]] = x[i] for index[i] >= 0; other rows of out are left alone. index has no repeats. (Unpack to a grid.)
struct ScatterArgs {
  Tensor x;      // [rows, dim] or [rows], f32 or i32
  Tensor index;  // i32 [rows]
  Tensor out;
  Ragged rows;   // rows of x
};

// ------------------------------------------------------------------------------------------------- scores and choice

// out[i] = || x[i] ||_2 over the last axes (rank 2: dim; rank 3: heads x head_dim).
struct RowNormArgs {
  Tensor x;      // f [rows, dim] or [rows, heads, head_dim]
  Tensor out;    // f32 [rows]
  Ragged rows;
};

// out[i] = sum over heads of probs[i, h] / divisor, times weight[i] where given.
struct HeadScoreArgs {
  Tensor probs;       // f32 [rows, heads]
  Tensor weight;      // optional f32 [rows]
  float divisor = 1;  // heads: mean over heads
  Tensor out;         // f32 [rows]
  Ragged rows;
};

// How many rows of a sequence survive. Scores of special rows and of rows that are not alive take no part. Ties: the lower
// index wins. NaN counts as the lowest score. "candidates" = alive rows that are not special, m of them.
enum class SelectMode : uint8_t {
  top_k,      // the count[i] highest
  threshold,  // score >= threshold[i]
  quantile,   // score >= the (1 - mass[i]) quantile: the ceil(mass[i] * m) highest
  mass,       // highest first, the smallest set whose share of the sum reaches mass[i] (scores >= 0; computed in double)
  ats,        // inverse-transform sampling at samples[i] heights (facts: Fayyaz et al. 2022, eq. 4-6, batch-1 form)
};

// Everything is per sequence, so one batch may mix rates. Unused arrays may be null.
struct SelectArgs {
  Tensor score;                        // f32 [rows]
  Tensor alive;                        // optional u8 [rows]: rows that still take part (masked layouts)
  Ragged rows;
  int special = 1;                     // first rows of each sequence: always kept
  bool special_competes = false;       // top_k only: special rows are ranked too and use up count, kept all the same
  SelectMode mode = SelectMode::top_k;
  const int32_t* count = nullptr;      // [batch] candidates to keep (top_k)
  const float* threshold = nullptr;    // [batch]
  const double* mass = nullptr;        // [batch] in [0, 1]
  const int32_t* floor = nullptr;      // [batch] keep at least this many candidates (while there are as many)
  const int32_t* samples = nullptr;    // [batch] ATS sample heights
  int append = 0;                      // 1: a sequence that drops anything gets one more row, index -1 (EViT's fused token)
  Tensor kept;                         // out i32 [capacity]: packed row indices into `score`, ascending inside a sequence
  int32_t* kept_offsets = nullptr;     // out [batch + 1]
  Tensor alive_out;                    // optional out u8 [rows]: 1 = kept (may be `alive` itself)
};

// out[last row of sequence i of `to`] = sum over rows j of sequence i of `from` that are candidates and were dropped of
// score[j] * x[j], ascending j, weights not renormalised (EViT's fused token). Sequences without an appended row
// (last kept index >= 0) are left alone.
struct FuseDroppedArgs {
  Tensor x;       // f32 [from rows, dim]
  Tensor score;   // f32 [from rows]
  Tensor alive;   // optional u8 [from rows]
  Tensor kept;    // i32 [to rows], from select with append = 1
  Ragged from, to;
  int special = 1;
  Tensor out;     // f32 [to rows, dim]
};

// x[i, dim/2 .. dim) becomes its mean over the sequence's alive, non-special rows, for each of those rows (DynamicViT's
// global half). Rows that are special or not alive are left alone.
struct GlobalHalfArgs {
  Tensor x;       // f [rows, dim], in place
  Tensor alive;   // optional u8 [rows]
  int special = 1;
  Ragged rows;
};

// out[i] = log_softmax(x[i])[0] of two logits: DynamicViT's log-probability of "keep".
struct KeepLogProbArgs {
  Tensor x;    // f32 [rows, 2]
  Tensor out;  // f32 [rows]
  Ragged rows;
};

// --------------------------------------------------------------------------------------------------------- merging

// out[i] = v / ||v||_2, v = mean over heads of x[i] (rank 3) or x[i] itself (rank 2). A zero row stays 0.
struct UnitRowArgs {
  Tensor x;    // f [rows, heads, head_dim] or f32 [rows, dim]
  Tensor out;  // f32 [rows, head_dim or dim]
  Ragged rows;
};

// For each source row: the target row of its sequence with the largest dot product (ties: lower row), packed index and
// value. Other rows: best = -1. A sequence without targets: best = -1 for its sources too.
struct MatchArgs {
  Tensor unit;        // f32 [rows, dim]
  Tensor role;        // u8 [rows]: 0 takes no part, 1 source, 2 target
  Ragged rows;
  Tensor best;        // out i32 [rows]
  Tensor similarity;  // out f32 [rows]
};

// ToMe: out[i] = (sum over members size[j] x[j]) / (sum size[j]), out_size = sum size[j].
// DiffRate: out[i] = plain mean over members, out_size = size[kept] + sum over absorbed of similarity[j] * size[j].
enum class MergeRule : uint8_t { size_weighted, plain_mean };

// Members of output row i: row kept[i] itself, then the absorbed rows j (ascending) with into[j] == kept[i].
struct MergeArgs {
  Tensor x;           // f32 [from rows, dim]
  Tensor size;        // f32 [from rows]
  Tensor into;        // i32 [from rows]: packed index of the row that absorbs row j; < 0: not absorbed
  Tensor similarity;  // f32 [from rows], plain_mean only
  Tensor kept;        // i32 [to rows]
  Ragged from, to;
  MergeRule rule = MergeRule::size_weighted;
  Tensor out;         // f32 [to rows, dim]; not x
  Tensor out_size;    // f32 [to rows]; not size
};

// --------------------------------------------------------------------------- bookkeeping between two ops
// Small steps that a caller with offsets in host memory could take by itself. They are ops so that a forward pass whose
// lengths live on a device never has to ask for them.

// index[i * special + t] = offsets[i] + t: the rows that lead each sequence (read-out rows). No sequence of `rows` is
// shorter than `special`.
struct LeadRowsArgs {
  Ragged rows;
  int special = 1;
  Tensor index;  // out i32 [batch * special]
};

// out[i] = (size ? log(size[i]) : 0), or -inf where a row is not alive: attention's key_bias.
struct KeyBiasArgs {
  Tensor size;   // optional f32 [rows]
  Tensor alive;  // optional u8 [rows]
  Tensor out;    // f32 [rows]
  Ragged rows;
};

// ToMe's halves: behind the special rows, rows at even places of a sequence are sources (role 1), at odd places targets
// (2); special rows, and all rows of a sequence with pairs[i] == 0, take no part (0).
struct TomeRolesArgs {
  Ragged rows;
  const int32_t* pairs = nullptr;  // [batch]
  int special = 1;
  Tensor role;    // out u8 [rows]
  Tensor source;  // out u8 [rows]: 1 where role is 1
};

// ToMe's order after a merge: special rows, sources that stay, targets (the next block's halves depend on it); a sequence
// with pairs[i] == 0 keeps its rows and their order. into[j] = best[j] for sources that merge, else -1.
struct TomeOrderArgs {
  Ragged rows;
  const int32_t* pairs = nullptr;  // [batch]
  int special = 1;
  Tensor role;                      // u8 [rows]
  Tensor merging;                   // u8 [rows]: of the sources, those that merge: pairs[i] in each sequence
  Tensor best;                      // i32 [rows], from match
  Tensor into;                      // out i32 [rows]
  Tensor kept;                      // out i32 [rows capacity]
  int32_t* kept_offsets = nullptr;  // out [batch + 1]
};

// DiffRate: of the rows that survive the prune, those that survive the merge too are targets (2), the others sources (1);
// special and pruned rows take no part (0).
struct SurvivorRolesArgs {
  Ragged rows;
  int special = 1;
  Tensor survives_prune, survives_merge;  // u8 [rows]
  Tensor role;                            // out u8 [rows]
};

// ------------------------------------------------------------------------------------------------------------ table

// What a table needs beside its ops when it does not compute in host memory. Ops are queued and return at once; what
// goes wrong on the way is thrown by the next download, wait or record.
struct DeviceCalls {
  std::shared_ptr<void> (*open)();     // a queue, for one Context
  Buffer (*allocate)(size_t bytes);    // zeroed device memory
  Buffer (*allocate_host)(size_t bytes);  // host memory that copies to and from the device need not wait for
  void (*store)(void* to, const void* from, size_t bytes);  // to the device, at once: for weights, not for batches
  void (*upload)(Context&, void* to, const void* from, size_t bytes);    // queued; `from` may be reused after wait()
  void (*download)(Context&, void* to, const void* from, size_t bytes);  // queued; the bytes are there after wait()
  void (*fill)(Context&, void* to, uint8_t value, size_t bytes);         // queued
  void (*wait)(Context&);
  // Records what `body` queues, to be replayed in one call: pointers and capacities stay, what they point to may change.
  std::shared_ptr<void> (*record)(Context&, const std::function<void()>& body);
  void (*replay)(Context&, const std::shared_ptr<void>& recorded);
  size_t (*nodes)(const std::shared_ptr<void>& recorded);  // launches in one replay
  // Multiply-adds and adds a second of the matrix units alone, operands at hand: what speeds are a share of. Waits.
  double (*peak_flops)(Context&, Dtype);
};

struct Backend {
  const char* name;         // "scalar", "avx2", "avx512", "avx512bf16", "cuda"
  const char* description;
  bool (*runs_here)();      // does this machine have what it needs?

  PackedLinear (*pack_linear)(const float* w, const float* bias, int n, int k, Dtype dtype);
  size_t (*scratch_bytes)(int max_len, int heads, int head_dim);  // per worker, enough for every op

  // What is fastest for so many rows: layer_norm and then linear (none), or linear with a norm; divided only where the
  // norm is folded into w, `moments`: and x_moments can be given. Null: linear takes neither a norm nor an index.
  NormFusion (*fuses_norm)(int rows, int n, int k, bool folded, bool moments);
  void (*linear)(Context&, const LinearArgs&) noexcept;
  void (*layer_norm)(Context&, const LayerNormArgs&) noexcept;
  void (*attention)(Context&, const AttentionArgs&) noexcept;
  void (*patchify)(Context&, const PatchifyArgs&) noexcept;
  void (*gather)(Context&, const GatherArgs&) noexcept;
  void (*scatter)(Context&, const ScatterArgs&) noexcept;
  void (*row_norm)(Context&, const RowNormArgs&) noexcept;
  void (*head_score)(Context&, const HeadScoreArgs&) noexcept;
  void (*select)(Context&, const SelectArgs&) noexcept;
  void (*fuse_dropped)(Context&, const FuseDroppedArgs&) noexcept;
  void (*global_half)(Context&, const GlobalHalfArgs&) noexcept;
  void (*keep_log_prob)(Context&, const KeepLogProbArgs&) noexcept;
  void (*unit_row)(Context&, const UnitRowArgs&) noexcept;
  void (*match)(Context&, const MatchArgs&) noexcept;
  void (*merge)(Context&, const MergeArgs&) noexcept;
  void (*lead_rows)(Context&, const LeadRowsArgs&) noexcept;
  void (*key_bias)(Context&, const KeyBiasArgs&) noexcept;
  void (*tome_roles)(Context&, const TomeRolesArgs&) noexcept;
  void (*tome_order)(Context&, const TomeOrderArgs&) noexcept;
  void (*survivor_roles)(Context&, const SurvivorRolesArgs&) noexcept;

  const DeviceCalls* device = nullptr;  // null: tensors, offsets and index arrays are in host memory
  std::string (*why_not)() = nullptr;   // what the machine lacks, where runs_here() alone does not say it
  // Does linear write moments for this shape, 16-bit rows, weights and residual, no activation? Null: it does not.
  bool (*gives_moments)(int rows, int n, int k) = nullptr;
  bool narrow_stream = false;           // takes f16 beside f32 and bf16, and residual rows in any of them
  bool (*takes_eight_bits)() = nullptr;       // does this machine multiply e4m3 and int8? Null: it does not
  // Is mlp, for at most so many rows of 16-bit weights, faster than layer_norm and two linears? Null: there is none.
  bool (*fuses_mlp)(int row_capacity, int dim, int hidden) = nullptr;
  void (*mlp)(Context&, const MlpArgs&) noexcept = nullptr;
};

// All tables in this build, slowest first; the best that runs here; one by name (Error if unknown or not runnable here).
// find_backend("") honours the environment variable HEDGEROW_KERNELS, else picks the best CPU level.
const std::vector<const Backend*>& all_backends();
const Backend& find_backend(const std::string& name = "");

// May matrices be of this dtype here? All that may, as in "f32, f16 or bf16".
bool takes(const Backend& on, Dtype dtype);
std::string dtypes_of(const Backend& on);

// Memory that `on` computes in: zeroed, or holding a copy of `bytes` of host memory.
Buffer allocate_on(const Backend& on, size_t bytes);
Buffer copy_on(const Backend& on, const void* from, size_t bytes);

// Checked entry points.
void linear(Context& on, const LinearArgs& args);
void mlp(Context& on, const MlpArgs& args);
void layer_norm(Context& on, const LayerNormArgs& args);
void attention(Context& on, const AttentionArgs& args);
void patchify(Context& on, const PatchifyArgs& args);
void gather(Context& on, const GatherArgs& args);
void scatter(Context& on, const ScatterArgs& args);
void row_norm(Context& on, const RowNormArgs& args);
void head_score(Context& on, const HeadScoreArgs& args);
void select(Context& on, const SelectArgs& args);
void fuse_dropped(Context& on, const FuseDroppedArgs& args);
void global_half(Context& on, const GlobalHalfArgs& args);
void keep_log_prob(Context& on, const KeepLogProbArgs& args);
void unit_row(Context& on, const UnitRowArgs& args);
void match(Context& on, const MatchArgs& args);
void merge(Context& on, const MergeArgs& args);
void lead_rows(Context& on, const LeadRowsArgs& args);
void key_bias(Context& on, const KeyBiasArgs& args);
void tome_roles(Context& on, const TomeRolesArgs& args);
void tome_order(Context& on, const TomeOrderArgs& args);
void survivor_roles(Context& on, const SurvivorRolesArgs& args);

}  // namespace hedgerow
