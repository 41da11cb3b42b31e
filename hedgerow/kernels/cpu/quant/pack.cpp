// SPDX-License-Identifier: Apache-2.0
// Packing a matrix of codes or short floats into panels (layout.h): a bijection, nothing is rounded.
#include <algorithm>
#include <cstring>
#include <exception>
#include <thread>

#include "hedgerow/core/parallel.h"
#include "hedgerow/kernels/cpu/cpu.h"
#include "hedgerow/kernels/cpu/quant/layout.h"

namespace hedgerow::cpu {
namespace {

constexpr int kChunksPerBlock = kQuantBlock / kQuantChunk;

void put16(uint8_t* to, uint16_t v) { std::memcpy(to, &v, 2); }

// Scales of one output of one block; `group0`: its first group in the row, `block` its number.
void pack_scales(const Quant& q, const QuantRow& row, int block, int chunks, int column, uint8_t* to) {
  const int groups = q.bits ? groups_in(q, chunks) : 0;
  const auto at = [&](int g) {
    return static_cast<size_t>(static_cast<int64_t>(block) * kQuantBlock / q.group + g);
  };
  if (q.scales == Scales::f16 || q.scales == Scales::f16_min || q.scales == Scales::f16_zero)
    for (int g = 0; g < groups; ++g) put16(to + 64 * g + 2 * column, row.scales[at(g)]);
  if (q.scales == Scales::f16_min)
    for (int g = 0; g < groups; ++g) put16(to + 64 * (groups + g) + 2 * column, row.minimums[at(g)]);
  if (q.scales == Scales::f16_zero) {
    uint8_t* const zeros = to + 64 * groups;
    for (int g = 0; g < groups; ++g) {
      const uint8_t z = row.small[at(g)];
      if (q.bits == 4)
        zeros[16 * g + column % 16] |= static_cast<uint8_t>(z << (column < 16 ? 0 : 4));
      else
        zeros[32 * g + column] = z;
    }
  }
  if (q.scales == Scales::k4) {
    put16(to + 2 * column, row.scales[static_cast<size_t>(block)]);
    put16(to + 64 + 2 * column, row.minimums[static_cast<size_t>(block)]);
    for (int g = 0; g < 8; ++g) {
      const int s = row.small[static_cast<size_t>(block * 8 + g)],
                m = row.small_min[static_cast<size_t>(block * 8 + g)];
      to[128 + 32 * g + column] = static_cast<uint8_t>((s & 15) | (m & 15) << 4);
      to[384 + 32 * (g / 2) + column] |= static_cast<uint8_t>((s >> 4 | m >> 4 << 2) << (g % 2 * 4));
    }
  }
  if (q.scales == Scales::k6) {
    put16(to + 2 * column, row.scales[static_cast<size_t>(block)]);
    for (int g = 0; g < 16; ++g) to[64 + 32 * g + column] = row.small[static_cast<size_t>(block * 16 + g)];
  }
}

// The 32 codes of one output of one chunk: four columns are one word, wherever they go.
void pack_codes(int bits, const uint8_t* codes, int column, uint8_t* to) {
  uint32_t word[8];
  std::memcpy(word, codes, sizeof word);
  const auto put = [&](int64_t line, uint32_t v) { std::memcpy(to + line * 64 + 4 * (column % 16), &v, 4); };
  const int half = column / 16;
  if (bits == 8) {
    for (int q = 0; q < 8; ++q) put(q * 2 + half, word[q]);
    return;
  }
  constexpr uint32_t kLow = 0x0f0f0f0fu;
  for (int l = 0; l < 4; ++l) put(l * 2 + half, (word[2 * l] & kLow) | (word[2 * l + 1] & kLow) << 4);
  uint32_t fifth = 0, upper[2] = {};
  for (int q = 0; q < 8; ++q) {
    fifth |= (word[q] >> 4 & 0x01010101u) << q;
    upper[q / 4] |= (word[q] >> 4 & 0x03030303u) << (q % 4 * 2);
  }
  if (bits == 5) put(8 + half, fifth);
  if (bits == 6)
    for (int t = 0; t < 2; ++t) put(8 + t * 2 + half, upper[t]);
}

void pack_values(const Quant& q, const float* values, int column, uint8_t* to) {
  for (int k = 0; k < kQuantChunk; ++k) {
    const int64_t at = int64_t{32} * k + column;
    if (q.values == Dtype::f32)
      std::memcpy(to + 4 * at, values + k, 4);
    else
      put16(to + 2 * at, q.values == Dtype::bf16 ? f32_to_bf16(values[k]) : f32_to_f16(values[k]));
  }
}

// Row `column` of a panel.
void pack_row(const Quant& q, const QuantRow& row, int k, int column, uint8_t* panel) {
  const int chunks = chunks_of(k);
  for (int block = 0, first = 0; first < chunks; ++block, first += kChunksPerBlock) {
    const int here = std::min(kChunksPerBlock, chunks - first);
    pack_scales(q, row, block, here, column, panel);
    panel += header_bytes(q, here);
    for (int c = first; c < first + here; ++c, panel += chunk_bytes(q)) {
      const int count = std::min(kQuantChunk, k - c * kQuantChunk);
      if (q.bits) {
        uint8_t codes[kQuantChunk] = {};  // behind the last column, whose x is 0
        std::copy_n(row.codes.data() + static_cast<int64_t>(c) * kQuantChunk, count, codes);
        pack_codes(q.bits, codes, column, panel);
      } else {
        float values[kQuantChunk] = {};
        std::copy_n(row.values.data() + static_cast<int64_t>(c) * kQuantChunk, count, values);
        pack_values(q, values, column, panel);
      }
    }
  }
}

void size_row(const QuantSource& s, QuantRow* row) {
  const size_t k = static_cast<size_t>(s.k);
  const size_t groups =
      s.quant.bits ? (k + static_cast<size_t>(s.quant.group) - 1) / static_cast<size_t>(s.quant.group) : 0;
  row->codes.resize(s.quant.bits ? k : 0), row->values.resize(s.quant.bits ? 0 : k);
  row->scales.resize(groups), row->minimums.resize(groups), row->small.resize(groups),
      row->small_min.resize(groups);
}

// Panels are shared out; the first failure is thrown here.
void pack_band(Pool& pool, const QuantSource& s, const QuantBand& band, uint8_t* to) {
  struct Worker {
    QuantRow rows[kQuantPanel];
    std::exception_ptr failed;
  };
  std::vector<Worker> workers(static_cast<size_t>(pool.threads()));
  for (Worker& w : workers)
    for (QuantRow& row : w.rows) size_row(s, &row);
  pool.run(band.panels, [&](int panel, int worker) {
    Worker& w = workers[static_cast<size_t>(worker)];
    if (w.failed) return;
    try {
      const int first = panel * kQuantPanel, count = std::min(kQuantPanel, s.n - first);
      s.read(first, count, w.rows);
      for (int r = 0; r < count; ++r) pack_row(s.quant, w.rows[r], s.k, r, to + panel * band.panel_bytes);
    } catch (...) {
      w.failed = std::current_exception();
    }
  });
  for (const Worker& w : workers)
    if (w.failed) std::rethrow_exception(w.failed);
}

}  // namespace

PackedLinear pack_quant(const QuantSource* parts, int count, const float* bias, RowsOf rows_of) {
  PackedLinear p;
  p.dtype = Dtype::f32, p.rows_of = rows_of, p.k = parts[0].k, p.panel = kQuantPanel, p.band_count = count;
  int64_t bytes = 0;
  int panels = 0, outputs = 0;
  for (int b = 0; b < count; ++b) {
    const QuantSource& s = parts[b];
    QuantBand& band = p.bands[b];
    band.quant = s.quant, band.n = s.n, band.offset = bytes;
    band.panels = (s.n + kQuantPanel - 1) / kQuantPanel, band.panel_bytes = panel_bytes(s.quant, s.k);
    bytes += band.panels * band.panel_bytes, panels += band.panels, outputs += s.n;
  }
  p.n = outputs;
  p.data = Buffer(static_cast<size_t>(bytes));
  // As many threads as the machine has, where there is something to share.
  Pool pool(std::clamp(panels / 8, 1, std::max(1, static_cast<int>(std::thread::hardware_concurrency()))));
  for (int b = 0; b < count; ++b) {
    const QuantSource& s = parts[b];
    QuantBand& band = p.bands[b];
    pack_band(pool, s, band, p.data.as<uint8_t>() + band.offset);
    if (!s.order.empty()) {
      p.orders[b] = Buffer(s.order.size() * 4);
      std::memcpy(p.orders[b].as(), s.order.data(), s.order.size() * 4);
      band.order = p.orders[b].as<int32_t>();
    }
  }
  if (bias) {
    p.bias = Buffer(static_cast<size_t>(outputs) * sizeof(float));
    std::memcpy(p.bias.as(), bias, p.bias.bytes());
  }
  return p;
}

}  // namespace hedgerow::cpu
