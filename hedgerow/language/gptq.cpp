// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/language/gptq.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>

#include "hedgerow/core/error.h"
#include "hedgerow/io/json.h"

namespace hedgerow {
namespace {

template <class T>
std::vector<T> whole_tensor(const Checkpoint& files, const std::string& name) {
  int64_t count = 1;
  for (const int64_t n : files.shape(name)) count *= n;
  std::vector<T> v(static_cast<size_t>(count));
  files.read(name, 0, v.data(), v.size() * sizeof(T));
  return v;
}

// The largest group that codes can have in which every scale of groups of `group` holds; 0: none.
int packed_group(int group, int k) {
  if (group >= k) group = k;
  if (group % kQuantBlock == 0) return group;
  for (const int g : {128, 64, 32})
    if (group % g == 0) return g;
  return 0;
}

struct Tensors {
  std::vector<uint32_t> weights, zeros;
  std::vector<uint16_t> scales;   // f16
  std::vector<int32_t> order;     // columns by group; empty: as they are
  std::vector<int32_t> group_of;  // of column i of the codes as they will be packed
  int n = 0, k = 0, bits = 0, less = 0;

  int code(int column, int output) const {
    const int per = 32 / bits;
    return static_cast<int>(weights[static_cast<size_t>(column / per) * static_cast<size_t>(n) +
                                    static_cast<size_t>(output)] >>
                            (column % per * bits)) &
           ((1 << bits) - 1);
  }
  int zero(int group, int output) const {
    const int per = 32 / bits;
    return (static_cast<int>(zeros[static_cast<size_t>(group) * static_cast<size_t>(n / per) +
                                   static_cast<size_t>(output / per)] >>
                             (output % per * bits)) &
            ((1 << bits) - 1)) +
           less;
  }
  uint16_t scale(int group, int output) const {
    return scales[static_cast<size_t>(group) * static_cast<size_t>(n) + static_cast<size_t>(output)];
  }
};

}  // namespace

Gptq::Gptq(const Checkpoint& files, const nlohmann::json& config, const std::string& where,
           const std::string& zeros)
    : files_(files), where_(where) {
  const auto refuse = [&](const char* key, const std::string& wanted, const std::string& found) {
    throw Error(fmt::format("{}: {}: wanted {}, found {}", where, key, wanted, printable(found)));
  };
  const std::string method = json_text(config, "quant_method", "gptq", where);
  if (method != "gptq") refuse("quant_method", "gptq", method);
  bits_ = static_cast<int>(json_int(config, "bits", 1, 32, 4, where));
  if (bits_ != 4 && bits_ != 8) refuse("bits", "4 or 8", fmt::format("{}", bits_));
  group_ = static_cast<int>(json_int(config, "group_size", -1, 1 << 20, 128, where));
  if (group_ == 0) refuse("group_size", "-1 or above 0", "0");
  act_order_ = json_bool(config, "desc_act", false, where);
  symmetric_ = json_bool(config, "sym", true, where);
  format_ = json_text(config, "checkpoint_format", "gptq", where);
  if (format_ != "gptq" && format_ != "gptq_v2") refuse("checkpoint_format", "gptq or gptq_v2", format_);
  if (!zeros.empty() && zeros != "v1" && zeros != "v2")
    throw Error("--gptq-zeros: wanted v1 or v2, found " + printable(zeros));
  decide_zeros(zeros);
}

// What the data says: all zeros of a symmetric file are half the range, stored as they are or less one.
void Gptq::decide_zeros(const std::string& said) {
  stored_less_ = format_ == "gptq" ? 1 : 0;
  if (!said.empty()) {
    stored_less_ = said == "v1" ? 1 : 0;
    return;
  }
  const uint32_t v2 = bits_ == 4 ? 0x88888888u : 0x80808080u, v1 = bits_ == 4 ? 0x77777777u : 0x7f7f7f7fu;
  bool all_v1 = true, all_v2 = true, any = false, wraps = false;
  for (const std::string& name : files_.names()) {
    if (!name.ends_with(".qzeros") || files_.dtype(name) != "I32") continue;
    any = true;
    for (const uint32_t z : whole_tensor<uint32_t>(files_, name)) {
      all_v1 = all_v1 && z == v1, all_v2 = all_v2 && z == v2;
      for (int i = 0; i < 32; i += bits_)
        wraps = wraps || static_cast<int>(z >> i & ((1u << bits_) - 1)) == (1 << bits_) - 1;
    }
  }
  if (!any) return;
  if (all_v1 != all_v2) {
    const int found = all_v1 ? 1 : 0;
    if (found != stored_less_)
      notes_.push_back(fmt::format("{}: says {}, but all its zeros are those of {}: read as such", where_,
                                   format_, found ? "gptq (v1)" : "gptq_v2"));
    stored_less_ = found;
    return;
  }
  // Old programs disagree about a stored zero of all ones in v1 files: 0, or one more than codes reach.
  if (stored_less_ == 1 && wraps)
    throw Error(
        fmt::format("{}: zeros: wanted ones that v1 files can hold, found all-one bits, which programs read "
                    "in two ways; say --gptq-zeros v1 or v2",
                    where_));
  if (symmetric_)
    throw Error(fmt::format(
        "{}: zeros: wanted those of a symmetric file, all alike, found others; say --gptq-zeros v1 or v2",
        where_));
}

int Gptq::groups(int k) const { return group_ < 0 ? 1 : (k + group_ - 1) / group_; }

std::vector<std::string> Gptq::check(const std::string& module, int n, int k) const {
  const int per = 32 / bits_;
  if (n % per || k % per)
    throw Error(
        fmt::format("{}: {}: wanted multiples of {}, found {} x {}", files_.path(), module, per, n, k));
  std::vector<std::string> names;
  const auto there = [&](const char* part, const std::vector<int64_t>& shape, const char* dtype,
                         bool needed) {
    const std::string name = module + part;
    if (!needed && !files_.has(name)) return;
    if (files_.shape(name) != shape || files_.dtype(name) != dtype)
      throw Error(fmt::format("{}: tensor {}: wanted {} {}, found {} {}", files_.path(), name, dtype,
                              shape_text(shape), printable(files_.dtype(name)),
                              shape_text(files_.shape(name))));
    names.push_back(name);
  };
  there(".qweight", {k / per, n}, "I32", true);
  there(".qzeros", {groups(k), n / per}, "I32", true);
  there(".scales", {groups(k), n}, "F16", true);
  there(".g_idx", {k}, "I32", act_order_);
  return names;
}

// Which columns share a scale.
struct Gptq::Grouping {
  std::vector<int32_t> order;     // columns by group; empty: as they are
  std::vector<int32_t> group_of;  // of column i of the codes as they will be packed
  int packed = 0;                 // the group of packed codes; 0: no such codes can have these
};

Gptq::Grouping Gptq::grouping(const std::string& module, int k) const {
  const int group = group_ < 0 ? k : group_, count = groups(k);
  std::vector<int32_t> index(static_cast<size_t>(k));
  for (int c = 0; c < k; ++c) index[static_cast<size_t>(c)] = c / group;
  if (files_.has(module + ".g_idx")) {
    const std::vector<int32_t> stored = whole_tensor<int32_t>(files_, module + ".g_idx");
    const bool blank = std::all_of(stored.begin(), stored.end(), [](int32_t g) { return g == 0; });
    if (!blank || count == 1) index = stored;
    for (const int32_t g : index)
      if (g < 0 || g >= count)
        throw Error(fmt::format("{}: tensor {}.g_idx: wanted groups 0 to {}, found {}", files_.path(), module,
                                count - 1, g));
  }
  Grouping out;
  std::vector<int32_t> order(static_cast<size_t>(k));
  std::iota(order.begin(), order.end(), 0);
  if (!std::is_sorted(index.begin(), index.end())) {
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return index[static_cast<size_t>(a)] < index[static_cast<size_t>(b)];
    });
    out.order = order;
  }
  for (const int32_t c : order) out.group_of.push_back(index[static_cast<size_t>(c)]);
  // Do groups begin where those that codes can have begin?
  out.packed = packed_group(group, k);
  for (int c = 0; out.packed && c < k; ++c)
    if (out.group_of[static_cast<size_t>(c)] !=
        out.group_of[static_cast<size_t>(c / out.packed * out.packed)])
      out.packed = 0;
  return out;
}

