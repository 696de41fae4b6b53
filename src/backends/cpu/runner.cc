#include "backends/cpu/runner.h"

#include <algorithm>

#include "backends/cpu/conv.h"
#include "backends/cpu/features.h"
#include "backends/cpu/masking.h"
#include "backends/cpu/tiling.h"
#include "engine/check_finite.h"

namespace lasnet {
namespace {

constexpr int64_t kImageChannels = 3;

/// One row of one image, NCHW -> NHWC inside the stem's border.
void copy_image_row(const TensorView& input, int64_t row, int64_t border, StemMemory& stem) {
  int64_t height = input.shape[2], width = input.shape[3];
  int64_t image = row / height, y = row % height;
  float* out =
      stem.image.data() +
      (image * stem.pixels.image_pixels + (y + border) * stem.pixels.row_pixels + border) * kImageChannels;
  const float* red = input.data.data() + (image * kImageChannels * height + y) * width;
  const float *green = red + height * width, *blue = green + height * width;
  for (int64_t x = 0; x < width; ++x) {
    out[3 * x] = red[x];
    out[3 * x + 1] = green[x];
    out[3 * x + 2] = blue[x];
  }
}

}  // namespace

CpuRunner::CpuRunner(std::shared_ptr<const CpuExecutable> executable, std::shared_ptr<Executor> executor)
    : BlockRunner(std::move(executable)), loops_(this->executable().kernels(), std::move(executor)) {}

void CpuRunner::return_map(const CpuMap& map, size_t blocks, const RunRequest& request) {
  if (Tensor* to = request.feature(blocks)) copy_map(map, request.feature_layout, loops_, *to);
}

void CpuRunner::run_stem(const RunRequest& request, CpuMemory& memory) {
  const TensorView& input = *request.input;
  const CpuConv& conv = executable().stem();
  StemMemory& stem = memory.stem;
  loops_.for_each(input.shape[0] * input.shape[2],
                  [&](int64_t row, int) { copy_image_row(input, row, conv.spec.padding(), stem); });
  const PixelPairs pixels = stem.pixels.pixels.pairs();
  if (executable().spec().stem_pool) {
    convolve_and_pool_stem(memory);
  } else {
    convolve_stem(pixels, memory);
  }
  if (request.inspects_layers()) {
    const CpuMap& out = *stem.output;
    request.inspect({conv.spec.name, out.data.data(), out.pitch, conv.spec.out_channels, out.size, pixels});
  }
}

void CpuRunner::convolve_stem(PixelPairs pixels, CpuMemory& memory) {
  const CpuConv& conv = executable().stem();
  const ConvSource image{memory.stem.image.data(), conv.spec.in_channels, memory.stem.taps.data(), pixels.in};
  loops_.conv(conv_call(conv.packed, image, *memory.stem.output, pixels, Epilogue::bias_relu));
}

/// In bands of rows, so that the pool finds in the caches what the convolution wrote.
void CpuRunner::convolve_and_pool_stem(CpuMemory& memory) {
  const CpuMap& from = *memory.stem.output;
  CpuMap& to = *memory.trunk;
  const PixelPairs pixels = memory.stem.pixels.pixels.pairs();
  const int64_t height = to.size.height, rows = pixels.count / from.size.pixels() * height;
  const int64_t band = stem_band_rows(from.size.width * from.pitch, loops_.threads());
  const MaxPoolCall pool{from.data.data(), to.data.data(), from.pitch,
                         from.size,        to.size,        executable().stem().packed.out_channels};
  // Pixels that the pooled rows before this one read. Rows are counted over the batch.
  const auto pixels_before = [&](int64_t row) {
    const int64_t image = row / height, read = std::min(row % height * 2, from.size.height);
    return (image * from.size.height + read) * from.size.width;
  };
  for (int64_t row = 0; row < rows; row += band) {
    const int64_t end = std::min(row + band, rows);
    convolve_stem(pixels.range(pixels_before(row), pixels_before(end)), memory);
    loops_.for_each(end - row, [&](int64_t i, int) {
      loops_.kernels().max_pool(pool, (row + i) / height, (row + i) % height);
    });
  }
}

MaskOutcome CpuRunner::decide(size_t index, const RunRequest& request, BlockMemory& block) {
  return lasnet::decide(executable(), index, request, block, loops_);
}

void CpuRunner::run_head(const RunRequest& request, CpuMemory& memory, Tensor& logits) {
  int64_t classes = executable().spec().arch.classes;
  logits.shape = {request.batch(), classes};
  logits.data.resize(request.batch() * classes);
  if (classes == 0) return;
  const BlockMemory& last = memory.blocks.back();
  int features = executable().padded(executable().spec().features);
  PixelPairs images = memory.head_pixels.pairs();
  mean_over_pixels(*last.y, memory.last_pixels, images, features, memory.pooled.data(), loops_);
  if (request.layers != nullptr) {
    request.layers->reads({executable().spec().head_name,
                           memory.pooled.data(),
                           features,
                           executable().spec().features,
                           {},
                           images});
  }
  const PackedConv& head = executable().head();
  int64_t no_offset = 0;
  loops_.conv({.conv = &head,
               .in = memory.pooled.data(),
               .in_pitch = features,
               .tap_offsets = &no_offset,
               .out = memory.logits.data(),
               .out_pitch = head.out_channels,
               .pixels = images,
               .epilogue = Epilogue::bias});
  for (int64_t n = 0; n < request.batch(); ++n) {
    std::copy_n(memory.logits.data() + n * head.out_channels, classes, logits.data.data() + n * classes);
  }
  if (request.check_finite) check_finite(executable().spec().head_name, logits);
}

}  // namespace lasnet
