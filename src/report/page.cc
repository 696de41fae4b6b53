#include "report/page.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "report/font.h"

namespace lasnet {
namespace {

/// "43 % of the MACs"; "" if the trace does not say.
std::string macs_note(const Trace& trace, int64_t index) {
  if (trace.static_macs <= 0 || index >= static_cast<int64_t>(trace.image_macs.size())) return "";
  const double macs = trace.image_macs[static_cast<size_t>(index)];
  return fmt::format("{:.0f} % of the MACs", 100 * macs / static_cast<double>(trace.static_macs));
}

/// One byte per character, "?" where the font has none.
std::string printable_ascii(std::string_view utf8) {
  std::string text;
  for (const char c : utf8) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0) == 0x80) continue;  // the rest of a character
    text += byte >= ' ' && byte <= '~' ? c : '?';
  }
  return text;
}

/// The pixels of one side that a centred crop keeps.
struct Span {
  int begin = 0, size = 0;

  Span(int side, int64_t resized, int64_t kept)
      : size(std::clamp(static_cast<int>(std::lround(1.0 * side * static_cast<double>(kept) /
                                                     static_cast<double>(resized))),
                        1, side)) {
    begin = (side - size) / 2;
  }
};

}  // namespace

int text_scale(int page_width) { return std::clamp(page_width / 400, 1, kMaxTextScale); }

int line_height(int scale) { return (kFontRows + 1) * scale; }

int text_width(std::string_view text, int scale) { return text_width(text) * scale; }

std::string fitted_text(std::string_view text, int width, int scale) {
  std::string fitted = printable_ascii(text);
  if (text_width(fitted, scale) <= width) return fitted;
  constexpr std::string_view kMore = "...";
  while (!fitted.empty() && text_width(fitted, scale) + text_width(kMore, scale) + scale > width) {
    fitted.pop_back();
  }
  return fitted.empty() ? "" : fitted.append(kMore);
}

PictureOptions resolve(const Image& photo, PictureOptions options) {
  if (photo.width < 1 || photo.height < 1 || photo.empty()) fail("report: the photo is empty");
  if (options.input == MapSize{}) options.input = {photo.height, photo.width};
  if (options.input.height < 1 || options.input.width < 1) {
    fail("report: an input of {} x {} px; expected at least 1 x 1", options.input.height,
         options.input.width);
  }
  return options;
}

int header_bottom(int page_width) { return 2 * kPageMargin + kFontCapHeight * text_scale(page_width); }

void draw_header(Image& page, const PictureOptions& options, const Trace& trace) {
  const int scale = text_scale(page.width), width = page.width - 2 * kPageMargin;
  const std::string note = fitted_text(macs_note(trace, options.index), width, scale);
  const int note_width = text_width(note, scale);
  draw_text(page, page.width - kPageMargin - note_width, kPageMargin, note, kFaintColour, scale);
  const std::string title = fitted_text(options.title, width - note_width - kPageMargin, scale);
  draw_text(page, kPageMargin, kPageMargin, title, kTextColour, scale);
}

Image visible_part(const ImageView& photo, const Preprocessing& preprocessing) {
  const MapSize size{photo.height, photo.width};
  const MapSize seen = preprocessed_size(size, preprocessing);
  Preprocessing uncropped = preprocessing;
  uncropped.crop = 0;
  const MapSize resized = preprocessed_size(size, uncropped);
  const Span rows(photo.height, resized.height, seen.height), columns(photo.width, resized.width, seen.width);
  Image part = crop(photo, rows.begin, columns.begin, rows.size, columns.size);
  const int side = std::max(part.width, part.height);
  if (side <= kMaxPictureSide) return part;
  const auto shrunk = [side](int length) {
    return std::max(1, static_cast<int>(std::lround(1.0 * length * kMaxPictureSide / side)));
  };
  return resize(part, shrunk(part.width), shrunk(part.height));
}

}  // namespace lasnet