Quant Gptq::stored_as(const std::string& module, int k) const {
  const int packed = grouping(module, k).packed;
  if (!packed) return {.values = Dtype::f32};
  return {.bits = bits_, .group = packed, .scales = Scales::f16_zero, .zero = stored_less_};
}

QuantSource Gptq::matrix(const std::string& module, int n, int k) const {
  auto t = std::make_shared<Tensors>();
  t->n = n, t->k = k, t->bits = bits_, t->less = stored_less_;
  t->weights = whole_tensor<uint32_t>(files_, module + ".qweight");
  t->zeros = whole_tensor<uint32_t>(files_, module + ".qzeros");
  t->scales = whole_tensor<uint16_t>(files_, module + ".scales");
  Grouping by = grouping(module, k);
  const int packed = by.packed, count = groups(k);
  t->order = std::move(by.order), t->group_of = std::move(by.group_of);
  QuantSource s;
  s.n = n, s.k = k, s.order = t->order;
  if (packed) {
    // Zeros as they are stored; what v1 stores less is added to them again.
    const int half = 1 << (bits_ - 1);
    const bool alike = [&] {
      for (int g = 0; g < count; ++g)
        for (int o = 0; o < n; ++o)
          if (t->zero(g, o) != half) return false;
      return true;
    }();
    s.quant = {.bits = bits_, .group = packed, .scales = Scales::f16_zero, .zero = stored_less_};
    if (alike) s.quant.scales = Scales::f16, s.quant.zero = half;
  } else {  // floats, in the order of the file
    s.quant.values = Dtype::f32, s.order.clear();
  }
  s.read = [t, packed](int first, int rows, QuantRow* to) {
    for (int r = 0; r < rows; ++r) {
      const int o = first + r;
      for (int c = 0; c < t->k; ++c) {
        const int column = t->order.empty() ? c : t->order[static_cast<size_t>(c)],
                  g = t->group_of[static_cast<size_t>(c)];
        const int code = t->code(column, o);
        if (!packed) {
          to[r].values[static_cast<size_t>(column)] =
              f16_to_f32(t->scale(g, o)) * static_cast<float>(code - t->zero(g, o));
          continue;
        }
        to[r].codes[static_cast<size_t>(c)] = static_cast<uint8_t>(code);
        if (c % packed) continue;
        to[r].scales[static_cast<size_t>(c / packed)] = t->scale(g, o);
        to[r].small[static_cast<size_t>(c / packed)] = static_cast<uint8_t>(t->zero(g, o) - t->less);
      }
    }
  };
  return s;
}

}  // namespace hedgerow
