// What the pictures have in common: how large they are, their colours, and the line above them.
#pragma once

#include <string>
#include <string_view>

#include "lasnet/report.h"
#include "report/canvas.h"

namespace lasnet {

inline constexpr Colour kPageColour = {17, 18, 23};
inline constexpr Colour kTextColour = {226, 228, 233};
inline constexpr Colour kFaintColour = {150, 154, 165};
inline constexpr int kPageMargin = 14;
inline constexpr int kMaxTextScale = 3;

/// Font pixels to picture pixels, on a page of this width.
int text_scale(int page_width);
/// From one line of text to the next, px.
int line_height(int scale);
/// px, at most kMaxTextScale's.
int text_width(std::string_view text, int scale);
/// UTF-8 in the font's printable ASCII, "?" for every other character, cut with "..." to `width` px.
std::string fitted_text(std::string_view text, int width, int scale);

/// What the options leave open: the input's size. Throws Error on an empty photo.
PictureOptions resolve(const Image& photo, PictureOptions options);

/// Where the header ends and pictures may begin, px.
int header_bottom(int page_width);
/// Draws the title at the left and the image's share of the MACs at the right, one line from `kPageMargin`
/// on.
void draw_header(Image& page, const PictureOptions& options, const Trace& trace);

}  // namespace lasnet
