#include "backends/cpu/features.h"

#include <algorithm>

namespace lasnet {
namespace {

/// Channels whose rows are written side by side: a cache line of each pixel that is read.
constexpr int64_t kChannelsBeside = 16;

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

/// `plane`: from one channel of the output to the next.
void copy_channels(const MapRow& row, int64_t plane) {
  for (int64_t first = 0; first < row.channels; first += kChannelsBeside) {
    const int64_t last = std::min(first + kChannelsBeside, row.channels);
    for (int64_t x = 0; x < row.width; ++x) {
      const float* pixel = row.from + x * row.pitch;
      for (int64_t c = first; c < last; ++c) row.to[c * plane + x] = pixel[c];
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
