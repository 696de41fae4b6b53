// A small proportional bitmap font for labels: printable ASCII, capitals 7 pixels high, descenders 2 more.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace lasnet {

inline constexpr int kFontRows = 9;
inline constexpr int kFontCapHeight = 7;

struct Glyph {
  int width = 0;                          ///< columns with ink, or of a blank
  std::array<uint8_t, kFontRows> rows{};  ///< bit i: column i
};

/// A blank for characters outside printable ASCII.
const Glyph& glyph(char c);

/// Width in font pixels, one column between characters.
int text_width(std::string_view text);

}  // namespace lasnet
