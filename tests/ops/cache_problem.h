// SPDX-License-Identifier: Apache-2.0
// A cache of one layer, filled as passes fill it, and what should be in it: a list of slots in double.
#pragma once

#include "hedgerow/kernels/cpu/cache/layout.h"
#include "hedgerow/kernels/reference/reference.h"
#include "tests/ops/claims.h"

namespace hedgerow::test {

// A tree of chance: rows behind their parents; the ancestor word of each, its own bit among them.
struct Tree {
  std::vector<int> parents;
  std::vector<uint64_t> words;
  void add(int parent) {
    const uint64_t own = uint64_t{1} << parents.size();
    parents.push_back(parent);
    words.push_back(own | (parent < 0 ? 0 : words[static_cast<size_t>(parent)]));
  }
  static Tree random(int rows, uint64_t key) {
    Tree t;
    for (int i = 0; i < rows; ++i) {
      const uint64_t chance = Rng{11, key}.bits(static_cast<uint64_t>(i));
      t.add(i == 0       ? -1
            : chance % 3 ? i - 1 - static_cast<int>(chance / 3 % std::min(i, 4))
                         : static_cast<int>(chance / 3 % static_cast<uint64_t>(i)));
    }
    return t;
  }
  std::vector<int> path_to(int row) const {
    std::vector<int> path;
    for (int i = 0; i <= row; ++i)
      if (words[static_cast<size_t>(row)] >> i & 1) path.push_back(i);
    return path;
  }
};

struct Heads {
  int heads = 4, kv_heads = 2, head_dim = 32;
  Dtype dtype = Dtype::f16;
};
inline std::ostream& operator<<(std::ostream& to, const Heads& h) {
  return to << h.heads << " heads over " << h.kv_heads << " of " << h.head_dim << " in " << name_of(h.dtype);
}

// Values of a token: those of q, k, v that its key says, so that a token met twice has the same.
struct Token {
  uint64_t key = 0;
  int position = 0;
};

class CacheProblem {
 public:
  CacheProblem(const Heads& heads, int sequences, int slots, int spare_positions = 700)
      : h(heads),
        rotation_(Dtype::f32, spare_positions, heads.head_dim),
        keys(Dtype::u8, int64_t{sequences} * slots * heads.kv_heads * heads.head_dim, bytes_of(heads.dtype)),
        values(Dtype::u8, int64_t{sequences} * slots * heads.kv_heads * heads.head_dim,
               bytes_of(heads.dtype)) {
    cache = {.k = keys.data<uint8_t>(Side::backend),
             .v = values.data<uint8_t>(Side::backend),
             .dtype = h.dtype,
             .kv_heads = h.kv_heads,
             .head_dim = h.head_dim,
             .sequences = sequences,
             .slots = slots};
    const int half = h.head_dim / 2;
    for (int p = 0; p < spare_positions; ++p)
      for (int i = 0; i < half; ++i) {
        const double angle = p * std::pow(10000.0, -1.0 * i / half);
        rotation_.set(p, i, std::cos(angle)), rotation_.set(p, i + half, std::sin(angle));
      }
    wanted_k.assign(static_cast<size_t>(sequences),
                    std::vector<double>(static_cast<size_t>(slots * slot_size()), kNan));
    wanted_v = wanted_k;
    fill_with_nan();
  }
  int slot_size() const { return h.kv_heads * h.head_dim; }
  // Every byte 0xff: no number in either dtype.
  void fill_with_nan() {
    const std::vector<uint8_t> ff(static_cast<size_t>(cache_bytes(cache)), 0xff);
    to_backend(cache.k, ff.data(), ff.size()), to_backend(cache.v, ff.data(), ff.size());
  }

