#include "backends/cpu/masking.h"

#include <algorithm>

#include "backends/cpu/conv.h"

namespace lasnet {
namespace {

CellSums cells_of(const CpuMap& x) {
  return {.data = x.data.data() + bordered_index(x.size, 0, 0, 0) * x.pitch,
          .pitch = x.pitch,
          .row = x.row_pixels() * x.pitch,
          .image = bordered_pixels(x.size, 1) * x.pitch,
          .side = 1};
}

CellSums cells_of(const PatchSums& sums) {
  int64_t pitch = sums.map->pitch;
  return {.data = sums.data.data(),
          .pitch = pitch,
          .row = sums.grid.cols() * pitch,
          .image = sums.grid.patches() * pitch,
          .side = sums.grid.granularity};
}

void sum_cell(PatchSums& sums, int64_t image, int64_t row, int64_t col, int begin, int end,
              const CpuKernels& kernels) {
  const CpuMap& map = *sums.map;
  int64_t cell = image * sums.grid.patches() + row * sums.grid.cols() + col;
  kernels.patch_sum({map.data.data(), map.pitch, map.size, image, patch_pixels(sums.grid, row, col),
                     sums.data.data() + cell * map.pitch},
                    begin, end);
}

/// Sums that no block has kept: of the first masker on a map, or after a block that keeps others.
void compute_sums(PatchSums& sums, int64_t images, CpuLoops& loops) {
  int64_t rows = sums.grid.rows();
  loops.for_each_slice(images * rows, sums.channels, [&](int64_t index, int begin, int end) {
    for (int64_t col = 0; col < sums.grid.cols(); ++col) {
      sum_cell(sums, index / rows, index % rows, col, begin, end, loops.kernels());
    }
  });
}

void run_masker(const CpuBlock& block, const CellSums& cells, int stride, const PatchGrid& grid,
                BlockMemory& memory, CpuLoops& loops) {
  MaskerCall call{.sums = cells,
                  .input = memory.x->size,
                  .grid = grid,
                  .stride = stride,
                  .channels = static_cast<int>(block.masker_weight.size()),
                  .weight = block.masker_weight.data(),
                  .bias = block.masker_bias,
                  .differences = memory.differences.data()};
  loops.for_each(memory.images * grid.rows(), [&](int64_t row, int) {
    loops.kernels().masker(call, row / grid.rows(), row % grid.rows());
  });
}

/// convs[0] on every pixel of x, each pixel's dot product with the masker's weight beside it.
void run_conv1_with_dots(const CpuBlock& block, BlockMemory& memory, CpuLoops& loops) {
  const CpuMap& x = *memory.x;
  PixelPairs pixels = memory.lists->everything.dilated.pairs();
  ConvCall call = conv_call(block.convs[0].packed, windows_of(x, memory.taps[0], pixels.in), *memory.inner[0],
                            pixels, Epilogue::bias_relu);
  loops.conv_then(call, [&](const ConvTask& task) {
    if (task.block_begin != 0) return;
    loops.kernels().dot({.in = x.data.data(),
                         .pitch = x.pitch,
                         .pixels = pixels.in + task.pixel_begin,
                         .count = task.pixel_end - task.pixel_begin,
                         .channels = static_cast<int>(block.masker_weight.size()),
                         .weight = block.masker_weight.data(),
                         .out = memory.pixel_dots->data()});
  });
}

void average_dots(const CpuBlock& block, int stride, const PatchGrid& grid, BlockMemory& memory) {
  const MapSize& map = memory.x->size;
  float* out = memory.differences.data();
  for (int64_t n = 0; n < memory.images; ++n) {
    for (int64_t row = 0; row < grid.rows(); ++row) {
      for (int64_t col = 0; col < grid.cols(); ++col) {
        PixelRect window = patch_window(grid, row, col, stride, map);
        float sum = 0;
        for (int64_t y = window.top; y < window.bottom; ++y) {
          const float* dots = memory.pixel_dots->data() + bordered_index(map, n, y, 0);
          for (int64_t x = window.left; x < window.right; ++x) sum += dots[x];
        }
        *out++ = sum / static_cast<float>(window.pixels()) + block.masker_bias;
      }
    }
  }
}

int64_t active_pixels(const BlockState& block, const PatchGrid& grid) {
  const uint8_t* patch = block.patches.data();
  int64_t pixels = 0;
  for (int64_t n = 0; n < block.images; ++n) {
    for (int64_t row = 0; row < grid.rows(); ++row) {
      for (int64_t col = 0; col < grid.cols(); ++col) {
        if (*patch++ != 0) pixels += patch_pixels(grid, row, col).pixels();
      }
    }
  }
  return pixels;
}

}  // namespace

void refresh_sums(PatchSums& sums, std::span<const ListedPatch> patches, int begin, int end,
                  const CpuKernels& kernels) {
  for (const ListedPatch& patch : patches)
    sum_cell(sums, patch.image, patch.row, patch.col, begin, end, kernels);
}

MaskOutcome decide(const CpuExecutable& executable, size_t index, const RunRequest& request,
                   BlockMemory& memory, CpuLoops& loops) {
  const CpuBlock& block = executable.blocks()[index];
  const PatchGrid& grid = request.geometry.blocks[index].grid;
  int stride = executable.spec().blocks[index].stride;
  if (memory.pixel_dots != nullptr) {
    run_conv1_with_dots(block, memory, loops);
    average_dots(block, stride, grid, memory);
  } else if (memory.sums != nullptr) {
    if (memory.program.sums.computes) compute_sums(*memory.sums, memory.images, loops);
    run_masker(block, cells_of(*memory.sums), stride, grid, memory, loops);
  } else {
    run_masker(block, cells_of(*memory.x), stride, grid, memory, loops);
  }
  return choose_patches(index, request, memory);
}

MaskOutcome choose_patches(size_t index, const RunRequest& request, BlockState& block) {
  const std::vector<uint8_t>& forced = request.forced_patches[index];
  if (!forced.empty()) {
    std::copy(forced.begin(), forced.end(), block.patches.begin());
  } else {
    std::transform(block.differences.begin(), block.differences.end(), block.patches.begin(),
                   [threshold = request.thresholds[index]](float difference) -> uint8_t {
                     return difference >= threshold;
                   });
  }
  const PatchGrid& grid = request.geometry.blocks[index].grid;
  const bool every_patch = std::find(block.patches.begin(), block.patches.end(), 0) == block.patches.end();
  const auto pixels = static_cast<double>(block.images * grid.map.pixels());
  return block.program.outcome(static_cast<double>(active_pixels(block, grid)), pixels, every_patch);
}

}  // namespace lasnet
