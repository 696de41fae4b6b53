// Runs a CpuExecutable: per block masker -> lists -> convolutions, in place on the residual map.
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "backends/cpu/loops.h"
#include "backends/cpu/memory.h"
#include "lasnet/executor.h"

namespace lasnet {

class TraceBuilder;

/// Told each operation of a block that has run, in order, and how many pixels it computed.
using OperationObserver = std::function<void(size_t block, const CpuOperation& operation, int64_t pixels)>;

class CpuRunner final : public Runner {
 public:
  CpuRunner(std::shared_ptr<const CpuExecutable> executable, std::shared_ptr<Executor> executor);

  void run(const RunRequest& request, Result& result) override;
  void observe(OperationObserver observer) { observer_ = std::move(observer); }

 private:
  struct Entry {
    int64_t images;
    MapSize size;
    std::unique_ptr<CpuMemory> memory;
  };

  CpuMemory& memory_for(const RunRequest& request);
  void run_stem(const RunRequest& request, CpuMemory& memory);
  void convolve_stem(PixelPairs pixels, CpuMemory& memory);
  void convolve_and_pool_stem(CpuMemory& memory);
  void run_block(size_t index, const RunRequest& request, CpuMemory& memory, TraceBuilder& trace);
  /// Copies the map that so many blocks come before, if the request wants it.
  void return_map(const CpuMap& map, size_t blocks, const RunRequest& request);
  void report(size_t index, const BlockMemory& block, MaskOutcome mask) const;
  void run_head(const RunRequest& request, CpuMemory& memory, Tensor& logits);

  std::shared_ptr<const CpuExecutable> executable_;
  CpuLoops loops_;
  OperationObserver observer_;  ///< may be empty
  std::deque<Entry> memories_;  ///< most recently used first
};

}  // namespace lasnet
