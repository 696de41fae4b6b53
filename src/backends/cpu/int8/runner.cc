#include "backends/cpu/int8/runner.h"

#include <algorithm>
#include <utility>

#include "base/math.h"

namespace lasnet {
namespace {

/// Channels of one task of the average pool: whole cache lines of sums, whole vectors of every kernel.
constexpr int kPoolChunk = 64;

}  // namespace

Int8Runner::Int8Runner(std::shared_ptr<const Int8Executable> executable, std::shared_ptr<Executor> executor)
    : BlockRunner(std::move(executable)), loops_(this->executable().kernels(), std::move(executor)) {}

void Int8Runner::run_stem(const RunRequest& request, Int8Memory& memory) {
  const TensorView& input = *request.input;
  const Int8Conv& conv = executable().stem();
  const Int8Network& network = executable().network();
  Int8StemMemory& stem = memory.stem;
  const int64_t height = input.shape[2], width = input.shape[3], border = conv.spec.padding();
  loops_.for_each(input.shape[0] * height, [&](int64_t index, int) {
    const int64_t image = index / height, y = index % height;
    const float* red = input.data.data() + (image * 3 * height + y) * width;
    uint32_t* out =
        stem.image.data() + image * stem.pixels.image_pixels + (y + border) * stem.pixels.row_pixels + border;
    loops_.kernels().quantize_row({red, red + height * width, red + 2 * height * width, width,
                                   network.input_inverse_scale, network.input_zero, out});
  });
  const PixelPairs pixels = stem.pixels.pixels.pairs();
  const ByteSource image{stem.image.data(), kImageWords, stem.taps.data(), pixels.in};
  loops_.conv(int8_conv_call(conv.packed, image, *stem.output, pixels, Int8Epilogue::relu));
  if (!executable().spec().stem_pool) return;
  const ByteMaxPoolCall call{stem.output->bytes(), memory.trunk->bytes(), stem.output->byte_pitch(),
                             stem.output->size, memory.trunk->size};
  const int64_t rows = memory.trunk->size.height;
  loops_.for_each(input.shape[0] * rows,
                  [&](int64_t index, int) { loops_.kernels().max_pool(call, index / rows, index % rows); });
}

MaskOutcome Int8Runner::decide(size_t index, const RunRequest& request, Int8BlockMemory& block) {
  return decide_int8(executable(), index, request, block, loops_);
}

void Int8Runner::return_map(const ByteMap& map, size_t blocks, const RunRequest& request) {
  Tensor* to = request.feature(blocks);
  if (to == nullptr) return;
  const bool planes = request.feature_layout == MapLayout::nchw;
  const int64_t channels = to->shape[planes ? 1 : 3], height = map.size.height, width = map.size.width;
  const float scale = executable().network().map_scales[blocks];
  loops_.for_each(to->shape[0] * height, [&](int64_t index, int) {
    const int64_t image = index / height, y = index % height;
    const uint8_t* from = map.bytes() + bordered_index(map.size, image, y, 0) * map.byte_pitch();
    float* begin = to->data.data() + image * height * width * channels + y * width * (planes ? 1 : channels);
    const int64_t pixel = planes ? 1 : channels, channel = planes ? height * width : 1;
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < channels; ++c)
        begin[x * pixel + c * channel] = scale * static_cast<float>(from[x * map.byte_pitch() + c]);
    }
  });
}

void Int8Runner::run_head(const RunRequest& request, Int8Memory& memory, Tensor& logits) {
  const int64_t classes = executable().spec().arch.classes, images = request.batch();
  logits.shape = {images, classes};
  logits.data.resize(images * classes);
  if (classes == 0) return;
  const ByteMap& map = *memory.blocks.back().y;
  const int channels = executable().padded(executable().spec().features);
  const int64_t pitch = word_pitch(executable().spec().features), pixels = map.size.pixels();
  const int64_t chunks = ceil_div(channels, kPoolChunk);
  auto* pooled = reinterpret_cast<uint8_t*>(memory.pooled.data());
  loops_.for_each(images * chunks, [&](int64_t index, int) {
    const int64_t image = index / chunks;
    const int begin = static_cast<int>(index % chunks) * kPoolChunk;
    const int end = std::min(begin + kPoolChunk, channels);
    alignas(64) int32_t sums[kPoolChunk];
    loops_.kernels().sum({map.bytes() + begin,
                          map.byte_pitch(),
                          map.size,
                          image,
                          {0, 0, map.size.height, map.size.width},
                          sums},
                         0, end - begin);
    uint8_t* upper = pooled + 2 * image * pitch * kWordBytes + begin;
    uint8_t* lower = upper + pitch * kWordBytes;
    for (int c = 0; c < end - begin; ++c) {
      const int32_t mean = head_input(sums[c], pixels);
      upper[c] = static_cast<uint8_t>(mean / kHeadFraction);
      lower[c] = static_cast<uint8_t>(mean % kHeadFraction);
    }
  });
  const PackedInt8Conv& head = executable().head();
  const int64_t no_offset = 0;
  loops_.conv({.conv = &head,
               .in = memory.pooled.data(),
               .in_pitch = pitch,
               .tap_offsets = &no_offset,
               .out = reinterpret_cast<uint8_t*>(memory.head_sums.data()),
               .out_pitch = head.out_channels * static_cast<int64_t>(sizeof(int32_t)),
               .pixels = memory.head_pixels.pairs(),
               .epilogue = Int8Epilogue::sums});
  for (int64_t n = 0; n < images; ++n) {
    const int32_t* upper = memory.head_sums.data() + 2 * n * head.out_channels;
    const int32_t* lower = upper + head.out_channels;
    for (int64_t c = 0; c < classes; ++c) {
      logits.data[n * classes + c] =
          head_logit(kHeadFraction * upper[c] + lower[c], head.multiplier.data()[c], head.bias.data()[c]);
    }
  }
}

}  // namespace lasnet
