// Runs a CpuExecutable: per block masker -> lists -> convolutions, in place on the residual map.
#pragma once

#include <deque>
#include <memory>

#include "core/denormals.h"
#include "engine/cpu_memory.h"
#include "lasnet/executor.h"

namespace lasnet {

class TraceBuilder;

/// Images [first, last) of the batch.
struct ImageRange {
  int64_t first = 0, last = 0;
};

class CpuRunner final : public Runner {
 public:
  CpuRunner(std::shared_ptr<const CpuExecutable> executable, std::shared_ptr<Executor> executor);

  Result run(const RunRequest& request) override;

 private:
  struct Entry {
    int64_t images;
    MapSize size;
    std::unique_ptr<CpuMemory> memory;
  };

  CpuMemory& memory_for(const RunRequest& request);
  void run_stem(const TensorView& input, CpuMemory& memory);
  void copy_image_row(const TensorView& input, int64_t row, StemMemory& stem) const;
  void run_block(size_t index, const RunRequest& request, CpuMemory& memory, TraceBuilder& trace);
  /// Fills memory.patches; false if every patch is active (or the run is dense).
  bool decide(size_t index, const RunRequest& request, BlockMemory& memory);
  void run_body(size_t index, BlockMemory& memory, bool sparse);
  /// All convolutions but the last, over `lists` of these images.
  void run_inner(size_t index, BlockMemory& memory, const ActiveLists& lists, ImageRange images);
  /// Scales convs[1]'s active outputs, in place, by what the mean over `pooled` pixels says.
  void squeeze_excite(const CpuSqueezeExcite& layers, BlockMemory& memory, const PixelList& active,
                      const PixelList& pooled);
  /// Mean over each image's listed pixels: out[image * channels + c].
  void mean_over_pixels(const CpuMap& map, const PixelList& pixels, PixelPairs images, int channels,
                        float* out);
  Tensor run_head(const RunRequest& request, CpuMemory& memory);
  /// A convolution of a block over bordered maps.
  void run_layer(const CpuConv& conv, const CpuMap& in, const std::vector<int64_t>& taps, CpuMap& out,
                 PixelPairs pixels, Epilogue epilogue);
  /// Splits a convolution into tasks and runs them on the pool.
  void run_conv(const ConvCall& call);
  /// Calls body(index, thread) for all indices on the pool, subnormal floats counting as zero.
  template <typename Body>
  void for_each(int64_t count, Body&& body) {
    pool_.parallel_for(count, [&](int64_t index, int thread) {
      FlushDenormals flush;
      body(index, thread);
    });
  }

  std::shared_ptr<const CpuExecutable> executable_;
  std::shared_ptr<Executor> executor_;
  Executor& pool_;
  std::vector<AlignedBuffer> scratch_;  ///< partial sums, one per thread
  std::deque<Entry> memories_;          ///< most recently used first
  bool check_finite_ = false;           ///< of the run in progress
};

}  // namespace lasnet
