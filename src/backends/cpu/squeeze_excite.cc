// Squeeze-and-Excitation of a block, and means over pixels.
#include <algorithm>
#include <cmath>

#include "backends/cpu/body.h"
#include "base/math.h"
#include "engine/check_finite.h"

namespace lasnet {
namespace {

/// Channels of one task of a mean, a multiple of every kernel's vectors: whole cache lines.
constexpr int kMeanChunk = 64;
/// Pixels of one task of a scaling.
constexpr int64_t kScaleChunk = 64;

}  // namespace

void CpuBody::run_squeeze_excite() {
  const CpuSqueezeExcite& layers = *block_.squeeze_excite;
  const PixelList& active = lists_.active_by_row;
  const PixelList& pooled = layers.pool == SePool::dense ? everything_.active_by_row : active;
  SqueezeExciteMemory& se = memory_.squeeze_excite;
  CpuMap& map = *memory_.inner.back();
  int channels = layers.fc2.out_channels;
  se.images.clear();
  for (int64_t n = 0; n < memory_.images; ++n) {
    if (active.images(n, n + 1).count > 0) se.images.append({.in = n, .out = n, .length = 1});
  }
  PixelPairs images = se.images.pairs();
  mean_over_pixels(map, pooled, images, channels, se.pooled.data(), loops_);
  int64_t no_offset = 0;
  auto linear = [&](const PackedConv& layer, const AlignedBuffer& in, AlignedBuffer& out, Epilogue epilogue) {
    loops_.conv({.conv = &layer,
                 .in = in.data(),
                 .in_pitch = in.size() / memory_.images,
                 .tap_offsets = &no_offset,
                 .out = out.data(),
                 .out_pitch = layer.out_channels,
                 .pixels = images,
                 .epilogue = epilogue});
  };
  linear(layers.fc1, se.pooled, se.squeezed, Epilogue::bias_relu);
  linear(layers.fc2, se.squeezed, se.scale, Epilogue::bias);
  if (request_.check_finite) check_finite({layers.name, se.scale.data(), channels, channels, {}, images});
  loops_.for_each(images.count, [&](int64_t index, int) {
    float* scale = se.scale.data() + images.in[index] * channels;
    std::transform(scale, scale + channels, scale, [](float x) { return 1.0f / (1.0f + std::exp(-x)); });
  });
  computed_[current_] = active.count();
  int64_t chunks = ceil_div(map.size.pixels(), kScaleChunk);
  loops_.for_each(images.count * chunks, [&](int64_t index, int) {
    int64_t image = images.in[index / chunks], begin = index % chunks * kScaleChunk;
    PixelPairs pixels = active.images(image, image + 1);
    if (begin >= pixels.count) return;
    loops_.kernels().scale({map.data.data(), map.pitch, pixels.out + begin,
                            std::min(kScaleChunk, pixels.count - begin), channels,
                            se.scale.data() + image * channels});
  });
  if (request_.layers != nullptr) {
    request_.layers->wrote(
        {layers.name, map.data.data(), map.pitch, layers.channels, map.size, active.pairs(), map.border});
  }
}

void mean_over_pixels(const CpuMap& map, const PixelList& pixels, PixelPairs images, int channels, float* out,
                      CpuLoops& loops) {
  int64_t chunks = ceil_div(channels, kMeanChunk);
  loops.for_each(images.count * chunks, [&](int64_t index, int) {
    int64_t image = images.in[index / chunks];
    int begin = static_cast<int>(index % chunks) * kMeanChunk;
    PixelPairs of_image = pixels.images(image, image + 1);
    loops.kernels().mean({map.data.data(), map.pitch, of_image.out, of_image.count, out + image * channels},
                         begin, std::min(begin + kMeanChunk, channels));
  });
}

}  // namespace lasnet
