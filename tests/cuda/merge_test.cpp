// SPDX-License-Identifier: Apache-2.0
// Fusing, averaging, matching and merging against their definitions.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/cuda/twin.h"

namespace hedgerow::cuda::test {
namespace {

const std::vector<int> kLengths = {197, 0, 5, 64, 1, 130};

void fuse(Dtype dtype, bool masked) {
  constexpr int kDim = 200;
  const std::string name = std::string("fuse_dropped ") + name_of(dtype);
  Batch from(kLengths);
  std::vector<int> left;
  std::vector<int32_t> list;
  for (size_t s = 0, begin = 0; s < kLengths.size(); begin += kLengths[s++]) {
    const size_t before = list.size();
    for (int j = 0; j < kLengths[s]; ++j) {
      if (j == 0 || j % 3 == 1) list.push_back(static_cast<int>(begin) + j);
    }
    if (kLengths[s] > 5) list.push_back(-1);
    left.push_back(static_cast<int>(list.size() - before));
  }
  Batch to(left);
  Twin x(dtype, static_cast<size_t>(from.capacity()) * kDim), score(Dtype::f32, from.capacity()),
      alive(Dtype::u8, from.capacity());
  Twin kept(Dtype::i32, to.capacity()), out(dtype, static_cast<size_t>(to.capacity()) * kDim);
  x.random(1), score.random(2, 0.1f), out.fill(kNan);
  const Rng rng{4, 4};
  for (int i = 0; i < from.rows; ++i) alive.set(i, rng.uniform(i) < 0.8);
  for (size_t i = 0; i < list.size(); ++i) kept.set(i, static_cast<float>(list[i]));
  alive.push(), kept.push();
  auto args = [&](bool on) {
    FuseDroppedArgs a;
    a.x = matrix_view(x.at(on), dtype, from.capacity(), kDim),
    a.score = vector_view(score.at(on), Dtype::f32, from.capacity());
    if (masked) a.alive = vector_view(alive.at(on), Dtype::u8, from.capacity());
    a.kept = vector_view(kept.at(on), Dtype::i32, to.capacity());
    a.from = from.view(on), a.to = to.view(on), a.out = matrix_view(out.at(on), dtype, to.capacity(), kDim);
    return a;
  };
  const auto want = reference::fuse_dropped(args(false));
  queued(fuse_dropped(nullptr, args(true)), name);
  out.pull();
  close(out, want, dtype == Dtype::f32 ? 2e-5 : dtype == Dtype::f16 ? 4e-3 : 3e-2, name);
  untouched(out, static_cast<size_t>(to.rows) * kDim, name);
}

void average(Dtype dtype, bool masked) {
  constexpr int kDim = 192;
  const std::string name = std::string("global_half ") + name_of(dtype);
  Batch rows({197, 0, 5, 64, 130});
  Twin x(dtype, static_cast<size_t>(rows.capacity()) * kDim), alive(Dtype::u8, rows.capacity());
  x.fill(kNan), x.random(6);
  for (size_t i = static_cast<size_t>(rows.rows) * kDim; i < x.count; ++i) x.set(i, kNan);
  for (int i = 0; i < rows.rows; ++i) alive.set(i, i % 4 != 2);
  x.push(), alive.push();
  auto args = [&](bool on) {
    GlobalHalfArgs a;
    a.x = matrix_view(x.at(on), dtype, rows.capacity(), kDim), a.rows = rows.view(on);
    if (masked) a.alive = vector_view(alive.at(on), Dtype::u8, rows.capacity());
    return a;
  };
  const auto want = reference::global_half(args(false));
  queued(global_half(nullptr, args(true)), name);
  x.pull();
  close(x, want, dtype == Dtype::f32 ? 1e-6 : dtype == Dtype::f16 ? 1e-3 : 8e-3, name);
  untouched(x, static_cast<size_t>(rows.rows) * kDim, name);
}

void find(int dim) {
  const std::string name = "match " + std::to_string(dim);
  Batch rows(kLengths);
  Twin directions(Dtype::f32, static_cast<size_t>(rows.capacity()) * dim), role(Dtype::u8, rows.capacity());
  Twin best(Dtype::i32, rows.capacity()), similarity(Dtype::f32, rows.capacity());
  directions.random(2);
  for (int i = 0; i < rows.rows; ++i) role.set(i, static_cast<float>(i % 7 == 0 ? 0 : 1 + i % 2));
  for (int c = 0; c < dim; ++c)
    directions.set(9 * dim + c, static_cast<float>(directions.get(11 * dim + c)));  // a tie
  role.push(), directions.push();
  auto args = [&](bool on) {
    MatchArgs a;
    a.directions = matrix_view(directions.at(on), Dtype::f32, rows.capacity(), dim),
    a.role = vector_view(role.at(on), Dtype::u8, rows.capacity());
    a.rows = rows.view(on), a.best = vector_view(best.at(on), Dtype::i32, rows.capacity());
    a.similarity = vector_view(similarity.at(on), Dtype::f32, rows.capacity());
    return a;
  };
  const auto want = reference::match(args(false));
  best.fill(-9), similarity.fill(kNan);
  queued(match(nullptr, args(true)), name);
  best.pull(), similarity.pull();
  close(similarity, want.similarity, 1e-4, name);
  int differ = 0;
  for (int i = 0; i < rows.rows; ++i) differ += best.get(i) != want.best[i];
  tally.check(differ == 0, name + ": " + std::to_string(differ) + " targets differ");
}

void fold(Dtype dtype, MergeRule rule) {
  constexpr int kDim = 300;
  const std::string name =
      std::string("merge ") + name_of(dtype) + " rule " + std::to_string(static_cast<int>(rule));
  Batch from(kLengths);
  std::vector<int> left;
  std::vector<int32_t> list;
  Twin x(dtype, static_cast<size_t>(from.capacity()) * kDim), size(Dtype::f32, from.capacity()),
      into(Dtype::i32, from.capacity()), similarity(Dtype::f32, from.capacity());
  const Rng rng{12, 4};
  for (int s = 0, begin = 0; s < static_cast<int>(kLengths.size()); begin += kLengths[s++]) {
    const size_t before = list.size();
    for (int j = 0; j < kLengths[s]; ++j) {
      if (j % 3 != 2) list.push_back(begin + j);
    }
    const int count = static_cast<int>(list.size() - before);
    for (int j = 0; j < kLengths[s]; ++j) {
      const bool gone = j % 3 == 2 && j % 2 == 0;
      into.set(begin + j,
               gone ? static_cast<float>(list[before + static_cast<size_t>(rng.uniform(j) * count)]) : -1.0f);
    }
    left.push_back(count);
  }
  Batch to(left);
  Twin kept(Dtype::i32, to.capacity()), out(dtype, static_cast<size_t>(to.capacity()) * kDim),
      out_size(Dtype::f32, to.capacity());
  x.random(3), out.fill(kNan), out_size.fill(kNan);
  for (int i = 0; i < from.rows; ++i) {
    size.set(i, 1 + static_cast<float>(rng.uniform(i + 999)) * 3),
        similarity.set(i, static_cast<float>(rng.uniform(i + 5999)));
  }
  for (size_t i = 0; i < list.size(); ++i) kept.set(i, static_cast<float>(list[i]));
  size.push(), into.push(), similarity.push(), kept.push();
  auto args = [&](bool on) {
    MergeArgs a;
    a.x = matrix_view(x.at(on), dtype, from.capacity(), kDim),
    a.size = vector_view(size.at(on), Dtype::f32, from.capacity());
    a.into = vector_view(into.at(on), Dtype::i32, from.capacity());
    a.similarity = vector_view(similarity.at(on), Dtype::f32, from.capacity());
    a.kept = vector_view(kept.at(on), Dtype::i32, to.capacity()), a.from = from.view(on), a.to = to.view(on),
    a.rule = rule;
    a.out = matrix_view(out.at(on), dtype, to.capacity(), kDim),
    a.out_size = vector_view(out_size.at(on), Dtype::f32, to.capacity());
    return a;
  };
  if (dtype == Dtype::f32) {  // the definition reads f32 rows
    const auto want = reference::merge(args(false));
    queued(merge(nullptr, args(true)), name);
    out.pull(), out_size.pull();
    close(out, want.out, 2e-5, name);
    close(out_size, want.out_size, 2e-5, name + " sizes");
  } else {
    Twin wide(Dtype::f32, x.count);
    for (size_t i = 0; i < x.count; ++i) wide.set(i, static_cast<float>(x.get(i)));
    MergeArgs host = args(false);
    host.x = matrix_view(wide.at(false), Dtype::f32, from.capacity(), kDim);
    const auto want = reference::merge(host);
    queued(merge(nullptr, args(true)), name);
    out.pull(), out_size.pull();
    close(out, want.out, dtype == Dtype::f16 ? 2e-3 : 1.6e-2, name);
    close(out_size, want.out_size, 2e-5, name + " sizes");
  }
  untouched(out, static_cast<size_t>(to.rows) * kDim, name);
  untouched(out_size, to.rows, name);
}

}  // namespace

void test_merge() {
  for (Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    for (bool masked : {false, true}) fuse(dtype, masked), average(dtype, masked);
    fold(dtype, MergeRule::size_weighted), fold(dtype, MergeRule::plain_mean);
  }
  find(64), find(100), find(768);
}

}  // namespace hedgerow::cuda::test
