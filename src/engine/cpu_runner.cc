#include "engine/cpu_runner.h"

#include <algorithm>
#include <cmath>

#include "core/stopwatch.h"
#include "engine/check_finite.h"
#include "engine/trace.h"

namespace lasnet {
namespace {

/// Input sizes whose memory is kept.
constexpr size_t kKeptSizes = 4;
/// Channels of one task of a mean, a multiple of every kernel's vectors: whole cache lines.
constexpr int kMeanChunk = 64;
/// Pixels of one task of a scaling.
constexpr int64_t kScaleChunk = 64;

/// Runs of images that have a pixel in the list.
std::vector<ImageRange> nonempty_images(const PixelList& list, int64_t images) {
  std::vector<ImageRange> ranges;
  for (int64_t n = 0; n < images; ++n) {
    if (list.images(n, n + 1).count == 0) continue;
    if (!ranges.empty() && ranges.back().last == n) {
      ranges.back().last = n + 1;
    } else {
      ranges.push_back({n, n + 1});
    }
  }
  return ranges;
}

}  // namespace

CpuRunner::CpuRunner(std::shared_ptr<const CpuExecutable> executable, std::shared_ptr<Executor> executor)
    : executable_(std::move(executable)), executor_(std::move(executor)), pool_(*executor_) {
  for (int i = 0; i < pool_.threads(); ++i) scratch_.emplace_back(conv_scratch_size(executable_->kernels()));
}

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

Result CpuRunner::run(const RunRequest& request) {
  CpuMemory& memory = memory_for(request);
  check_finite_ = request.check_finite;
  Stopwatch watch;
  TraceBuilder trace(executable_->spec(), request);
  run_stem(*request.input, memory);
  for (size_t i = 0; i < memory.blocks.size(); ++i) run_block(i, request, memory, trace);
  Tensor logits = run_head(request, memory);
  return {std::move(logits), trace.finish(watch.seconds())};
}

void CpuRunner::run_layer(const CpuConv& conv, const CpuMap& in, const std::vector<int64_t>& taps,
                          CpuMap& out, PixelPairs pixels, Epilogue epilogue) {
  run_conv(
      {&conv.packed, in.data.data(), in.pitch, taps.data(), out.data.data(), out.pitch, pixels, epilogue});
  if (!check_finite_) return;
  check_finite({conv.spec.name, out.data.data(), out.pitch, conv.spec.out_channels, out.size, pixels});
}

void CpuRunner::run_conv(const ConvCall& call) {
  if (call.pixels.count == 0) return;
  int blocks = call.conv->channel_blocks();
  ConvTiling tiling = tile_conv({.pixels = call.pixels.count,
                                 .reduction = call.conv->reduction(),
                                 .input_channels = call.in_pitch,
                                 .channel_blocks = blocks,
                                 .threads = pool_.threads()});
  int64_t pixel_tasks = (call.pixels.count + tiling.pixels - 1) / tiling.pixels;
  int64_t block_tasks = (blocks + tiling.channel_blocks - 1) / tiling.channel_blocks;
  for_each(pixel_tasks * block_tasks, [&](int64_t index, int thread) {
    int64_t pixel = index % pixel_tasks * tiling.pixels;
    int block = static_cast<int>(index / pixel_tasks) * tiling.channel_blocks;
    ConvTask task{pixel, std::min(pixel + tiling.pixels, call.pixels.count), block,
                  std::min(block + tiling.channel_blocks, blocks)};
    executable_->kernels().conv(call, task, scratch_[thread].data());
  });
}

void CpuRunner::copy_image_row(const TensorView& input, int64_t row, StemMemory& stem) const {
  int64_t channels = input.shape[1], height = input.shape[2], width = input.shape[3];
  int64_t image = row / height, y = row % height, border = executable_->stem().spec.padding();
  float* out =
      stem.image.data() + (image * stem.image_pixels + (y + border) * stem.row_pixels + border) * channels;
  for (int64_t c = 0; c < channels; ++c) {
    const float* in = input.data.data() + ((image * channels + c) * height + y) * width;
    for (int64_t x = 0; x < width; ++x) out[x * channels + c] = in[x];
  }
}

void CpuRunner::run_stem(const TensorView& input, CpuMemory& memory) {
  StemMemory& stem = memory.stem;
  for_each(input.shape[0] * input.shape[2], [&](int64_t row, int) { copy_image_row(input, row, stem); });
  const CpuConv& conv = executable_->stem();
  CpuMap& out = *stem.output;
  run_conv({&conv.packed, stem.image.data(), conv.spec.in_channels, stem.taps.data(), out.data.data(),
            out.pitch, stem.pixels.pairs(), Epilogue::bias_relu});
  if (check_finite_) {
    check_finite(
        {conv.spec.name, out.data.data(), out.pitch, conv.spec.out_channels, out.size, stem.pixels.pairs()});
  }
  if (!executable_->spec().stem_pool) return;
  MaxPoolCall call{stem.output->data.data(), memory.trunk->data.data(), stem.output->pitch,
                   stem.output->size,        memory.trunk->size,        conv.packed.out_channels};
  int64_t rows = memory.trunk->size.height;
  for_each(input.shape[0] * rows,
           [&](int64_t index, int) { executable_->kernels().max_pool(call, index / rows, index % rows); });
}

void CpuRunner::run_block(size_t index, const RunRequest& request, CpuMemory& memory, TraceBuilder& trace) {
  Stopwatch watch;
  BlockMemory& block = memory.blocks[index];
  bool sparse = decide(index, request, block);
  if (sparse) block.builder.build(block.patches, block.lists->current);
  run_body(index, block, sparse);
  bool masked = !request.dense && executable_->spec().blocks[index].is_dynamic();
  BlockOutcome outcome;
  outcome.seconds = watch.seconds();
  if (masked) outcome.differences = block.differences;
  if (sparse) {
    outcome.patches = block.patches;
    outcome.active_counts = block.builder.active_counts();
    outcome.dilated_counts = block.builder.dilated_counts();
  }
  trace.add_block(outcome);
}

bool CpuRunner::decide(size_t index, const RunRequest& request, BlockMemory& memory) {
  const BlockSpec& spec = executable_->spec().blocks[index];
  if (request.dense || !spec.is_dynamic()) return false;
  const PatchGrid& grid = request.geometry.blocks[index].grid;
  const CpuBlock& compiled = executable_->blocks()[index];
  MaskerCall call{memory.x->data.data(),
                  memory.x->pitch,
                  memory.x->size,
                  grid,
                  spec.stride,
                  static_cast<int>(compiled.masker_weight.size()),
                  compiled.masker_weight.data(),
                  compiled.masker_bias,
                  memory.differences.data()};
  for_each(request.batch() * grid.rows(), [&](int64_t row, int) {
    executable_->kernels().masker(call, row / grid.rows(), row % grid.rows());
  });
  const std::vector<uint8_t>& forced = request.forced_patches[index];
  if (!forced.empty()) {
    std::copy(forced.begin(), forced.end(), memory.patches.begin());
  } else {
    std::transform(memory.differences.begin(), memory.differences.end(), memory.patches.begin(),
                   [](float difference) -> uint8_t { return difference >= 0; });
  }
  return std::find(memory.patches.begin(), memory.patches.end(), 0) != memory.patches.end();
}

void CpuRunner::run_inner(size_t index, BlockMemory& memory, const ActiveLists& lists, ImageRange images) {
  const CpuBlock& block = executable_->blocks()[index];
  CpuMap* in = memory.x;
  PixelPairs pixels = lists.dilated.images(images.first, images.last);
  for (size_t i = 0; i < memory.inner.size(); ++i) {
    run_layer(block.convs[i], *in, memory.taps[i], *memory.inner[i], pixels, Epilogue::bias_relu);
    in = memory.inner[i];
    pixels = lists.active.images(images.first, images.last);
  }
}

void CpuRunner::run_body(size_t index, BlockMemory& memory, bool sparse) {
  const CpuBlock& block = executable_->blocks()[index];
  const ActiveLists& everything = memory.lists->everything;
  const ActiveLists& lists = sparse ? memory.lists->current : everything;
  double rate = static_cast<double>(lists.active.count()) / static_cast<double>(everything.active.count());
  bool whole_map = executable_->plan().blocks[index].path(rate) == BodyPath::whole_map;
  bool dense_pool = block.squeeze_excite && block.squeeze_excite->pool == SePool::dense;
  int64_t images = memory.images;

  if (lists.active.count() > 0) {
    if (dense_pool) {
      for (ImageRange range : nonempty_images(lists.active, images))
        run_inner(index, memory, everything, range);
    } else {
      run_inner(index, memory, whole_map ? everything : lists, {0, images});
    }
    if (block.squeeze_excite) {
      squeeze_excite(*block.squeeze_excite, memory, lists.active,
                     dense_pool ? everything.active : lists.active);
    }
  }
  // The projection writes y after the body has read x, but they are different maps; in an identity block y is
  // x and already holds the identity. Inactive pixels end here, active ones still wait for the body.
  if (block.projection) {
    run_layer(*block.projection, *memory.x, memory.projection_taps, *memory.y, lists.projected_active.pairs(),
              Epilogue::bias);
    run_layer(*block.projection, *memory.x, memory.projection_taps, *memory.y,
              lists.projected_inactive.pairs(), Epilogue::bias_relu);
  }
  PixelPairs pixels = lists.active.pairs();
  if (memory.inner.size() > 1) pixels.in = pixels.out;  // conv2's output map has y's size
  run_layer(block.convs.back(), *memory.inner.back(), memory.taps.back(), *memory.y, pixels,
            Epilogue::bias_add_relu);
}

void CpuRunner::squeeze_excite(const CpuSqueezeExcite& layers, BlockMemory& memory, const PixelList& active,
                               const PixelList& pooled) {
  SqueezeExciteMemory& se = memory.squeeze_excite;
  CpuMap& map = *memory.inner.back();
  int channels = layers.fc2.out_channels, squeezed = layers.fc1.out_channels;
  se.images.clear();
  for (int64_t n = 0; n < memory.images; ++n) {
    uint8_t nonempty = active.images(n, n + 1).count > 0;
    se.images.append({&nonempty, 1}, 1, n, 0, n);
  }
  PixelPairs images = se.images.pairs();
  mean_over_pixels(map, pooled, images, channels, se.pooled.data());
  int64_t no_offset = 0;
  run_conv({&layers.fc1, se.pooled.data(), channels, &no_offset, se.squeezed.data(), squeezed, images,
            Epilogue::bias_relu});
  run_conv({&layers.fc2, se.squeezed.data(), squeezed, &no_offset, se.scale.data(), channels, images,
            Epilogue::bias});
  if (check_finite_) check_finite({layers.name, se.scale.data(), channels, channels, {}, images});
  for_each(images.count, [&](int64_t index, int) {
    float* scale = se.scale.data() + images.in[index] * channels;
    std::transform(scale, scale + channels, scale, [](float x) { return 1.0f / (1.0f + std::exp(-x)); });
  });
  int64_t chunks = (map.size.pixels() + kScaleChunk - 1) / kScaleChunk;
  for_each(images.count * chunks, [&](int64_t index, int) {
    int64_t image = images.in[index / chunks], begin = index % chunks * kScaleChunk;
    PixelPairs pixels = active.images(image, image + 1);
    if (begin >= pixels.count) return;
    executable_->kernels().scale({map.data.data(), map.pitch, pixels.out + begin,
                                  std::min(kScaleChunk, pixels.count - begin), channels,
                                  se.scale.data() + image * channels});
  });
}

void CpuRunner::mean_over_pixels(const CpuMap& map, const PixelList& pixels, PixelPairs images, int channels,
                                 float* out) {
  int64_t chunks = (channels + kMeanChunk - 1) / kMeanChunk;
  for_each(images.count * chunks, [&](int64_t index, int) {
    int64_t image = images.in[index / chunks];
    int begin = static_cast<int>(index % chunks) * kMeanChunk;
    PixelPairs of_image = pixels.images(image, image + 1);
    executable_->kernels().mean(
        {map.data.data(), map.pitch, of_image.out, of_image.count, out + image * channels}, begin,
        std::min(begin + kMeanChunk, channels));
  });
}

Tensor CpuRunner::run_head(const RunRequest& request, CpuMemory& memory) {
  const BlockMemory& last = memory.blocks.back();
  int features = executable_->padded(executable_->spec().features);
  mean_over_pixels(*last.y, last.lists->everything.active, memory.head_pixels.pairs(), features,
                   memory.pooled.data());
  const PackedConv& head = executable_->head();
  int64_t no_offset = 0;
  run_conv({&head, memory.pooled.data(), features, &no_offset, memory.logits.data(), head.out_channels,
            memory.head_pixels.pairs(), Epilogue::bias});
  int64_t classes = executable_->spec().arch.classes;
  Tensor logits({request.batch(), classes});
  for (int64_t n = 0; n < request.batch(); ++n) {
    std::copy_n(memory.logits.data() + n * head.out_channels, classes, logits.data.data() + n * classes);
  }
  if (check_finite_) check_finite(executable_->spec().head_name, logits);
  return logits;
}

}  // namespace lasnet
