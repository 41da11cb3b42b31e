// SPDX-License-Identifier: Apache-2.0
#include "hedgerow/vision/overlay.h"

#include <algorithm>
#include <cmath>

#include "hedgerow/core/error.h"
#include "hedgerow/vision/font.h"

namespace hedgerow {
namespace {

constexpr const char* kMark = "hedgerow overlay";

struct Color {
  float r, g, b;
};
constexpr Color kGround{17, 19, 24}, kBright{236, 238, 242}, kSoft{139, 147, 161};
constexpr int kTextScale = 2, kMargin = 16, kCaption = kGlyphHeight * kTextScale + 10;
constexpr int kAdvance = (kGlyphWidth + 1) * kTextScale;
constexpr int kPanelSide = 308;  // divisible by 14, the grid of most models: 22 pixels a patch

Color mix(Color a, Color b, float t) {
  return {a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}

Color get(const Picture& p, int x, int y) {
  const uint8_t* s = &p.rgb[3 * (static_cast<size_t>(y) * p.width + x)];
  return {static_cast<float>(s[0]), static_cast<float>(s[1]), static_cast<float>(s[2])};
}

void put(Picture& p, int x, int y, Color c) {
  if (x < 0 || y < 0 || x >= p.width || y >= p.height) return;
  uint8_t* d = &p.rgb[3 * (static_cast<size_t>(y) * p.width + x)];
  d[0] = static_cast<uint8_t>(c.r + 0.5f);
  d[1] = static_cast<uint8_t>(c.g + 0.5f);
  d[2] = static_cast<uint8_t>(c.b + 0.5f);
}

void fill(Picture& p, Color c) {
  for (int y = 0; y < p.height; ++y)
    for (int x = 0; x < p.width; ++x) put(p, x, y, c);
}

int text_width(const std::string& text) { return static_cast<int>(text.size()) * kAdvance - kTextScale; }

void draw_text(Picture& p, int x, int y, const std::string& text, Color c) {
  for (const char letter : text) {
    const uint64_t bits = glyph_of(letter);
    for (int i = 0; i < kGlyphWidth * kGlyphHeight; ++i) {
      if (!(bits >> (kGlyphWidth * kGlyphHeight - 1 - i) & 1)) continue;
      for (int dy = 0; dy < kTextScale; ++dy)
        for (int dx = 0; dx < kTextScale; ++dx)
          put(p, x + i % kGlyphWidth * kTextScale + dx, y + i / kGlyphWidth * kTextScale + dy, c);
    }
    x += kAdvance;
  }
}

// Hues a golden angle apart: groups that lie side by side rarely look alike.
Color tint_of(int group) {
  const float hue = std::fmod(static_cast<float>(group) * 0.61803399f, 1.0f) * 6;
  const auto channel = [hue](float shift) {
    const float k = std::fmod(hue + shift, 6.0f);
    return 255 * std::clamp(std::min(k, 4 - k), 0.0f, 1.0f);
  };
  return mix({channel(2), channel(0), channel(4)}, {255, 255, 255}, 0.15f);
}

Color faded(Color c) {
  const float grey = 0.299f * c.r + 0.587f * c.g + 0.114f * c.b;
  return mix(kGround, {grey, grey, grey}, 0.22f);
}

struct Panel {
  const Picture& shown;
  int grid_rows, grid_columns, cell;
  std::vector<int32_t> patch_to;  // [patch], as in VitTrace

  int at(int row, int column) const {
    if (row < 0 || column < 0 || row >= grid_rows || column >= grid_columns) return -1;
    return patch_to[static_cast<size_t>(row) * grid_columns + column];
  }
};

// The thin gaps lie on the upper and left edge of a patch; patches of one group have none between them.
void draw_panel(Picture& out, int left, int top, const Panel& panel) {
  std::vector<int> members(panel.patch_to.size() + 1, 0);
  for (const int32_t to : panel.patch_to) ++members[to];
  for (int y = 0; y < panel.shown.height; ++y) {
    for (int x = 0; x < panel.shown.width; ++x) {
      const int row = y / panel.cell, column = x / panel.cell, to = panel.at(row, column);
      const bool grouped = to > 0 && members[to] > 1;
      const bool edge_up = y % panel.cell == 0 && !(grouped && panel.at(row - 1, column) == to);
      const bool edge_left = x % panel.cell == 0 && !(grouped && panel.at(row, column - 1) == to);
      Color c = get(panel.shown, x, y);
      if (to == 0) c = faded(c);
      if (grouped) c = mix(c, tint_of(to), 0.42f);
      if (edge_up || edge_left) c = mix(c, kGround, 0.85f);
      put(out, left + x, top + y, c);
    }
  }
}

int own_rows(const std::vector<int32_t>& patch_to) {
  int n = 0;
  for (size_t p = 0; p < patch_to.size(); ++p) n += patch_to[p] == static_cast<int32_t>(p) + 1;
  return n;
}

}  // namespace

Picture picture_seen(const Picture& picture, Preprocess how) {
  for (int c = 0; c < 3; ++c) {
    how.mean[c] = 0;
    how.std[c] = 1;
  }
  const std::vector<float> chw = preprocess(picture, how);
  Picture out;
  out.width = how.width;
  out.height = how.height;
  out.rgb.resize(chw.size());
  const size_t plane = chw.size() / 3;
  for (size_t i = 0; i < plane; ++i)
    for (size_t c = 0; c < 3; ++c) out.rgb[3 * i + c] = static_cast<uint8_t>(chw[c * plane + i] * 255 + 0.5f);
  return out;
}

std::vector<uint8_t> encode_overlay(const Picture& overlay, const std::string& where) {
  return encode_png(overlay, where, kMark);
}

bool is_overlay_file(const std::string& path) { return png_software(path) == kMark; }

int overlay_cell(int grid_columns) {
  return std::clamp((kPanelSide + grid_columns / 2) / std::max(grid_columns, 1), 4, 77);
}

Picture draw_overlay(const Picture& shown, int grid_rows, int grid_columns, int cell, const VitTrace& trace,
                     int image, const std::string& caption) {
  require(grid_rows > 0 && grid_columns > 0 && cell > 0 && shown.width == grid_columns * cell &&
              shown.height == grid_rows * cell,
          "draw_overlay: the picture shown is not as large as the grid");
  const int patches = grid_rows * grid_columns;
  const int stages = static_cast<int>(trace.stages.size());
  const int panels = stages + 1;
  const int lines = (panels + 4) / 5, columns = (panels + lines - 1) / lines;
  const int wide = shown.width, high = shown.height + kCaption;

  Picture out;
  out.width = kMargin + columns * (wide + kMargin);
  out.height = kMargin + lines * (high + kMargin);
  out.rgb.resize(3 * static_cast<size_t>(out.width) * out.height);
  fill(out, kGround);
  for (int i = 0; i < panels; ++i) {
    const int left = kMargin + i % columns * (wide + kMargin), top = kMargin + i / columns * (high + kMargin);
    if (i == 0) {
      const size_t room = static_cast<size_t>(wide / kAdvance);
      draw_text(out, left, top, caption.substr(0, room), kBright);
      for (int y = 0; y < shown.height; ++y)
        for (int x = 0; x < shown.width; ++x) put(out, left + x, top + kCaption + y, get(shown, x, y));
      continue;
    }
    const auto& images = trace.patch_to.at(i - 1);
    require(image >= 0 && image < static_cast<int>(images.size()) &&
                static_cast<int>(images[image].size()) == patches,
            "draw_overlay: the trace does not hold this picture's grid");
    const std::vector<int32_t>& patch_to = images[image];
    for (const int32_t to : patch_to)
      require(to >= 0 && to <= patches, "draw_overlay: a patch outside the grid");
    draw_text(out, left, top, trace.stages[i - 1], kBright);
    const std::string left_over = std::to_string(own_rows(patch_to)) + "/" + std::to_string(patches);
    const int at = wide - text_width(left_over);
    if (at > text_width(trace.stages[i - 1])) draw_text(out, left + at, top, left_over, kSoft);
    draw_panel(out, left, top + kCaption, {shown, grid_rows, grid_columns, cell, patch_to});
  }
  return out;
}

}  // namespace hedgerow
