#include "report/font.h"

#include <cstddef>

namespace lasnet {
namespace {

constexpr int kFirst = ' ';
constexpr int kCount = 96;
constexpr int kPerBand = 16;
constexpr int kCell = 6;  ///< 5 columns and a gap
constexpr int kBlankWidth = 3;

/// Six bands of 16 characters in ASCII order.
constexpr std::string_view kArt[] = {
    "      #     # #    # #    #   ##  #  ##   #       #   #                                       # ",
    "      #     # #    # #   #### ## #  #  #  #      #     #      #     #                        #  ",
    "      #     # #   ##### # #      #  # #   #     #       #   # # #   #                        #  ",
    "      #            # #   ###    #    #          #       #    ###  #####       ####          #   ",
    "      #           #####   # #  #    # # #       #       #   # # #   #                      #    ",
    "                   # #  ####   # ## #  #         #     #      #     #    #                 #    ",
    "      #            # #    #   #  ##  ## #         #   #                  #          #     #     ",
    "                                                                        #                       ",
    "                                                                                                ",
    " ###    #    ###  #####    #  #####   ##  #####  ###   ###                 #        #      ###  ",
    "#   #  ##   #   #    #    ##  #      #        # #   # #   #               #          #    #   # ",
    "#   #   #       #   #    # #  ####  #        #  #   # #   # #      #     #    ####    #       # ",
    "# # #   #      #     #  #  #      # ####    #    ###   ####             #              #     #  ",
    "#   #   #     #       # #####     # #   #   #   #   #     #              #    ####    #     #   ",
    "#   #   #    #    #   #    #  #   # #   #  #    #   #    #         #      #          #          ",
    " ###   ###  #####  ###     #   ###   ###   #     ###   ##   #      #       #        #       #   ",
    "                                                                  #                             ",
    "                                                                                                ",
    " ###   ###  ####   ###  ####  ##### #####  ###  #   # ###     ### #   # #     #   # #   #  ###  ",
    "#   # #   # #   # #   # #   # #     #     #   # #   #  #       #  #  #  #     ## ## ##  # #   # ",
    "# ### #   # #   # #     #   # #     #     #     #   #  #       #  # #   #     # # # # # # #   # ",
    "# # # ##### ####  #     #   # ####  ####  # ### #####  #       #  ##    #     # # # #  ## #   # ",
    "# ### #   # #   # #     #   # #     #     #   # #   #  #       #  # #   #     #   # #   # #   # ",
    "#     #   # #   # #   # #   # #     #     #   # #   #  #    #  #  #  #  #     #   # #   # #   # ",
    " ###  #   # ####   ###  ####  ##### #      ###  #   # ###    ##   #   # ##### #   # #   #  ###  ",
    "                                                                                                ",
    "                                                                                                ",
    "####   ###  ####   #### ##### #   # #   # #   # #   # #   # ##### ###   #     ###     #         ",
    "#   # #   # #   # #       #   #   # #   # #   # #   # #   #     # #      #      #    # #        ",
    "#   # #   # #   # #       #   #   # #   # #   #  # #   # #     #  #      #      #   #   #       ",
    "####  #   # ####   ###    #   #   # #   # # # #   #     #     #   #       #     #               ",
    "#     # # # # #       #   #   #   #  # #  # # #  # #    #    #    #        #    #               ",
    "#     #  #  #  #      #   #   #   #  # #  # # # #   #   #   #     #        #    #               ",
    "#      ## # #   # ####    #    ###    #    # #  #   #   #   ##### ###       # ###               ",
    "                                                                                          ##### ",
    "                                                                                                ",
    "#           #               #         ##        #     #       #   #     #                       ",
    " #          #               #        #          #                 #     #                       ",
    "       ###  ####   ###   ####  ###  ###    #### ####  #       #   #  #  #     ## #  ###    ###  ",
    "          # #   # #     #   # #   #  #    #   # #   # #       #   # #   #     # # # #  #  #   # ",
    "       #### #   # #     #   # #####  #    #   # #   # #       #   ##    #     # # # #  #  #   # ",
    "      #   # #   # #     #   # #      #    #   # #   # #       #   # #   #     # # # #  #  #   # ",
    "       #### ####   ###   ####  ###   #     #### #   # #       #   #  #   #    # # # #  #   ###  ",
    "                                              #               #                                 ",
    "                                           ###              ##                                  ",
    "                         #                                         ##   #     ##                ",
    "                         #                                         #    #      #                ",
    "####   #### # ##   ###  ###   #   # #   # #   # #   # #   # ####   #    #      #     ## #       ",
    "#   # #   # ##    #      #    #   # #   # #   #  # #  #   #    #  #     #       #   #  #        ",
    "#   # #   # #      ##    #    #   #  # #  # # #   #   #   #   #    #    #      #                ",
    "#   # #   # #        #   #    #   #  # #  # # #  # #  #   #  #     #    #      #                ",
    "####   #### #     ###     ##   ####   #    # #  #   #  #### ####   ##   #     ##                ",
    "#         #                                               #                                     ",
    "#         #                                            ###                                      ",
};
static_assert(std::size(kArt) == static_cast<size_t>(kCount / kPerBand * kFontRows));

constexpr Glyph read_glyph(int index) {
  Glyph result;
  result.width = index == 0 ? kBlankWidth : 0;
  for (int row = 0; row < kFontRows; ++row) {
    std::string_view line = kArt[index / kPerBand * kFontRows + row];
    for (int column = 0; column < kCell - 1; ++column) {
      if (line[index % kPerBand * kCell + column] != '#') continue;
      result.rows[row] |= static_cast<uint8_t>(1 << column);
      if (column >= result.width) result.width = column + 1;
    }
  }
  return result;
}

constexpr std::array<Glyph, kCount> read_glyphs() {
  std::array<Glyph, kCount> glyphs{};
  for (int i = 0; i < kCount; ++i) glyphs[i] = read_glyph(i);
  return glyphs;
}

constexpr std::array<Glyph, kCount> kGlyphs = read_glyphs();

}  // namespace

const Glyph& glyph(char c) {
  int index = static_cast<unsigned char>(c) - kFirst;
  return kGlyphs[index >= 0 && index < kCount ? index : 0];
}

int text_width(std::string_view text) {
  int width = 0;
  for (char c : text) width += glyph(c).width + 1;
  return text.empty() ? 0 : width - 1;
}

}  // namespace lasnet
