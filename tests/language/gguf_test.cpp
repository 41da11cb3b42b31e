// SPDX-License-Identifier: Apache-2.0
// GGUF files: every ggml type bit for bit as the `gguf` package reads it (tests/python/compare_ggml.py
// recorded it), unpacked and packed on every level; the container, whole, cut off and damaged.
#include "hedgerow/kernels/kernels.h"
#include "hedgerow/kernels/reference/reference.h"
#include "hedgerow/language/ggml_blocks.h"
#include "hedgerow/language/gguf_lm.h"
#include "tests/loading.h"

namespace hedgerow {
namespace {

struct Recorded {
  uint32_t type = 0, blocks = 0, values = 0, bytes = 0;
  std::string data = {};
  std::vector<float> wanted = {};
  int rows() const { return ggml_type(type)->block == 1 ? 1 : static_cast<int>(blocks); }
  int columns() const { return static_cast<int>(values) / rows(); }
};

std::vector<Recorded> recorded() {
  const std::string file = slurp(data_path("ggml_blocks.bin"));
  std::vector<Recorded> all;
  for (size_t at = 0; at < file.size();) {
    Recorded r;
    std::memcpy(&r.type, &file[at], 16), at += 16;
    r.data = file.substr(at, r.bytes), at += r.bytes;
    r.wanted.resize(r.values);
    std::memcpy(r.wanted.data(), &file[at], 4 * r.wanted.size()), at += 4 * r.wanted.size();
    all.push_back(r);
  }
  return all;
}

// As a file's matrix is read: a block a row.
QuantSource source_of(const Recorded& r) {
  return {.quant = quant_of_ggml(r.type),
          .n = r.rows(),
          .k = r.columns(),
          .read =
              [&r](int first, int count, QuantRow* to) {
                const size_t row = r.data.size() / static_cast<size_t>(r.rows());
                for (int i = 0; i < count; ++i)
                  unpack_ggml(r.type, bytes_of(r.data) + static_cast<size_t>(first + i) * row, r.columns(),
                              to[i]);
              },
          .order = {}};
}

// Zeros of either sign are one value.
void expect_same(const std::vector<float>& got, const std::vector<float>& wanted, const std::string& where) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], wanted[i]) << where << ", value " << i;
}

TEST(Gguf, every_type_unpacks_to_the_values_of_the_gguf_package) {
  const auto all = recorded();
  EXPECT_EQ(all.size(), 11u);
  for (const Recorded& r : all) {
    const auto values = reference::quant_values(source_of(r));
    expect_same({values.begin(), values.end()}, r.wanted, ggml_type(r.type)->name);
  }
}

TEST(Gguf, packed_weights_hold_these_very_values_on_every_level) {
  int ran = 0;
  for (const Backend* b : all_backends()) {
    if (!b->runs_here() || !b->host || !b->traits().codes) continue;
    for (const Recorded& r : recorded()) {
      const PackedLinear w = pack_quant(*b, {source_of(r)}, nullptr, RowsOf::int8);
      const int n = r.rows();
      std::vector<int32_t> ids, offsets = {0, n};
      for (int i = 0; i < n; ++i) ids.push_back(i);
      std::vector<float> out(r.wanted.size());
      Context on(*b, 1, Sums::fixed);
      embed(on, {.ids = vector_view(ids.data(), Dtype::i32, n),
                 .w = &w,
                 .out = matrix_view(out.data(), Dtype::f32, n, r.columns(), r.columns()),
                 .rows = {.offsets = offsets.data(), .batch = 1, .row_capacity = n, .max_len = n}});
      b->memory.wait(on);
      expect_same(out, r.wanted, std::string(b->name) + " " + ggml_type(r.type)->name);
      ++ran;
    }
  }
  EXPECT_GE(ran, 11);
}

TEST(Gguf, types_that_are_not_known_are_refused) {
  for (uint32_t type : {4u, 5u, 9u, 10u, 11u, 15u, 16u, 29u, 31u, 0xffffffffu}) {
    EXPECT_EQ(ggml_type(type), nullptr) << type;
    EXPECT_ERROR(quant_of_ggml(type), "ggml");
  }
}

