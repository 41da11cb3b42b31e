// SPDX-License-Identifier: Apache-2.0
// Choosing a backend, and what the checked entries refuse.
#include <functional>

#include "tests/ops/claims.h"

namespace hedgerow::test {
namespace {

// Runs on the level that HEDGEROW_KERNELS names, else on the best; a level that can't run here is skipped,
// visibly.
class Entry : public testing::Test {
 protected:
  void SetUp() override {
    const char* forced = std::getenv("HEDGEROW_KERNELS");
    for (const Backend* b : all_backends())
      if (forced && forced == std::string(b->name) && !b->runs_here())
        GTEST_SKIP() << forced << " needs " << b->description << ", which this machine does not have";
    backend_ = &find_backend();
  }
  const Backend& backend() const { return *backend_; }
  Context context(int threads = 1, int max_len = 0, int dim = 64) const {
    Context on(backend(), threads);
    on.reserve_scratch(backend().scratch_bytes(max_len, (dim + 31) / 32, 32));
    return on;
  }

 private:
  const Backend* backend_ = nullptr;
};

Tensor vector_of(const float* p, int64_t n) { return vector_view(p, Dtype::f32, n); }
Tensor vector_of(const int32_t* p, int64_t n) { return vector_view(p, Dtype::i32, n); }
Tensor matrix_of(const float* p, int64_t rows, int64_t cols) {
  return matrix_view(p, Dtype::f32, rows, cols);
}

// The message of the Error that f throws; it is one line.
std::string refusal(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
    return e.what();
  }
  return "accepted";
}

class Environment {  // HEDGEROW_KERNELS for one scope
 public:
  explicit Environment(const char* value) {
    if (const char* v = std::getenv("HEDGEROW_KERNELS")) before_ = v, set_ = true;
    setenv("HEDGEROW_KERNELS", value, 1);
  }
  ~Environment() { set_ ? setenv("HEDGEROW_KERNELS", before_.c_str(), 1) : unsetenv("HEDGEROW_KERNELS"); }

