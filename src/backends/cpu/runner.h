// Runs a CpuExecutable: stem, blocks and head over one CpuMemory per input size.
#pragma once

#include <memory>

#include "backends/cpu/block_runner.h"
#include "backends/cpu/body.h"
#include "backends/cpu/executable.h"
#include "backends/cpu/loops.h"
#include "backends/cpu/memory.h"
#include "lasnet/executor.h"

namespace lasnet {

class CpuRunner final : public BlockRunner<CpuRunner, CpuExecutable, CpuMemory, CpuBody> {
 public:
  CpuRunner(std::shared_ptr<const CpuExecutable> executable, std::shared_ptr<Executor> executor);

  void run_stem(const RunRequest& request, CpuMemory& memory);
  MaskOutcome decide(size_t index, const RunRequest& request, BlockMemory& block);
  void return_map(const CpuMap& map, size_t blocks, const RunRequest& request);
  void run_head(const RunRequest& request, CpuMemory& memory, Tensor& logits);
  CpuLoops& loops() { return loops_; }

 private:
  void convolve_stem(PixelPairs pixels, CpuMemory& memory);
  void convolve_and_pool_stem(CpuMemory& memory);

  CpuLoops loops_;
};

}  // namespace lasnet