// Everything that a model asks of its file.
std::vector<float> everything(const LmFile& lm) {
  std::vector<float> all;
  const auto add = [&](LmMatrix m, int layer) {
    for (const double v : reference::quant_values(lm.matrix(m, layer))) all.push_back(static_cast<float>(v));
  };
  const auto add_vector = [&](LmVector v, int layer) {
    const auto some = lm.vector(v, layer);
    all.insert(all.end(), some.begin(), some.end());
  };
  add(LmMatrix::embedding, -1);
  if (!lm.config().tied) add(LmMatrix::output, -1);
  for (int layer = 0; layer < lm.config().layers; ++layer) {
    for (LmMatrix m :
         {LmMatrix::q, LmMatrix::k, LmMatrix::v, LmMatrix::o, LmMatrix::gate, LmMatrix::up, LmMatrix::down})
      add(m, layer);
    for (LmVector v : {LmVector::attention_norm, LmVector::feed_forward_norm, LmVector::q_bias})
      add_vector(v, layer);
  }
  add_vector(LmVector::final_norm, -1);
  return all;
}

TEST(Gguf, a_file_of_the_gguf_package_opens_with_its_shape_and_values) {
  const GgufLm lm(data_path("small.gguf"));
  const LlamaConfig& c = lm.config();
  EXPECT_EQ(c.layers, 1);
  EXPECT_EQ(c.dim, 32);
  EXPECT_EQ(c.hidden_dim, 32);
  EXPECT_EQ(c.heads, 4);
  EXPECT_EQ(c.kv_heads, 2);
  EXPECT_EQ(c.head_dim, 8);
  EXPECT_EQ(c.vocab, 6);
  EXPECT_EQ(c.context, 64);
  EXPECT_TRUE(c.tied);
  const auto tokens = lm.header().texts("tokenizer.ggml.tokens");
  EXPECT_EQ(tokens, (std::vector<std::string>{"<unk>", "<s>", "</s>", "a", "b", "ab"}));
  EXPECT_EQ(lm.header().numbers("tokenizer.ggml.scores")[5], -3);
  EXPECT_TRUE(lm.header().flag("tokenizer.ggml.add_bos_token", false));
  // Rows of q in the order of the engine: pairs of the file's neighbours are half a head apart.
  const GgufTensor& q = lm.header().tensors.at("blk.0.attn_q.weight");
  const std::string file = slurp(data_path("small.gguf"));
  const auto got = reference::quant_values(lm.matrix(LmMatrix::q, 0));
  for (int row = 0; row < 32; ++row) {
    Recorded one{.type = q.type, .blocks = 1, .values = 32, .bytes = 34};
    one.data = file.substr(q.begin + 34 * static_cast<size_t>(neighbours_row(row, 8)), 34);
    const auto want = reference::quant_values(source_of(one));
    EXPECT_TRUE(std::equal(want.begin(), want.end(), got.begin() + row * 32)) << row;
  }
  EXPECT_EQ(neighbours_row(8 + 1, 8), 8 + 2);
  EXPECT_EQ(neighbours_row(8 + 5, 8), 8 + 3);
}

TEST(Gguf, a_file_cut_off_anywhere_is_an_error) {
  const std::string file = slurp(data_path("small.gguf"));
  const Folder folder;
  const GgufLm lm(data_path("small.gguf"));
  const auto whole = everything(lm);
  uint64_t end = 0;
  for (const auto& [name, t] : lm.header().tensors) end = std::max(end, t.end);
  for (size_t n = 0; n < file.size(); n += n < 1200 ? 1 : 17) {
    folder.write("cut.gguf", file.substr(0, n));
    try {
      EXPECT_EQ(everything(GgufLm(folder.path("cut.gguf"))), whole);
      EXPECT_GE(n, end);
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    }
  }
}

// Mostly in the header, where a byte decides.
TEST(Gguf, a_damaged_file_is_an_error_or_a_model_that_can_be_read) {
  const std::string file = slurp(data_path("small.gguf"));
  const Folder folder;
  int errors = 0;
  for (uint64_t i = 0; i < 10000; ++i) {
    const Rng rng{17, i};
    std::string s = file;
    for (uint64_t change = 0; change < 1 + i % 3; ++change) {
      const size_t at = rng.bits(3 * change) % (i % 8 ? 1600 : s.size());
      const uint64_t kind = rng.bits(3 * change + 1) % 4, byte = rng.bits(3 * change + 2);
      s[at] = static_cast<char>(kind == 0   ? s[at] ^ (1 << byte % 8)
                                : kind == 1 ? 255
                                : kind == 2 ? 0
                                            : byte % 256);
    }
    folder.write("bad.gguf", s);
    try {
      EXPECT_FALSE(everything(GgufLm(folder.path("bad.gguf"))).empty());
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
      ++errors;
    }
  }
  EXPECT_GT(errors, 3000);
}

}  // namespace
}  // namespace hedgerow
