// SPDX-License-Identifier: Apache-2.0
// The choice of rows: every mode against its definition, index by index, on scores with ties, zeros, NaN and
// infinity.
#include "hedgerow/kernels/reference/reference.h"
#include "tests/cuda/twin.h"

namespace hedgerow::cuda::test {
namespace {

enum class Scores { normal, few_values, zero, wild, positive, far_apart };

float score_of(Scores kind, const Rng& rng, int i) {
  const double u = rng.uniform(i), n = rng.normal(i + 5000);
  switch (kind) {
    case Scores::normal:
      return static_cast<float>(n);
    case Scores::few_values:
      return static_cast<float>(static_cast<int>(u * 4)) * 0.25f;
    case Scores::zero:
      return i % 2 ? 0.0f : -0.0f;
    case Scores::wild:
      return u < 0.1 ? kNan : u < 0.15 ? kInfinity : u < 0.2 ? -kInfinity : static_cast<float>(n);
    case Scores::positive:
      return static_cast<float>(std::exp(n));
    case Scores::far_apart:  // sums of these are not exact
      return static_cast<float>(std::exp(10 * n));
  }
  return 0;
}

void run(SelectMode mode, Scores kind, int variant, const std::vector<int>& lengths) {
  const bool masked = variant & 1, floored = variant & 2, append = variant & 4;
  const bool competes = variant == 0 && mode == SelectMode::top_k;
  const std::string name = "select mode " + std::to_string(static_cast<int>(mode)) + " scores " +
                           std::to_string(static_cast<int>(kind)) + " variant " + std::to_string(variant) +
                           " of " + std::to_string(lengths.size());
  Batch rows(lengths, 3);
  const int batch = static_cast<int>(lengths.size());
  const Rng rng{77, static_cast<uint64_t>(static_cast<int>(kind) * 8 + variant)};
  Twin score(Dtype::f32, rows.capacity()), alive(Dtype::u8, rows.capacity()),
      alive_out(Dtype::u8, rows.capacity());
  Twin kept(Dtype::i32, rows.capacity()), offsets(Dtype::i32, batch + 1);
  for (int i = 0; i < rows.rows; ++i) {
    score.set(i, score_of(kind, rng, i)), alive.set(i, rng.uniform(i + 90000) < 0.7);
  }
  score.push(), alive.push(), alive_out.fill(9);
  std::vector<int32_t> count(batch), floor(batch), samples(batch);
  std::vector<float> threshold(batch);
  std::vector<double> mass(batch);
  for (int s = 0; s < batch; ++s) {
    count[s] = static_cast<int>(rng.uniform(s + 200000) * (lengths[s] + 3)) - 1, floor[s] = 3 * s - 1;
    samples[s] = s % 4 == 3 ? 1 : 2 + lengths[s] * (s % 3);
    threshold[s] = static_cast<float>(rng.normal(s + 300000)) * 0.5f,
    mass[s] = s % 5 == 4 ? 1.0 : rng.uniform(s + 400000);
  }
  auto on_device = [](const auto& v) {
    Buffer b = device_buffer(v.size() * sizeof v[0]);
    copy_to_device(b.as(), v.data(), v.size() * sizeof v[0]);
    return b;
  };
  const Buffer d_count = on_device(count), d_floor = on_device(floor), d_samples = on_device(samples),
               d_threshold = on_device(threshold), d_mass = on_device(mass);
  auto args = [&](bool on) {
    SelectArgs a;
    a.score = vector_view(score.at(on), Dtype::f32, rows.capacity());
    if (masked) a.alive = vector_view(alive.at(on), Dtype::u8, rows.capacity());
    a.rows = rows.view(on), a.mode = mode, a.append = append, a.special_competes = competes;
    a.count = on ? d_count.as<int32_t>() : count.data(),
    a.samples = on ? d_samples.as<int32_t>() : samples.data();
    a.threshold = on ? d_threshold.as<float>() : threshold.data(),
    a.mass = on ? d_mass.as<double>() : mass.data();
    if (floored) a.floor = on ? d_floor.as<int32_t>() : floor.data();
    a.kept = vector_view(kept.at(on), Dtype::i32, rows.capacity());
    a.kept_offsets = static_cast<int32_t*>(offsets.at(on));
    a.alive_out = vector_view(alive_out.at(on), Dtype::u8, rows.capacity());
    return a;
  };
  const reference::Selected want = reference::select(args(false));
  for (int repeat = 0; repeat < 2; ++repeat) {
    kept.fill(-7), offsets.fill(-7);
    queued(select(nullptr, args(true)), name);
    kept.pull(), offsets.pull(), alive_out.pull();
    bool same = true;
    for (int s = 0; s <= batch; ++s) same &= offsets.get(s) == want.offsets[s];
    tally.check(same, name + ": offsets differ");
    for (size_t i = 0; same && i < want.kept.size(); ++i) same &= kept.get(i) == want.kept[i];
    tally.check(same, name + ": kept rows differ");
    same = true;
    for (int i = 0; i < rows.rows; ++i) same &= alive_out.get(i) == want.alive[i];
    tally.check(same, name + ": alive differs");
  }
}

}  // namespace

void test_select() {
  const std::vector<int> one = {197}, several = {197, 1, 0, 64, 577, 2, 100, 785, 3}, many(300, 21),
                         longest = {40, 2500, 1024};
  for (int mode = 0; mode < 5; ++mode) {
    for (int kind = 0; kind < 6; ++kind) {
      for (int variant = 0; variant < 8; ++variant) {
        for (const auto* lengths : {&one, &several, &many, &longest}) {
          run(static_cast<SelectMode>(mode), static_cast<Scores>(kind), variant, *lengths);
        }
      }
    }
  }
}

}  // namespace hedgerow::cuda::test
