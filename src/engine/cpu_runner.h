// Runs a CpuExecutable: per block masker -> lists -> convolutions, in place on the residual map.
#pragma once

#include <deque>
#include <memory>

#include "engine/cpu_loops.h"
#include "engine/cpu_memory.h"
#include "lasnet/executor.h"

namespace lasnet {

class TraceBuilder;

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
  void run_stem(const RunRequest& request, CpuMemory& memory);
  void run_block(size_t index, const RunRequest& request, CpuMemory& memory, TraceBuilder& trace);
  Tensor run_head(const RunRequest& request, CpuMemory& memory);

  std::shared_ptr<const CpuExecutable> executable_;
  CpuLoops loops_;
  std::deque<Entry> memories_;  ///< most recently used first
};

}  // namespace lasnet
