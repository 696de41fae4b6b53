#include "backends/cpu/int8/body.h"

#include <algorithm>

#include "backends/cpu/masking.h"
#include "base/math.h"

namespace lasnet {
namespace {

ByteSource windows_of(const ByteMap& map, const std::vector<int64_t>& taps, const int32_t* centres) {
  return {map.data.data(), map.pitch, taps.data(), centres};
}

void sum_cell(BytePatchSums& sums, int64_t image, int64_t row, int64_t col, int begin, int end,
              const Int8Kernels& kernels) {
  const ByteMap& map = *sums.map;
  kernels.sum({map.bytes(), map.byte_pitch(), map.size, image, patch_pixels(sums.grid, row, col),
               sums.cell(image, row, col)},
              begin, end);
}

void refresh_sums(BytePatchSums& sums, std::span<const ListedPatch> patches, int begin, int end,
                  const Int8Kernels& kernels) {
  for (const ListedPatch& patch : patches)
    sum_cell(sums, patch.image, patch.row, patch.col, begin, end, kernels);
}

void compute_sums(BytePatchSums& sums, int64_t images, Int8Loops& loops) {
  const int64_t rows = sums.grid.rows();
  loops.for_each_slice(images * rows, sums.channels, [&](int64_t index, int begin, int end) {
    for (int64_t col = 0; col < sums.grid.cols(); ++col)
      sum_cell(sums, index / rows, index % rows, col, begin, end, loops.kernels());
  });
}

/// The masker's dot product with the sums under one window: of whole cells, or of the map itself.
class WindowDots {
 public:
  WindowDots(const Int8CpuBlock& block, Int8BlockMemory& memory, const Int8Kernels& kernels)
      : weight_(block.masker_weight), masker_(block.packed_masker), memory_(memory), kernels_(kernels) {}

  int64_t operator()(int64_t image, const PixelRect& window) const {
    return memory_.sums != nullptr ? of_cells(image, window) : of_map(image, window);
  }

 private:
  int64_t of_cells(int64_t image, const PixelRect& window) const {
    const int64_t side = memory_.sums->grid.granularity;
    int64_t dot = 0;
    for (int64_t row = window.top / side; row * side < window.bottom; ++row) {
      for (int64_t col = window.left / side; col * side < window.right; ++col)
        dot += kernels_.dot(memory_.sums->cell(image, row, col), weight_.data(), weight_.size());
    }
    return dot;
  }

  int64_t of_map(int64_t image, const PixelRect& window) const {
    const ByteMap& map = *memory_.x;
    return kernels_.window_dot({map.bytes(), map.byte_pitch(), map.size, image, window, &masker_});
  }

