// Runs an Int8Executable: stem, blocks and head over one Int8Memory per input size.
#pragma once

#include <memory>

#include "backends/cpu/block_runner.h"
#include "backends/cpu/int8/body.h"
#include "backends/cpu/int8/executable.h"
#include "backends/cpu/int8/memory.h"
#include "lasnet/executor.h"

namespace lasnet {

class Int8Runner final : public BlockRunner<Int8Runner, Int8Executable, Int8Memory, Int8Body> {
 public:
  Int8Runner(std::shared_ptr<const Int8Executable> executable, std::shared_ptr<Executor> executor);

  void run_stem(const RunRequest& request, Int8Memory& memory);
  MaskOutcome decide(size_t index, const RunRequest& request, Int8BlockMemory& block);
  /// Its bytes times the map's scale.
  void return_map(const ByteMap& map, size_t blocks, const RunRequest& request);
  void run_head(const RunRequest& request, Int8Memory& memory, Tensor& logits);
  Int8Loops& loops() { return loops_; }

 private:
  Int8Loops loops_;
};

}  // namespace lasnet
