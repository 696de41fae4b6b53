#include "backends/cpu/features.h"

#include <algorithm>

namespace lasnet {
namespace {

/// A row of a map, in both memories.
struct MapRow {
  const float* from;
  int64_t pitch;  ///< from one pixel to the next
  float* to;
  int64_t width, channels;
};

void copy_pixels(const MapRow& row) {
  for (int64_t x = 0; x < row.width; ++x)
    std::copy_n(row.from + x * row.pitch, row.channels, row.to + x * row.channels);
}

/// [pixels][pitch] -> [channels][plane].
inline void transpose(const float* __restrict from, int64_t pitch, float* __restrict to, int64_t plane,
                      int64_t pixels, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t x = 0; x < pixels; ++x) to[c * plane + x] = from[x * pitch + c];
  }
}

/// `plane`: from one channel of the output to the next. In blocks of one size, which the compiler transposes
/// in registers.
void copy_channels(const MapRow& row, int64_t plane) {
  constexpr int64_t kPixels = 4, kChannels = 8;
  for (int64_t c = 0; c < row.channels; c += kChannels) {
    for (int64_t x = 0; x < row.width; x += kPixels) {
      const float* from = row.from + x * row.pitch + c;
      float* to = row.to + c * plane + x;
      const int64_t pixels = std::min(kPixels, row.width - x),
                    channels = std::min(kChannels, row.channels - c);
      if (pixels == kPixels && channels == kChannels) {
        transpose(from, row.pitch, to, plane, kPixels, kChannels);
      } else {
        transpose(from, row.pitch, to, plane, pixels, channels);
      }
    }
  }
}

}  // namespace

void copy_map(const CpuMap& map, MapLayout layout, CpuLoops& loops, Tensor& to) {
  const auto [height, width] = map.size;
  const bool planes = layout == MapLayout::nchw;
  const int64_t images = to.shape[0], channels = to.shape[planes ? 1 : 3], plane = map.size.pixels();
  loops.for_each(images * height, [&](int64_t index, int) {
    const int64_t image = index / height, y = index % height;
    float* begin = to.data.data() + image * plane * channels + y * width * (planes ? 1 : channels);
    const MapRow row{map.data.data() + bordered_index(map.size, image, y, 0) * map.pitch, map.pitch, begin,
                     width, channels};
    planes ? copy_channels(row, plane) : copy_pixels(row);
  });
}

}  // namespace lasnet
