// SPDX-License-Identifier: Apache-2.0
// Ops on single rows against their definitions.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/cuda/twin.h"

namespace hedgerow::cuda::test {
namespace {

double bound_of(Dtype d) { return d == Dtype::f32 ? 2e-5 : d == Dtype::f16 ? 6e-3 : 5e-2; }

void normalise(Dtype in, Dtype out_dtype, int dim, bool indexed, bool plain = false) {
  const std::string name = std::string("layer_norm ") + name_of(in) + " to " + name_of(out_dtype) + " dim " +
                           std::to_string(dim) + (plain ? " plain" : "");
  Batch rows({5, 0, 70, 3});
  Twin x(in, static_cast<size_t>(rows.capacity()) * dim), gamma(Dtype::f32, dim), beta(Dtype::f32, dim);
  Twin index(Dtype::i32, rows.capacity()), out(out_dtype, static_cast<size_t>(rows.capacity()) * dim);
  x.random(3, 2), gamma.random(4), beta.random(5), out.fill(kNan);
  for (int i = 0; i < rows.rows; ++i) index.set(i, static_cast<float>((i * 7) % rows.rows));
  index.push();
  auto args = [&](bool on) {
    LayerNormArgs a;
    a.x = matrix_view(x.at(on), in, rows.capacity(), dim);
    if (indexed) a.index = vector_view(index.at(on), Dtype::i32, rows.capacity());
    if (!plain)
      a.gamma = vector_view(gamma.at(on), Dtype::f32, dim),
      a.beta = vector_view(beta.at(on), Dtype::f32, dim);
    a.out = matrix_view(out.at(on), out_dtype, rows.capacity(), dim);
    a.rows = rows.view(on);
    return a;
  };
  const auto want = reference::layer_norm(args(false));
  queued(layer_norm(nullptr, args(true)), name);
  out.pull();
  close(out, want, bound_of(out_dtype) * 3, name);
  untouched(out, static_cast<size_t>(rows.rows) * dim, name);
}

// What is stored is the exact value rounded to e4m3, or, where f32 came out on the other side of a midpoint,
// its neighbour.
void normalise_e4m3(Dtype in, int dim, float scale) {
  const std::string name = std::string("layer_norm ") + name_of(in) + " to fp8 dim " + std::to_string(dim);
  Batch rows({5, 0, 70, 3});
  const size_t live = static_cast<size_t>(rows.rows) * static_cast<size_t>(dim);
  Twin x(in, static_cast<size_t>(rows.capacity()) * dim), gamma(Dtype::f32, dim), beta(Dtype::f32, dim);
  Twin out(Dtype::e4m3, static_cast<size_t>(rows.capacity()) * dim);
  x.random(3, 2), gamma.random(4), beta.random(5), out.fill(kNan);
  auto args = [&](bool on) {
    LayerNormArgs a;
    a.x = matrix_view(x.at(on), in, rows.capacity(), dim);
    a.gamma = vector_view(gamma.at(on), Dtype::f32, dim), a.beta = vector_view(beta.at(on), Dtype::f32, dim);
    a.out = e4m3_view(out.at(on), scale, rows.capacity(), dim);
    a.rows = rows.view(on);
    return a;
  };
  const auto want = reference::layer_norm(args(false));
  queued(layer_norm(nullptr, args(true)), name);
  out.pull();
  size_t wrong = 0, rounded = 0;
  for (size_t i = 0; i < live; ++i) {
    const double exact = want[i] / scale, got = out.get(i);
    rounded += got == e4m3_to_f32(f32_to_e4m3(static_cast<float>(exact)));
    const double most = std::min(std::fabs(exact), 448.0);
    wrong += !(std::fabs(got - (exact < 0 ? -most : most)) <= most * 0x1.01p-4 + 0x1.01p-10);
  }
  tally.check(wrong == 0, name + ": " + std::to_string(wrong) + " values are off by more than rounding");
  tally.check(rounded >= live - live / 1000 - 2, name + ": only " + std::to_string(rounded) + " of " +
                                                     std::to_string(live) + " values are those nearest");
  untouched(out, live, name);
}

// Each row in its own scale: a 127th of its largest value, and every value to half a step.
void normalise_i8(Dtype in, int dim) {
  const std::string name = std::string("layer_norm ") + name_of(in) + " to int8 dim " + std::to_string(dim);
  Batch rows({5, 0, 70, 3});
  Twin x(in, static_cast<size_t>(rows.capacity()) * dim), gamma(Dtype::f32, dim), beta(Dtype::f32, dim);
  Twin out(Dtype::i8, static_cast<size_t>(rows.capacity()) * dim), scales(Dtype::f32, rows.capacity());
  x.random(3, 2), gamma.random(4), beta.random(5), scales.fill(kNan);
  for (size_t i = 0; i < out.count; ++i) out.set(i, -128);
  out.push();
  auto args = [&](bool on) {
    LayerNormArgs a;
    a.x = matrix_view(x.at(on), in, rows.capacity(), dim);
    a.gamma = vector_view(gamma.at(on), Dtype::f32, dim), a.beta = vector_view(beta.at(on), Dtype::f32, dim);
    a.out = matrix_view(out.at(on), Dtype::i8, rows.capacity(), dim);
    a.out_scales = vector_view(scales.at(on), Dtype::f32, rows.capacity());
    a.rows = rows.view(on);
    return a;
  };
  const auto want = reference::layer_norm(args(false));
  queued(layer_norm(nullptr, args(true)), name);
  out.pull(), scales.pull();
  size_t wrong = 0, written = 0;
  for (int r = 0; r < rows.rows; ++r) {
    double most = 0;
    for (int c = 0; c < dim; ++c) most = std::max(most, std::fabs(want[static_cast<size_t>(r) * dim + c]));
    const double scale = scales.get(r);
    wrong += !(std::fabs(scale - most / 127) <= 1e-5 * most);
    for (int c = 0; c < dim; ++c) {
      const size_t i = static_cast<size_t>(r) * dim + c;
      wrong += !(std::fabs(out.get(i) * scale - want[i]) <= 0.501 * scale + 1e-5 * most);
    }
  }
  for (size_t i = static_cast<size_t>(rows.rows) * dim; i < out.count; ++i) written += out.get(i) != -128;
  tally.check(wrong == 0, name + ": " + std::to_string(wrong) + " values are off by more than half a step");
  tally.check(written == 0, name + ": rows that are not there were written");
}

void patches(Dtype dtype) {
  const int heights[] = {48, 32}, widths[] = {32, 64}, values = 3 * 16 * 16;
  Batch rows({1 + 6, 1 + 8});
  Twin a(Dtype::f32, 3 * 48 * 32), b(Dtype::f32, 3 * 32 * 64),
      out(dtype, static_cast<size_t>(rows.capacity()) * values);
  Twin h(Dtype::i32, 2), w(Dtype::i32, 2);
  a.random(1), b.random(2), out.fill(kNan);
  for (int i = 0; i < 2; ++i)
    h.set(i, static_cast<float>(heights[i])), w.set(i, static_cast<float>(widths[i]));
  h.push(), w.push();
  Buffer table = device_buffer(16);
  const void* on_device[] = {a.at(true), b.at(true)};
  const void* on_host[] = {a.at(false), b.at(false)};
  copy_to_device(table.as(), on_device, 16);
  auto args = [&](bool on) {
    PatchifyArgs p;
    p.images = on ? table.as<const float* const>() : reinterpret_cast<const float* const*>(on_host);
    p.heights = static_cast<const int32_t*>(h.at(on)), p.widths = static_cast<const int32_t*>(w.at(on));
    p.out = matrix_view(out.at(on), dtype, rows.capacity(), values);
    p.rows = rows.view(on);
    return p;
  };
  const auto want = reference::patchify(args(false));
  queued(patchify(nullptr, args(true)), "patchify");
  out.pull();
  close(out, want, dtype == Dtype::f32 ? 0 : bound_of(dtype), "patchify");
  untouched(out, static_cast<size_t>(rows.rows) * values, "patchify");
}

void move(Dtype dtype, int dim) {
  const std::string name = std::string("move ") + name_of(dtype) + " " + std::to_string(dim);
  Batch rows({9, 0, 31});
  const int others = 90;
  Twin x(dtype, static_cast<size_t>(others) * dim), index(Dtype::i32, rows.capacity());
  Twin out(dtype, static_cast<size_t>(others) * dim);
  x.random(3, 1);
  for (int i = 0; i < rows.rows; ++i)
    index.set(i, i % 5 == 4 ? -1.0f : static_cast<float>((i * 37) % others));
  index.push();
  for (bool back : {false, true}) {
    out.fill(kNan);
    std::vector<double> want;
    auto view = [&](Twin& t, bool on) { return matrix_view(t.at(on), dtype, others, dim); };
    auto list = [&](bool on) { return vector_view(index.at(on), Dtype::i32, rows.capacity()); };
    if (back) {
      want = reference::scatter({view(x, false), list(false), view(out, false), rows.view(false)});
      queued(scatter(nullptr, {view(x, true), list(true), view(out, true), rows.view(true)}), name);
    } else {
      want = reference::gather({view(x, false), list(false), view(out, false), rows.view(false)});
      queued(gather(nullptr, {view(x, true), list(true), view(out, true), rows.view(true)}), name);
    }
    out.pull();
    close(out, want, 0, name);
    untouched(out, static_cast<size_t>(back ? others : rows.rows) * dim, name);
  }
}

void scores(Dtype dtype) {
  const std::string name = std::string("scores ") + name_of(dtype);
  constexpr int kHeads = 3, kDim = 64;
  Batch rows({11, 0, 40});
  Twin x(dtype, static_cast<size_t>(rows.capacity()) * kHeads * kDim), norms(Dtype::f32, rows.capacity());
  Twin probs(Dtype::f32, static_cast<size_t>(rows.capacity()) * kHeads), out(Dtype::f32, rows.capacity());
  Twin two(dtype, static_cast<size_t>(rows.capacity()) * 2),
      directions(Dtype::f32, static_cast<size_t>(rows.capacity()) * kDim);
  x.random(8), probs.random(9), two.random(10, 3);
  for (int i = 0; i < kHeads * kDim; ++i) x.set(7 * kHeads * kDim + i, 0);  // a row without a direction
  x.push();
  for (bool heads : {true, false}) {
    norms.fill(kNan), directions.fill(kNan);
    auto view = [&](bool on) {
      return heads ? heads_view(x.at(on), dtype, rows.capacity(), kHeads, kDim)
                   : matrix_view(x.at(on), dtype, rows.capacity(), kDim);
    };
    auto norm_args = [&](bool on) {
      return RowNormArgs{view(on), vector_view(norms.at(on), Dtype::f32, rows.capacity()), rows.view(on)};
    };
    const auto want = reference::row_norm(norm_args(false));
    queued(row_norm(nullptr, norm_args(true)), name);
    norms.pull();
    close(norms, want, 1e-4, name + " norm");
    untouched(norms, rows.rows, name + " norm");
    auto direction_args = [&](bool on) {
      return DirectionArgs{view(on), matrix_view(directions.at(on), Dtype::f32, rows.capacity(), kDim),
                           rows.view(on)};
    };
    const auto want_direction = reference::direction(direction_args(false));
    queued(direction(nullptr, direction_args(true)), name);
    directions.pull();
    close(directions, want_direction, 1e-5, name + " direction");
    untouched(directions, static_cast<size_t>(rows.rows) * kDim, name + " direction");
  }
  for (bool weighted : {false, true}) {
    out.fill(kNan);
    auto args = [&](bool on) {
      HeadScoreArgs a;
      a.probs = matrix_view(probs.at(on), Dtype::f32, rows.capacity(), kHeads);
      if (weighted) a.weight = vector_view(norms.at(on), Dtype::f32, rows.capacity());
      a.divisor = 3, a.out = vector_view(out.at(on), Dtype::f32, rows.capacity()), a.rows = rows.view(on);
      return a;
    };
    const auto want = reference::head_score(args(false));
    queued(head_score(nullptr, args(true)), name);
    out.pull();
    close(out, want, 1e-4, name + " head score");
    untouched(out, rows.rows, name + " head score");
  }
  out.fill(kNan);
  auto args = [&](bool on) {
    return KeepLogProbArgs{matrix_view(two.at(on), dtype, rows.capacity(), 2),
                           vector_view(out.at(on), Dtype::f32, rows.capacity()), rows.view(on)};
  };
  const auto want = reference::keep_log_prob(args(false));
  queued(keep_log_prob(nullptr, args(true)), name);
  out.pull();
  close(out, want, 1e-5, name + " log prob");
}

}  // namespace

void test_rows() {
  for (Dtype in : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    for (Dtype out : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
      for (int dim : {192, 384, 768, 1024, 100, 37})
        normalise(in, out, dim, dim == 384), normalise(in, out, dim, false, true);
    }
    if (takes_eight_bits())  // scales that leave room, and one in which many values are too large
      for (int dim : {192, 384, 768, 1024, 100, 37})
        normalise_e4m3(in, dim, dim == 384 ? 0x1p-8f : 0x1p-4f), normalise_i8(in, dim);
    patches(in), scores(in);
  }
  for (int dim : {1, 3, 192, 100}) move(Dtype::f32, dim), move(Dtype::f16, dim);
}

}  // namespace hedgerow::cuda::test