 private:
  std::string before_;
  bool set_ = false;
};

TEST_F(Entry, the_forced_level_is_the_one_in_use) {
  const char* forced = std::getenv("HEDGEROW_KERNELS");
  if (forced && *forced) {
    EXPECT_STREQ(backend().name, forced);
  }
  const Context on = context(2);
  EXPECT_EQ(&on.backend(), &find_backend());
  EXPECT_EQ(on.threads(), 2);
  for (const Backend* b : all_backends()) {
    if (!b->runs_here()) continue;
    const Environment scope(b->name);
    EXPECT_STREQ(find_backend().name, b->name);
  }
}

TEST(Backends, are_listed_slowest_first_and_the_best_is_the_default) {
  ASSERT_GE(all_backends().size(), 4u);
  EXPECT_STREQ(all_backends()[0]->name, "scalar");
  EXPECT_TRUE(all_backends()[0]->runs_here());
  const Environment scope("");
  const Backend* best = nullptr;
  for (const Backend* b : all_backends())
    if (b->runs_here() && std::string(b->name) != "cuda") best = b;
  EXPECT_EQ(&find_backend(), best);
}

TEST(Backends, have_an_entry_for_every_op_and_name_what_they_lack) {
  constexpr bool here = true, absent = false;
  for (const Backend* b : all_backends()) {
#define HEDGEROW_OP(op, Args, cpu, cuda)                  \
  EXPECT_NE(b->ops.op, nullptr) << b->name << " " << #op; \
  EXPECT_EQ(has(*b, Op::op), b->host ? cpu : cuda) << b->name << " " << #op;
#include "hedgerow/kernels/ops.def"
#undef HEDGEROW_OP
  }
}

TEST_F(Entry, host_memory_is_there_at_once_and_records_nothing) {
  Context on = context();
  const Memory& memory = on.backend().memory;
  ASSERT_TRUE(on.backend().host);
  const std::vector<float> from = {1, 2, 3};
  const Buffer to = copy_on(on.backend(), from.data(), 12);
  std::vector<float> back(3);
  memory.download(on, back.data(), to.as(), 12);
  EXPECT_EQ(back, from);
  memory.upload(on, to.as<float>() + 1, back.data(), 4);
  memory.fill(on, to.as<float>() + 2, 0, 4);
  EXPECT_EQ(std::vector<float>(to.as<float>(), to.as<float>() + 3), (std::vector<float>{1, 1, 0}));
  memory.wait(on);
  EXPECT_FALSE(memory.records);
  EXPECT_EQ(refusal([&] { memory.record(on, [] {}); }),
            std::string("record: wanted a backend that records, found ") + on.backend().name);
  EXPECT_EQ(memory.nodes(nullptr), 0u);
}

TEST_F(Entry, refuses_an_absent_op_by_name) {
  Backend without = backend();
  without.ops.gather = absent<GatherArgs>;
  EXPECT_FALSE(has(without, Op::gather));
  EXPECT_TRUE(has(without, Op::scatter));
  const std::string lacks = "which " + std::string(without.name) + " lacks";
  EXPECT_EQ(refusal([&] { need(without, Op::gather, "a model"); }),
            "a model: wanted a backend with the op gather, " + lacks);
  Context on(without, 1);
  EXPECT_EQ(refusal([&] { gather(on, {}); }),
            "gather: backend: wanted one that has this op, found " + std::string(without.name));
  without.ops.gather(on, {});  // past the check: an Error all the same, at the next wait
  EXPECT_NE(refusal([&] { on.backend().memory.wait(on); }).find("an op: this backend lacks it"),
            std::string::npos);
  on.backend().memory.wait(on);
}

TEST(Backends, an_unknown_name_is_an_error_that_lists_the_names) {
  const std::string asked = refusal([] { find_backend("sse9"); });
  EXPECT_NE(asked.find("'sse9'"), std::string::npos) << asked;
  for (const Backend* b : all_backends()) EXPECT_NE(asked.find(b->name), std::string::npos) << asked;
  const Environment scope("turbo");
  const std::string forced = refusal([] { find_backend(); });
  EXPECT_NE(forced.find("'turbo' (from HEDGEROW_KERNELS)"), std::string::npos) << forced;
}

TEST(Backends, a_gpu_that_the_build_lacks_is_refused_with_the_way_to_get_it) {
  for (const Backend* b : all_backends())
    if (std::string(b->name) == "cuda") GTEST_SKIP() << "this build has it";
  const std::string way = " is not part of this build; configure with -DHEDGEROW_CUDA=ON";
  EXPECT_EQ(refusal([] { find_backend("cuda"); }), "kernels: 'cuda'" + way);
  const Environment scope("cuda");
  EXPECT_EQ(refusal([] { find_backend(); }), "kernels: 'cuda' (from HEDGEROW_KERNELS)" + way);
}

TEST(Backends, a_level_that_does_not_run_here_is_refused_by_name) {
  for (const Backend* b : all_backends())
    if (!b->runs_here()) {
      const std::string asked = refusal([&] { find_backend(b->name); });
      EXPECT_NE(asked.find(b->description), std::string::npos) << asked;
      EXPECT_NE(asked.find("scalar"), std::string::npos) << asked;
    }
}

TEST_F(Entry, attention_refuses_what_does_not_fit) {
  Batch b({3, 2}, 0);
  std::vector<float> q(5 * 64), out(5 * 64);
  Context on = context(1, 3, 64);
  const Tensor rows = heads_view(q.data(), Dtype::f32, 5, 2, 32),
               to = heads_view(out.data(), Dtype::f32, 5, 2, 32);
  const AttentionArgs good{.q = rows,
                           .kv = {rows, rows},
                           .q_rows = b.ragged(),
                           .kv_rows = b.ragged(),
                           .q_index = {},
                           .key_bias = {},
                           .scale = 1,
                           .out = to,
                           .first_row = {}};
  const auto refused = [&](const std::function<void(AttentionArgs&)>& spoil) {
    AttentionArgs a = good;
    spoil(a);
    return refusal([&] { attention(on, a); });
  };
  EXPECT_EQ(refused([](AttentionArgs&) {}), "accepted");
  EXPECT_EQ(refused([](AttentionArgs& a) { a.kv.k = {}; }),
            "attention: k: wanted f32 [at least 5, 2, 32] with a contiguous last axis, found none");
  EXPECT_EQ(
      refused([](AttentionArgs& a) { a.kv.v.dtype = Dtype::bf16; }),
      "attention: v: wanted f32 [at least 5, 2, 32] with a contiguous last axis, found bf16 [5, 2, 32] with "
      "strides ending in 1");
  EXPECT_EQ(refused([](AttentionArgs& a) { a.q.extents[2] = 48; }),
            "attention: head_dim: wanted 32, 64 or 128, found 48");
  EXPECT_EQ(refused([](AttentionArgs& a) { a.kv_rows.max_len = 2; }),
            "attention: kv_rows: wanted lengths of 0 to 2 (max_len), found 3 in sequence 0");
  EXPECT_EQ(refused([](AttentionArgs& a) { a.kv_rows.row_capacity = 4; }),
            "attention: kv_rows: wanted at most 4 rows (row_capacity), found 5");
  EXPECT_EQ(refused([](AttentionArgs& a) { a.kv_rows.batch = 1; }),
            "attention: kv_rows: wanted 2 sequences, found 1");
  EXPECT_NE(refused([](AttentionArgs& a) { a.out.extents[0] = 4; }).find("attention: out"),
            std::string::npos);
  EXPECT_NE(refused([](AttentionArgs& a) { a.kv_rows.max_len = 5000; }).find("attention: scratch"),
            std::string::npos);
  const std::vector<int32_t> falling = {0, 3, 1}, shifted = {1, 3, 5};
  EXPECT_NE(refused([&](AttentionArgs& a) { a.q_rows.offsets = falling.data(); }).find("found -2"),
            std::string::npos);
  EXPECT_NE(refused([&](AttentionArgs& a) { a.q_rows.offsets = shifted.data(); }).find("start at 0"),
            std::string::npos);
}

TEST_F(Entry, linear_refuses_foreign_weights_and_wrong_shapes) {
  Batch b({2}, 0);
  std::vector<float> w(3 * 4, 1.0f), x(8, 1.0f), out(6);
  Context on = context();
  const PackedLinear packed = pack_linear(on, w.data(), nullptr, 3, 4, Dtype::f32);
  LinearArgs a{.x = matrix_of(x.data(), 2, 4),
               .w = &packed,
               .residual = {},
               .out = matrix_of(out.data(), 2, 3),
               .rows = b.ragged()};
  linear(on, a);
  EXPECT_EQ(out, std::vector<float>(6, 4.0f));
  PackedLinear foreign = pack_linear(on, w.data(), nullptr, 3, 4, Dtype::f32);
  foreign.owner = all_backends()[&on.backend() == all_backends()[0] ? 1 : 0];
  a.w = &foreign;
  EXPECT_NE(refusal([&] { linear(on, a); }).find(std::string("weights packed by ") + backend().name),
            std::string::npos);
  a.w = &packed;
  a.x = matrix_of(x.data(), 1, 4);
  EXPECT_NE(refusal([&] { linear(on, a); }).find("linear: x: wanted f32 [at least 2, 4]"), std::string::npos);
  a.x = matrix_of(x.data(), 2, 4);
  EXPECT_NE(refusal([&] { pack_linear(on, w.data(), nullptr, 0, 4, Dtype::f32); }).find("0 x 4"),
            std::string::npos);
  EXPECT_NE(refusal([&] { pack_linear(on, w.data(), nullptr, 1 << 20, 1 << 20, Dtype::f32); }).find("2^31"),
            std::string::npos);
  EXPECT_NE(refusal([&] { pack_linear(on, w.data(), nullptr, 3, 4, Dtype::u8); }).find("found u8"),
            std::string::npos);
}

TEST_F(Entry, linear_stores_only_dtypes_that_the_backend_has_kernels_for) {
  Backend strict = backend();
  strict.traits = []() -> const Traits& {
    constexpr DtypeSet kBoth = {Dtype::f32, Dtype::bf16};
    static const Traits traits{.weights = kBoth, .rows = kBoth, .residual = kBoth};
    return traits;
  };
  Batch b({2}, 0);
  const std::vector<float> w(12, 1.0f);
  std::vector<float> x(8), out(6);
  const auto refused = [&](const Backend& backend, Dtype weights, Dtype to, Dtype residual = Dtype::u8) {
    Context on(backend, 1);
    on.reserve_scratch(backend.scratch_bytes(0, 2, 32));
    const PackedLinear packed = pack_linear(on, w.data(), nullptr, 3, 4, weights);
    return refusal([&] {
      linear(on, {.x = matrix_view(x.data(), weights, 2, 4),
                  .w = &packed,
                  .residual = residual == Dtype::u8 ? Tensor{} : matrix_view(out.data(), residual, 2, 3),
                  .out = matrix_view(out.data(), to, 2, 3),
                  .rows = b.ragged()});
    });
  };
  EXPECT_EQ(refused(backend(), Dtype::f32, Dtype::bf16), "accepted");
  EXPECT_EQ(refused(strict, Dtype::bf16, Dtype::bf16), "accepted");
  EXPECT_EQ(refused(strict, Dtype::bf16, Dtype::f32, Dtype::f32), "accepted");
  EXPECT_NE(refused(strict, Dtype::f32, Dtype::bf16).find("linear: out: wanted f32 ["), std::string::npos);
  EXPECT_NE(refused(strict, Dtype::f32, Dtype::f32, Dtype::bf16).find("linear: residual: wanted f32"),
            std::string::npos);
}

TEST_F(Entry, select_refuses_a_missing_rule) {
  Batch b({4}, 0);
  std::vector<float> score(4);
  std::vector<int32_t> kept(4), offsets(2);
  Context on = context(1, 4);
  SelectArgs a;
  a.score = vector_of(score.data(), 4);
  a.rows = b.ragged();
  a.kept = vector_of(kept.data(), 4);
  a.kept_offsets = offsets.data();
  EXPECT_EQ(refusal([&] { select(on, a); }), "select: count: wanted an array, found none");
  a.mode = SelectMode::mass;
  EXPECT_EQ(refusal([&] { select(on, a); }), "select: mass: wanted an array, found none");
}

TEST_F(Entry, patchify_refuses_sizes_that_are_no_multiples) {
  Batch b({5}, 0);
  const std::vector<float> image(3 * 32 * 33);
  const float* images[] = {image.data()};
  const int32_t height = 32, odd = 33, width = 32;
  std::vector<float> out(5 * 768);
  Context on = context();
  PatchifyArgs a{images, &height, &width, 16, 1, matrix_of(out.data(), 5, 768), b.ragged()};
  EXPECT_EQ(refusal([&] { patchify(on, a); }), "accepted");
  a.widths = &odd;
  EXPECT_EQ(refusal([&] { patchify(on, a); }), "patchify: image size: wanted multiples of 16, found 32 x 33");
  a.widths = &width;
  a.special = 2;
  EXPECT_EQ(refusal([&] { patchify(on, a); }), "patchify: rows: wanted 6 rows for image 0, found 5");
}

}  // namespace
}  // namespace hedgerow::test
