#include "backends/cpu/runner.h"

#include <algorithm>

#include "backends/cpu/body.h"
#include "backends/cpu/conv.h"
#include "backends/cpu/features.h"
#include "backends/cpu/masking.h"
#include "backends/cpu/tiling.h"
#include "base/stopwatch.h"
#include "engine/check_finite.h"
#include "engine/trace.h"

namespace lasnet {
namespace {

/// Input sizes whose memory is kept.
constexpr size_t kKeptSizes = 4;
constexpr int64_t kImageChannels = 3;

/// One row of one image, NCHW -> NHWC inside the stem's border.
void copy_image_row(const TensorView& input, int64_t row, int64_t border, StemMemory& stem) {
  int64_t height = input.shape[2], width = input.shape[3];
  int64_t image = row / height, y = row % height;
  float* out = stem.image.data() +
               (image * stem.image_pixels + (y + border) * stem.row_pixels + border) * kImageChannels;
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
    : executable_(std::move(executable)), loops_(executable_->kernels(), std::move(executor)) {}

CpuMemory& CpuRunner::memory_for(const RunRequest& request) {
  auto found = std::find_if(memories_.begin(), memories_.end(), [&](const Entry& entry) {
    return entry.images == request.batch() && entry.size == request.geometry.input;
  });
  if (found == memories_.end()) {
    if (memories_.size() == kKeptSizes) memories_.pop_back();
    memories_.push_front({request.batch(), request.geometry.input,
                          std::make_unique<CpuMemory>(*executable_, request.geometry, request.batch())});
  } else {
    std::rotate(memories_.begin(), found, found + 1);
  }
  return *memories_.front().memory;
}

void CpuRunner::run(const RunRequest& request, Result& result) {
  CpuMemory& memory = memory_for(request);
  Stopwatch watch(request.time);
  TraceBuilder trace(executable_->spec(), request, result.trace);
  run_stem(request, memory);
  for (size_t i = 0; i < memory.blocks.size(); ++i) {
    return_map(*memory.blocks[i].x, i, request);
    run_block(i, request, memory, trace);
  }
  return_map(*memory.blocks.back().y, memory.blocks.size(), request);
  run_head(request, memory, result.logits);
  trace.finish(watch.seconds());
}

void CpuRunner::return_map(const CpuMap& map, size_t blocks, const RunRequest& request) {
  if (Tensor* to = request.feature(blocks)) copy_map(map, request.feature_layout, loops_, *to);
}

void CpuRunner::run_stem(const RunRequest& request, CpuMemory& memory) {
  const TensorView& input = *request.input;
  const CpuConv& conv = executable_->stem();
  StemMemory& stem = memory.stem;
  loops_.for_each(input.shape[0] * input.shape[2],
                  [&](int64_t row, int) { copy_image_row(input, row, conv.spec.padding(), stem); });
  const PixelPairs pixels = stem.pixels.pairs();
  if (executable_->spec().stem_pool) {
    convolve_and_pool_stem(memory);
  } else {
    convolve_stem(pixels, memory);
  }
  if (request.check_finite) {
    const CpuMap& out = *stem.output;
    check_finite({conv.spec.name, out.data.data(), out.pitch, conv.spec.out_channels, out.size, pixels});
  }
}

void CpuRunner::convolve_stem(PixelPairs pixels, CpuMemory& memory) {
  const CpuConv& conv = executable_->stem();
  const ConvSource image{memory.stem.image.data(), conv.spec.in_channels, memory.stem.taps.data(), pixels.in};
  loops_.conv(conv_call(conv.packed, image, *memory.stem.output, pixels, Epilogue::bias_relu));
}

/// In bands of rows, so that the pool finds in the caches what the convolution wrote.
void CpuRunner::convolve_and_pool_stem(CpuMemory& memory) {
  const CpuMap& from = *memory.stem.output;
  CpuMap& to = *memory.trunk;
  const PixelPairs pixels = memory.stem.pixels.pairs();
  const int64_t height = to.size.height, rows = pixels.count / from.size.pixels() * height;
  const int64_t band = stem_band_rows(from.size.width * from.pitch, loops_.threads());
  const MaxPoolCall pool{from.data.data(), to.data.data(), from.pitch,
                         from.size,        to.size,        executable_->stem().packed.out_channels};
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

void CpuRunner::run_block(size_t index, const RunRequest& request, CpuMemory& memory, TraceBuilder& trace) {
  request.check_stop();
  Stopwatch watch(request.time);
  BlockMemory& block = memory.blocks[index];
  const bool masked = !request.dense && executable_->spec().blocks[index].is_dynamic();
  const MaskOutcome mask =
      masked ? decide(*executable_, index, request, block, loops_) : MaskOutcome::unmasked;
  CpuBody body(*executable_, index, block, mask, request.check_finite, loops_);
  body.make_lists();
  BlockOutcome outcome;
  if (masked) outcome.masking_seconds = watch.seconds();
  body.run();
  outcome.seconds = watch.seconds();
  if (masked) outcome.differences = block.differences;
  if (mask == MaskOutcome::crowded || mask == MaskOutcome::partial) {
    outcome.patches = block.patches;
    outcome.active_counts = block.builder.active_counts();
    outcome.dilated_counts = block.builder.dilated_counts();
  }
  trace.add_block(outcome);
  if (observer_) report(index, block, mask);
}

void CpuRunner::report(size_t index, const BlockMemory& block, MaskOutcome mask) const {
  if (mask != MaskOutcome::unmasked) {
    for (const CpuOperation& operation : block.program.masking) {
      const bool of_pixels = operation.op == CpuOperator::conv;
      observer_(index, operation,
                of_pixels ? block.lists->everything.dilated.count()
                          : static_cast<int64_t>(block.differences.size()));
    }
  }
  const std::vector<CpuOperation>& operations = block.program.body(mask);
  for (size_t i = 0; i < operations.size(); ++i) observer_(index, operations[i], block.computed[i]);
}

void CpuRunner::run_head(const RunRequest& request, CpuMemory& memory, Tensor& logits) {
  int64_t classes = executable_->spec().arch.classes;
  logits.shape = {request.batch(), classes};
  logits.data.resize(request.batch() * classes);
  if (classes == 0) return;
  const BlockMemory& last = memory.blocks.back();
  int features = executable_->padded(executable_->spec().features);
  PixelPairs images = memory.head_pixels.pairs();
  mean_over_pixels(*last.y, memory.last_pixels, images, features, memory.pooled.data(), loops_);
  const PackedConv& head = executable_->head();
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
  if (request.check_finite) check_finite(executable_->spec().head_name, logits);
}

}  // namespace lasnet
