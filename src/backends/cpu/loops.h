// Kernels dealt to threads: how a runner's loops and convolutions are cut into tasks.
#pragma once

#include <algorithm>
#include <memory>
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
    const int threads = executor_->threads();
    const bool sliced = threads > 1 && count < threads * kIndicesPerThread;
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
    int64_t tasks = (call.pixels.count + tiling.pixels - 1) / tiling.pixels;
    run(call, tiling.channel_blocks, tasks, then, [&](int64_t index, ConvTask& task) {
      task.pixel_begin = index * tiling.pixels;
      task.pixel_end = std::min(task.pixel_begin + tiling.pixels, call.pixels.count);
    });
  }

  /// The convolution of patches [first, last) of `lists` (call.pixels are those of `first` on) in tasks of
  /// whole patches, each followed by then(task, its first patch, its last patch). No patch may be larger than
  /// kMaxTaskPixels.
  template <typename Then>
  void conv_patches(const Call& call, const ActiveLists& lists, int64_t first, int64_t last, Then&& then) {
    if (call.pixels.count == 0) return;
    ConvTiling tiling = tiling_of(call);
    int64_t largest = largest_patch(lists, first, last);
    int64_t patches = std::max<int64_t>(1, tiling.pixels / largest), start = lists.patches[first].begin;
    int64_t tasks = (last - first + patches - 1) / patches;
    auto begin_of = [&](int64_t index) { return std::min(first + index * patches, last); };
    run(
        call, tiling.channel_blocks, tasks,
        [&](const ConvTask& task) {
          int64_t index = task.index;
          then(task, begin_of(index), begin_of(index + 1));
        },
        [&](int64_t index, ConvTask& task) {
          task.pixel_begin = lists.patches[begin_of(index)].begin - start;
          task.pixel_end = lists.patches[begin_of(index + 1)].begin - start;
        });
  }

 private:
  ConvTiling tiling_of(const Call& call) const {
    return tile_conv({.pixels = call.pixels.count,
                      .reduction = call.conv->reduction(),
                      .input_channels = call.in_pitch,
                      .channel_blocks = call.conv->channel_blocks(),
                      .threads = executor_->threads()});
  }

  static int64_t largest_patch(const ActiveLists& lists, int64_t first, int64_t last) {
    int64_t largest = 1;
    for (int64_t p = first; p < last; ++p) {
      largest = std::max(largest, lists.patches[p + 1].begin - lists.patches[p].begin);
    }
    return largest;
  }

  template <typename Then, typename SetPixels>
  void run(const Call& call, int blocks_per_task, int64_t pixel_tasks, Then&& then, SetPixels&& set_pixels) {
    int blocks = call.conv->channel_blocks();
    int64_t block_tasks = (blocks + blocks_per_task - 1) / blocks_per_task;
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