  const AlignedArray<int32_t>& weight_;
  const PackedMasker& masker_;
  Int8BlockMemory& memory_;
  const Int8Kernels& kernels_;
};

}  // namespace

Int8ConvCall int8_conv_call(const PackedInt8Conv& conv, const ByteSource& in, ByteMap& out, PixelPairs pixels,
                            Int8Epilogue epilogue) {
  return {.conv = &conv,
          .in = in.data,
          .in_pitch = in.pitch,
          .tap_offsets = in.taps,
          .out = out.bytes(),
          .out_pitch = out.byte_pitch(),
          .pixels = {in.centres, pixels.out, pixels.count},
          .epilogue = epilogue};
}

Int8Body::Int8Body(const Int8Executable& executable, size_t index, Int8BlockMemory& memory,
                   MaskOutcome outcome, const RunRequest& request, Int8Loops& loops)
    : block_(executable.blocks()[index]),
      memory_(memory),
      outcome_(outcome),
      everything_(memory.lists->everything),
      lists_(memory.lists_of(outcome)),
      loops_(loops),
      computed_(memory.computed),
      clock_(request, memory.seconds) {
  std::fill(computed_.begin(), computed_.end(), 0);
}

void Int8Body::make_lists() {
  if (&lists_ == &everything_) return;
  clock_.time(current_, [&] { memory_.builder.build(memory_.patches, memory_.lists->current); });
  computed_[0] = lists_.active.count() + lists_.dilated.count() + lists_.projected.capacity();
  ++current_;
}

void Int8Body::run() {
  for (; current_ < operations().size(); ++current_) {
    clock_.time(current_, [&] { run(operations()[current_]); });
  }
}

void Int8Body::run(const CpuOperation& operation) {
  if (operation.op == CpuOperator::conv) run_conv(operation);
  if (operation.op == CpuOperator::squeeze_excite) run_squeeze_excite();
  // The last convolution runs a projection in one loop with itself.
  if (operation.op == CpuOperator::projection) computed_[current_] = lists_.projected.capacity();
}

void Int8Body::run_conv(const CpuOperation& operation) {
  if (operation.output == ConvOutput::add_relu) {
    block_.projected_last ? add_projected() : add_in_place();
    return;
  }
  const auto list_of = [&](const ActiveLists& lists) -> const PixelList& {
    return operation.conv == 0 ? lists.dilated : lists.active;
  };
  if (operation.over == PixelSet::active_images) {
    for (int64_t n = 0; n < memory_.images; ++n) {
      if (lists_.active.images(n, n + 1).count > 0)
        run_inner(operation.conv, list_of(everything_).images(n, n + 1));
    }
    return;
  }
  run_inner(operation.conv, list_of(operation.over == PixelSet::whole_map ? everything_ : lists_).pairs());
}

void Int8Body::run_squeeze_excite() {
  const Int8SqueezeExcite& layers = *block_.squeeze_excite;
  const PixelList& active = lists_.active_by_row;
  const PixelList& pooled = layers.pool == SePool::dense ? everything_.active_by_row : active;
  ByteMap& map = *memory_.inner.back();
  const int channels = static_cast<int>(layers.fc2_bias.size());
  const int padded = static_cast<int>(round_up(channels, loops_.kernels().vector_width));
  computed_[current_] = active.count();
  loops_.for_each(memory_.images, [&](int64_t n, int) {
    const PixelPairs pixels = active.images(n, n + 1), averaged = pooled.images(n, n + 1);
    if (pixels.count == 0) return;
    auto& [sums, vectors] = memory_.excitation[n];
    sums.resize(static_cast<size_t>(padded));
    loops_.kernels().list_sum({map.bytes(), map.byte_pitch(), averaged.out, averaged.count, sums.data()}, 0,
                              padded);
    vectors.mean.clear();
    for (int c = 0; c < channels; ++c) vectors.mean.push_back(layers.mean(sums[c], averaged.count));
    layers.excite(vectors);
    vectors.factors.resize(static_cast<size_t>(padded));
    loops_.kernels().scale(
        {map.bytes(), map.byte_pitch(), pixels.out, pixels.count, padded, vectors.factors.data()});
  });
}

void Int8Body::run_inner(int conv, PixelPairs pixels) {
  const ByteMap& in = conv == 0 ? *memory_.x : *memory_.inner[0];
  loops_.conv(int8_conv_call(block_.convs[conv].packed, windows_of(in, memory_.taps[conv], pixels.in),
                             *memory_.inner[conv], pixels, Int8Epilogue::relu));
  computed_[current_] += pixels.count;
}

ByteSource Int8Body::last_input() const {
  const PixelPairs pixels = lists_.active.pairs();
  if (memory_.inner.size() == 1) return windows_of(*memory_.inner[0], memory_.taps[1], pixels.in);
  return windows_of(*memory_.inner[1], memory_.taps[2], pixels.out);  // inner[1] is of y's size
}

void Int8Body::add_in_place() {
  const PixelPairs pixels = lists_.active.pairs();
  const Int8ConvCall call =
      int8_conv_call(block_.convs.back().packed, last_input(), *memory_.y, pixels, Int8Epilogue::add_relu);
  computed_[current_] += pixels.count;
  write_output(call, lists_.patches);
}

void Int8Body::write_output(const Int8ConvCall& call, std::span<const ListedPatch> patches) {
  BytePatchSums* sums = outcome_ == MaskOutcome::unmasked ? nullptr : memory_.kept_sums;
  if (sums == nullptr) return loops_.conv(call);
  loops_.conv_patches_and_sums(call, patches, memory_.builder.grid().granularity, sums->channels,
                               [&](std::span<const ListedPatch> written, int begin, int end) {
                                 refresh_sums(*sums, written, begin, end, loops_.kernels());
                               });
}

void Int8Body::add_projected() {
  const PixelPairs all = lists_.projected.all();
  Int8ConvCall call =
      int8_conv_call(*block_.projected_last, windows_of(*memory_.x, memory_.projection_taps, all.in),
                     *memory_.y, all, Int8Epilogue::relu);
  const ByteSource in = last_input();
  call.extra = {in.data, in.pitch, in.taps, in.centres, lists_.active.count()};
  write_output(call, lists_.projected_patches);
  computed_[current_] = call.extra.count;
}

MaskOutcome decide_int8(const Int8Executable& executable, size_t index, const RunRequest& request,
                        Int8BlockMemory& block, Int8Loops& loops) {
  const Int8CpuBlock& compiled = executable.blocks()[index];
  const PatchGrid& grid = request.geometry.blocks[index].grid;
  const int stride = executable.spec().blocks[index].stride;
  if (block.sums != nullptr && block.program.sums.computes) compute_sums(*block.sums, block.images, loops);
  const WindowDots dot(compiled, block, loops.kernels());
  loops.for_each(block.images * grid.rows(), [&](int64_t index_of_row, int) {
    const int64_t image = index_of_row / grid.rows(), row = index_of_row % grid.rows();
    for (int64_t col = 0; col < grid.cols(); ++col) {
      const PixelRect window = patch_window(grid, row, col, stride, block.x->size);
      block.differences[index_of_row * grid.cols() + col] =
          compiled.masker->difference(dot(image, window), window.pixels());
    }
  });
  return choose_patches(index, request, block);
}

}  // namespace lasnet
