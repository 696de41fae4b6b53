#include "backends/cpu/features.h"

#include <algorithm>
#include <array>

#include "base/math.h"
#include "base/stream.h"

namespace lasnet {
namespace {

/// Pixels and channels that are transposed in one go: a cache line of each pixel, and of each plane many.
constexpr int64_t kStagedPixels = 512, kStagedChannels = 16;
/// From plane to plane; a power of two would map all of them to one set of the cache.
constexpr int64_t kStagedPlane = kStagedPixels + 16;
constexpr int64_t kTaskChannels = 256;

const float* pixel_of(const CpuMap& map, int64_t image, int64_t y, int64_t x) {
  return map.data.data() + bordered_index(map.size, image, y, x, map.border) * map.pitch;
}

/// [pixels][pitch] -> [channels][plane].
inline void transpose(const float* __restrict from, int64_t pitch, float* __restrict to, int64_t plane,
                      int64_t pixels, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t x = 0; x < pixels; ++x) to[c * plane + x] = from[x * pitch + c];
  }
}

/// The same in blocks of one size, which the compiler transposes in registers.
void transpose_blocks(const float* from, int64_t pitch, float* to, int64_t plane, int64_t pixels,
                      int64_t channels) {
  constexpr int64_t kPixels = 4, kChannels = 8;
  for (int64_t x = 0; x < pixels; x += kPixels) {
    for (int64_t c = 0; c < channels; c += kChannels) {
      const int64_t width = std::min(kPixels, pixels - x), depth = std::min(kChannels, channels - c);
      if (width == kPixels && depth == kChannels) {
        transpose(from + x * pitch + c, pitch, to + c * plane + x, plane, kPixels, kChannels);
      } else {
        transpose(from + x * pitch + c, pitch, to + c * plane + x, plane, width, depth);
      }
    }
  }
}

/// Neighbouring rows of one image, or a part of one row.
struct MapPart {
  int64_t image, y, x, rows, width;
};

/// Cuts a map so that no part has more than kStagedPixels.
class MapParts {
 public:
  MapParts(MapSize size, int64_t images)
      : size_(size),
        width_(std::min(size.width, kStagedPixels)),
        rows_(std::max<int64_t>(1, kStagedPixels / size.width)),
        across_(ceil_div(size.width, width_)),
        down_(ceil_div(size.height, rows_)),
        count_(images * across_ * down_) {}

  int64_t count() const { return count_; }
  MapPart operator[](int64_t index) const {
    const int64_t x = index % across_ * width_, y = index / across_ % down_ * rows_;
    return {.image = index / (across_ * down_),
            .y = y,
            .x = x,
            .rows = std::min(rows_, size_.height - y),
            .width = std::min(width_, size_.width - x)};
  }

 private:
  MapSize size_;
  int64_t width_, rows_, across_, down_, count_;
};

void copy_pixels(const CpuMap& map, const MapPart& part, int64_t channels, float* to) {
  for (int64_t y = 0; y < part.rows; ++y) {
    for (int64_t x = 0; x < part.width; ++x, to += channels)
      std::copy_n(pixel_of(map, part.image, part.y + y, part.x + x), channels, to);
  }
}

struct ChannelRange {
  int64_t first, last;
};

/// `plane`: from one channel of the output to the next.
void copy_planes(const CpuMap& map, const MapPart& part, ChannelRange channels, float* to, int64_t plane) {
  std::array<float, kStagedPlane * kStagedChannels> staged;
  for (int64_t c = channels.first; c < channels.last; c += kStagedChannels) {
    const int64_t depth = std::min(kStagedChannels, channels.last - c);
    for (int64_t y = 0; y < part.rows; ++y) {
      transpose_blocks(pixel_of(map, part.image, part.y + y, part.x) + c, map.pitch,
                       staged.data() + y * part.width, kStagedPlane, part.width, depth);
    }
    for (int64_t k = 0; k < depth; ++k)
      stream_floats(staged.data() + k * kStagedPlane, part.rows * part.width, to + (c + k) * plane);
  }
  finish_streaming();
}

}  // namespace

void copy_map(const CpuMap& map, MapLayout layout, CpuLoops& loops, Tensor& to) {
  const bool planes = layout == MapLayout::nchw;
  const int64_t channels = to.shape[planes ? 1 : 3], plane = map.size.pixels();
  const MapParts parts(map.size, to.shape[0]);
  const int64_t slices = planes ? ceil_div(channels, kTaskChannels) : 1;  // late maps have few pixels
  loops.for_each(parts.count() * slices, [&](int64_t index, int) {
    const MapPart part = parts[index / slices];
    float* image = to.data.data() + part.image * plane * channels;
    const int64_t pixel = part.y * map.size.width + part.x;
    if (planes) {
      const int64_t first = index % slices * kTaskChannels;
      copy_planes(map, part, {first, std::min(first + kTaskChannels, channels)}, image + pixel, plane);
    } else {
      copy_pixels(map, part, channels, image + pixel * channels);
    }
  });
}

}  // namespace lasnet
