#include "calibrate/kernel_runs.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>

#include "core/stopwatch.h"
#include "core/thread_pool.h"
#include "engine/cpu_loops.h"
#include "kernels/tap_offsets.h"
#include "schedule/register_tile.h"

namespace lasnet {
namespace {

/// A multiple of every register tile's pixels, and one task.
constexpr MapSize kMap{14, 12};
/// Rows of it that are computed: from a pass of a single tile to one of many.
constexpr int kRows[] = {1, 4, 14};
/// Floats between pixels beyond the channels, so that the taps of a row are runs of their own.
constexpr int kGap = 16;
/// The quickest of so many times so many calls: reading the clock takes as long as a short call.
constexpr int kRepeat = 40, kCalls = 16;

ConvSpec kernel(int in_channels, int size, int out_channels) {
  return {
      .name = {}, .norm_name = {}, .in_channels = in_channels, .out_channels = out_channels, .kernel = size};
}

/// Seconds of the quickest of some runs over the map's first rows.
double quiet_seconds(const ConvSpec& conv, int pitch, int64_t rows, const CpuKernels& kernels) {
  const Tensor weight({conv.out_channels, conv.in_channels, conv.kernel, conv.kernel});
  const std::vector<float> bias(static_cast<size_t>(conv.out_channels));
  const PackedConv packed = pack_conv({.weight = weight, .bias = bias}, kernels);
  const int64_t row = kMap.width + 2, pixels = rows * kMap.width;
  const std::vector<int64_t> taps = tap_offsets(conv.kernel, row, pitch, false);
  AlignedBuffer in((kMap.height + 2) * row * pitch), out(pixels * packed.out_channels);
  std::vector<int32_t> from(static_cast<size_t>(pixels)), to(static_cast<size_t>(pixels));
  std::iota(to.begin(), to.end(), 0);
  for (size_t i = 0; i < from.size(); ++i) {
    const auto y = static_cast<int64_t>(i) / kMap.width, x = static_cast<int64_t>(i) % kMap.width;
    from[i] = static_cast<int32_t>((y + 1) * row + x + 1);
  }
  CpuLoops loops(kernels, std::make_shared<ThreadPool>(1));
  const ConvCall call{.conv = &packed,
                      .in = in.data(),
                      .in_pitch = pitch,
                      .tap_offsets = taps.data(),
                      .out = out.data(),
                      .out_pitch = packed.out_channels,
                      .pixels = {from.data(), to.data(), pixels}};
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRepeat; ++i) {
    Stopwatch watch(TimeSource::thread);
    for (int j = 0; j < kCalls; ++j) loops.conv(call);
    best = std::min(best, watch.seconds() / kCalls);
  }
  return best;
}

}  // namespace

std::vector<FitRow> measure_kernels(const CpuHardware& machine) {
  const CpuKernels& kernels = cpu_kernels(machine.isa);
  const CpuContext context{.hardware = machine};
  std::vector<FitRow> rows;
  for (const int out : {kernels.vector_width, kernels.block_width}) {
    for (const ConvSpec& conv : {kernel(8, 3, out), kernel(16, 3, out), kernel(24, 3, out),
                                 kernel(56, 3, out), kernel(48, 1, out), kernel(240, 1, out)}) {
      const int pitch = conv.in_channels + kGap;
      for (const int height : kRows) {
        rows.push_back({kernel_work(conv, pitch, height * kMap.width, context).counts,
                        quiet_seconds(conv, pitch, height, kernels)});
      }
    }
  }
  return rows;
}

}  // namespace lasnet
