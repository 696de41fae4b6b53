// Kernels dealt to threads: how a runner's loops and convolutions are cut into tasks.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/tiling.h"
#include "base/denormals.h"
#include "base/math.h"
#include "lasnet/executor.h"

namespace lasnet {

/// `Kernels`: a table of kernels, with the types of its convolutions' calls and partial sums.
template <class Kernels>
class KernelLoops {
 public:
  using Call = typename Kernels::Call;

  KernelLoops(const Kernels& kernels, std::shared_ptr<Executor> executor)
      : kernels_(kernels), executor_(std::move(executor)) {
    for (int i = 0; i < executor_->threads(); ++i)
      scratch_.emplace_back(conv_scratch_size(kernels.block_width));
  }

  const Kernels& kernels() const { return kernels_; }
  int threads() const { return executor_->threads(); }

  /// Calls body(index, thread) for all indices on the executor, subnormal floats counting as zero.
  template <typename Body>
  void for_each(int64_t count, Body&& body) {
    executor_->parallel_for(count, [&](int64_t index, int thread) {
      FlushDenormals flush;
      body(index, thread);
    });
  }

  /// Calls body(index, begin, end) so that every index meets all of `channels`: in slices where there are
  /// fewer indices than keep the threads busy. Slices are multiples of every vector width.
  template <typename Body>
  void for_each_slice(int64_t count, int channels, Body&& body) {
    constexpr int kSliceChannels = 64, kIndicesPerThread = 4;
    const bool sliced = threads() > 1 && count < threads() * kIndicesPerThread;
    const int width = sliced ? kSliceChannels : channels;
    const int64_t slices = ceil_div(channels, width);
    for_each(count * slices, [&](int64_t task, int) {
      const int begin = static_cast<int>(task % slices) * width;
      body(task / slices, begin, std::min(begin + width, channels));
    });
  }

  void conv(const Call& call) {
    conv_then(call, [](const ConvTask&) {});
  }

  /// Each task is followed by then(task) on its thread, while what it touched is still in its caches.
  template <typename Then>
  void conv_then(const Call& call, Then&& then) {
    if (call.pixels.count == 0) return;
    ConvTiling tiling = tiling_of(call);
    int64_t tasks = ceil_div(call.pixels.count, tiling.pixels);
    run(call, tiling.channel_blocks, tasks, then, [&](int64_t index, ConvTask& task) {
      task.pixel_begin = index * tiling.pixels;
      task.pixel_end = std::min(task.pixel_begin + tiling.pixels, call.pixels.count);
    });
  }

  /// The convolution of the pixels of `patches`, but for the last one, which only says where they end: in
  /// tasks of whole patches, each followed by then(task, its patches). No patch may be larger than
  /// kMaxTaskPixels.
  template <typename Then>
  void conv_patches(const Call& call, std::span<const ListedPatch> patches, Then&& then) {
    if (call.pixels.count == 0) return;
    ConvTiling tiling = tiling_of(call);
    const int64_t count = std::ssize(patches) - 1, start = patches.front().begin;
    const int64_t per_task = std::max<int64_t>(1, tiling.pixels / largest_patch(patches));
    auto begin_of = [&](int64_t index) { return std::min(index * per_task, count); };
    run(
        call, tiling.channel_blocks, ceil_div(count, per_task),
        [&](const ConvTask& task) {
          const int64_t begin = begin_of(task.index);
          then(task, patches.subspan(begin, begin_of(task.index + 1) - begin));
        },
        [&](int64_t index, ConvTask& task) {
          task.pixel_begin = patches[begin_of(index)].begin - start;
          task.pixel_end = patches[begin_of(index + 1)].begin - start;
        });
  }

  /// The same, where each patch that is written is then summed: refresh(patches, begin, end) of channels
  /// [begin, end), by the task that wrote them if a patch of `side` fits a task, else in a loop over
  /// `channels` behind.
  template <typename Refresh>
  void conv_patches_and_sums(const Call& call, std::span<const ListedPatch> patches, int64_t side,
                             int channels, Refresh&& refresh) {
    if (side * side > kMaxTaskPixels) {
      conv(call);
      for_each_slice(std::ssize(patches) - 1, channels,
                     [&](int64_t p, int begin, int end) { refresh(patches.subspan(p, 1), begin, end); });
      return;
    }
    const std::vector<ChannelBlock>& blocks = call.conv->blocks;
    conv_patches(call, patches, [&](const ConvTask& task, std::span<const ListedPatch> written) {
      const ChannelBlock& end = blocks[task.block_end - 1];
      refresh(written, blocks[task.block_begin].channel, end.channel + end.width);
    });
  }

 private:
  ConvTiling tiling_of(const Call& call) const {
    return tile_conv({.pixels = call.pixels.count,
                      .reduction = call.conv->reduction(),
                      .input_channels = call.in_pitch,
                      .channel_blocks = call.conv->channel_blocks(),
                      .threads = threads()});
  }

  static int64_t largest_patch(std::span<const ListedPatch> patches) {
    int64_t largest = 1;
    for (size_t p = 0; p + 1 < patches.size(); ++p)
      largest = std::max(largest, patches[p + 1].begin - patches[p].begin);
    return largest;
  }

  template <typename Then, typename SetPixels>
  void run(const Call& call, int blocks_per_task, int64_t pixel_tasks, Then&& then, SetPixels&& set_pixels) {
    int blocks = call.conv->channel_blocks();
    int64_t block_tasks = ceil_div(blocks, blocks_per_task);
    for_each(pixel_tasks * block_tasks, [&](int64_t index, int thread) {
      ConvTask task;
      task.index = index % pixel_tasks;
      set_pixels(task.index, task);
      task.block_begin = static_cast<int>(index / pixel_tasks) * blocks_per_task;
      task.block_end = std::min(task.block_begin + blocks_per_task, blocks);
      kernels_.conv(call, task, scratch_[thread].data());
      then(task);
    });
  }

  const Kernels& kernels_;
  std::shared_ptr<Executor> executor_;
  std::vector<AlignedArray<typename Kernels::Partial>> scratch_;  ///< partial sums, one per thread
};

using CpuLoops = KernelLoops<CpuKernels>;

}  // namespace lasnet
