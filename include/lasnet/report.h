// Pictures of what was computed. All throw Error on an empty photo, an index outside the batch, a static
// network, or a trace without recorded masks.
//
//   Image photo = load_image("photo.jpg");
//   Result result = session.run(to_input(resize_and_crop(photo, preprocessing), preprocessing));
//   save_png(heat_map(visible_part(photo, preprocessing), result.trace, {.input = {224, 224}}), "heat.png");
#pragma once

#include "lasnet/engine.h"
#include "lasnet/image.h"

namespace lasnet {

/// No picture is wider or higher than this, px.
inline constexpr int kMaxPictureSide = 1600;

/// The part of a photograph that resize_and_crop keeps, at the photograph's own resolution, but at most
/// kMaxPictureSide on a side. Throws Error as resize_and_crop does.
LASNET_EXPORT Image visible_part(const ImageView& photo, const Preprocessing& preprocessing);

/// What a picture shows.
struct PictureOptions {
  int64_t index = 0;  ///< image of the batch
  /// Size of what the network saw, where `photo` shows it at another resolution; default: the photo's.
  MapSize input = {};
  std::string title = {};  ///< above the picture, UTF-8, e.g. class and probability
};

/// The photograph, and beside it (below, if it is wide) the same in grey under a heat map, with a legend. The
/// map says how many dynamic blocks computed each pixel. The colours follow the rank of a pixel's number
/// among those that occur. `photo` shows what the network saw, at any resolution.
LASNET_EXPORT Image heat_map(const Image& photo, const Trace& trace, const PictureOptions& options);
LASNET_EXPORT Image heat_map(const Image& photo, const Trace& trace, int64_t index = 0);

/// One picture per dynamic block, with a legend: the photo with inactive patches darkened, and under it the
/// block's name, S and r.
LASNET_EXPORT Image mask_sheet(const Image& photo, const Trace& trace, const PictureOptions& options);
LASNET_EXPORT Image mask_sheet(const Image& photo, const Trace& trace, int64_t index = 0);

/// Mean over dynamic blocks of the mask at each pixel of a height x width image, in [0, 1], row-major.
LASNET_EXPORT std::vector<float> compute_density(const Trace& trace, int64_t index, int height, int width);

}  // namespace lasnet