  // No numbers in a sequence's slots from `begin` on, where the CPU's layout is known.
  void poison(int sequence, int begin) {
    if (on_device()) return;
    const auto none = [&](void* base, int64_t at) {
      std::memset(static_cast<uint8_t*>(base) + at * static_cast<int64_t>(bytes_of(h.dtype)), 0xff,
                  bytes_of(h.dtype));
    };
    for (int slot = begin; slot < cache.slots; ++slot)
      for (int c = 0; c < slot_size(); ++c)
        none(cache.k, key_at(sequence, slot, c)), none(cache.v, value_at(sequence, slot, c));
  }
  // One pass: so many rows of each sequence, where they go and what they see.
  struct Entry {
    int sequence = 0, length = 0, pending = 0;
    std::vector<Token> tokens = {};
    std::vector<uint64_t> words = {};  // tree
  };
  struct Result {
    std::vector<std::vector<double>> rows, want;  // of every entry, [rows, heads, head_dim]
  };
  // append_kv, then cached_attention; the definition's answer where asked for.
  Result pass(const std::vector<Entry>& entries, bool define = false, int threads = 1) {
    std::vector<int> lengths, sequence, filled, pending;
    bool tree = false;
    for (const Entry& e : entries) {
      lengths.push_back(static_cast<int>(e.tokens.size()));
      sequence.push_back(e.sequence), filled.push_back(e.length), pending.push_back(e.pending);
      tree |= !e.words.empty();
    }
    Batch b(lengths);
    Array q(Dtype::f32, b.capacity(), h.heads * h.head_dim), k(Dtype::f32, b.capacity(), slot_size()),
        v(Dtype::f32, b.capacity(), slot_size(), 4), out(Dtype::f32, b.capacity(), h.heads * h.head_dim),
        positions(Dtype::i32, b.capacity()), words(Dtype::i32, b.capacity(), 2), at(Dtype::i32, sequence),
        lens(Dtype::i32, filled), begun(Dtype::i32, pending);
    for (size_t e = 0; e < entries.size(); ++e)
      for (size_t r = 0; r < entries[e].tokens.size(); ++r) {
        const int row = b.begin(static_cast<int>(e)) + static_cast<int>(r);
        const Token& t = entries[e].tokens[r];
        positions.set(row, t.position);
        uint64_t draw = 0;
        for (Array* x : {&q, &k, &v})
          for (int64_t c = 0; c < x->cols(); ++c) x->set(row, c, Rng{12, t.key}.normal(draw++));
        if (!tree) continue;
        const uint64_t word = entries[e].words[r];
        words.set(row, 0, static_cast<int32_t>(word)), words.set(row, 1, static_cast<int32_t>(word >> 32));
      }
    const auto cached = [&](Side side) {
      return Cached{at.data<int32_t>(side), lens.data<int32_t>(side), begun.data<int32_t>(side)};
    };
    const auto append = [&](const Part& p) {
      return AppendKvArgs{.q = q.heads(p, h.heads, h.head_dim),
                          .k = k.heads(p, h.kv_heads, h.head_dim),
                          .v = v.heads(p, h.kv_heads, h.head_dim),
                          .positions = positions.vector(p),
                          .rotation = rotation_.matrix(whole(p.side)),
                          .to = cache,
                          .at = cached(p.side),
                          .rows = p.rows};
    };
    const auto attend = [&](const Part& p) {
      return CachedAttentionArgs{.q = q.heads(p, h.heads, h.head_dim),
                                 .cache = cache,
                                 .at = cached(p.side),
                                 .visibility = tree ? Visibility::tree : Visibility::causal,
                                 .ancestors = tree ? words.matrix(p) : Tensor{},
                                 .scale = 1 / std::sqrt(static_cast<float>(h.head_dim)),
                                 .out = out.heads(p, h.heads, h.head_dim),
                                 .rows = p.rows};
    };
    const Part host = b.all(Side::host), there = b.all(Side::backend);
    const reference::Appended turned = reference::append_kv(append(host));
    run_wide([&](Context& on) { append_kv(on, append(there)); }, threads);
    q.pull(), k.pull();
    // A turned value: two products and a sum.
    std::vector<double> off_q, off_k;
    for (const double w : turned.q) off_q.push_back(3 * kUnit * (std::fabs(w) + 6));
    for (const double w : turned.k) off_k.push_back(3 * kUnit * (std::fabs(w) + 6));
    EXPECT_TRUE(near(q.values(b.rows()), turned.q, off_q, q.cols()));
    EXPECT_TRUE(near(k.values(b.rows()), turned.k, off_k, k.cols()));
    for (size_t e = 0; e < entries.size(); ++e)
      for (size_t r = 0; r < entries[e].tokens.size(); ++r)
        for (int c = 0; c < slot_size(); ++c) {
          const int row = b.begin(static_cast<int>(e)) + static_cast<int>(r);
          const auto slot = static_cast<size_t>(entries[e].length + entries[e].pending) + r;
          const size_t to = slot * static_cast<size_t>(slot_size()) + static_cast<size_t>(c);
          wanted_k[static_cast<size_t>(entries[e].sequence)][to] = kept(k.value(row, c));
          wanted_v[static_cast<size_t>(entries[e].sequence)][to] = kept(v.value(row, c));
        }
    run_wide([&](Context& on) { cached_attention(on, attend(there)); }, threads);
    out.pull();
    EXPECT_TRUE(out.untouched_behind(b.rows()));
    Result result;
    const auto all = out.values(b.rows());
    std::vector<double> want;
    if (define) want = reference::cached_attention(attend(host), wanted_k, wanted_v);
    for (int e = 0; e < b.size(); ++e) {
      const auto row = [&](int i) { return i * out.cols(); };
      result.rows.emplace_back(all.begin() + row(b.begin(e)), all.begin() + row(b.begin(e) + b.length(e)));
      if (define)
        result.want.emplace_back(want.begin() + row(b.begin(e)),
                                 want.begin() + row(b.begin(e) + b.length(e)));
    }
    return result;
  }
  // What has been appended is what attention should see: k and v through the CPU's own layout.
  void expect_slots(int sequence, int begin, int end) {
    if (on_device()) return;
    for (int slot = begin; slot < end; ++slot)
      for (int c = 0; c < slot_size(); ++c) {
        const size_t i = static_cast<size_t>(slot * slot_size() + c);
        ASSERT_EQ(stored_k(sequence, slot, c), wanted_k[static_cast<size_t>(sequence)][i])
            << slot << " " << c;
        ASSERT_EQ(stored_v(sequence, slot, c), wanted_v[static_cast<size_t>(sequence)][i])
            << slot << " " << c;
      }
  }
  double stored_k(int sequence, int slot, int c) const { return load(cache.k, key_at(sequence, slot, c)); }
  double stored_v(int sequence, int slot, int c) const { return load(cache.v, value_at(sequence, slot, c)); }
  // Lengths and paths of all batch entries.
  void compact(const std::vector<int>& sequence, const std::vector<int>& filled,
               const std::vector<std::vector<int>>& paths) {
    std::vector<int> lengths, all;
    for (const auto& p : paths) {
      lengths.push_back(static_cast<int>(p.size()));
      all.insert(all.end(), p.begin(), p.end());
    }
    Batch b(lengths);
    all.resize(static_cast<size_t>(b.capacity()));
    Array path(Dtype::i32, all), at(Dtype::i32, sequence), lens(Dtype::i32, filled);
    const auto args = [&](const Part& p) {
      return CompactKvArgs{.layers = &cache,
                           .count = 1,
                           .at = {at.data<int32_t>(p.side), lens.data<int32_t>(p.side)},
                           .path = path.vector(p),
                           .rows = p.rows};
    };
    wanted_k = reference::compact_kv(args(b.all(Side::host)), wanted_k, slot_size());
    wanted_v = reference::compact_kv(args(b.all(Side::host)), wanted_v, slot_size());
    run_wide([&](Context& on) { compact_kv(on, args(b.all(Side::backend))); }, 1);
  }
  template <class Op>
  void run_wide(Op&& op, int threads) {
    const Backend& backend = *under_test.backend;
    Context on(backend, threads, under_test.fixed ? Sums::fixed : Sums::fast);
    on.reserve_scratch(backend.cache_scratch_bytes(cache.slots));
    op(on);
    backend.memory.wait(on);
  }

  Heads h;

 private:
  double kept(double v) const {
    return h.dtype == Dtype::f16 ? f16_to_f32(f32_to_f16(static_cast<float>(v))) : v;
  }
  int64_t key_at(int sequence, int slot, int c) const {
    return cpu::head_at(cache, sequence, c / h.head_dim) + cpu::key_at(cache, slot) +
           int64_t{c % h.head_dim} * kCacheBlock;
  }
  int64_t value_at(int sequence, int slot, int c) const {
    return cpu::head_at(cache, sequence, c / h.head_dim) + int64_t{slot} * h.head_dim + c % h.head_dim;
  }
  double load(const void* base, int64_t at) const {
    return h.dtype == Dtype::f16 ? f16_to_f32(static_cast<const uint16_t*>(base)[at])
                                 : static_cast<const float*>(base)[at];
  }
  Array rotation_, keys, values;

 public:
  KvCache cache;
  reference::CacheRows wanted_k, wanted_v;
};

}  // namespace hedgerow::test
