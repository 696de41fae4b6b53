// What runners of every precision on a CPU do alike: memory per input size, block after block, the trace.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "backends/cpu/shared_lists.h"
#include "base/stopwatch.h"
#include "engine/executable.h"
#include "engine/trace.h"

namespace lasnet {

/// Told each operation of a block that has run, in order, and how many pixels it computed.
using OperationObserver = std::function<void(size_t block, const CpuOperation& operation, int64_t pixels)>;

/// `Derived` has four steps: run_stem, decide (a block's masker), run_head and return_map (copies a map that
/// so many blocks come before). Its Body makes lists and runs what a block's program says. `Memory` has
/// `blocks`.
template <class Derived, class Compiled, class Memory, class Body>
class BlockRunner : public Runner {
 public:
  explicit BlockRunner(std::shared_ptr<const Compiled> executable) : executable_(std::move(executable)) {}

  void run(const RunRequest& request, Result& result) final {
    Memory& memory = memory_for(request);
    Stopwatch watch(request.time);
    TraceBuilder trace(executable_->spec(), request, result.trace);
    derived().run_stem(request, memory);
    for (size_t i = 0; i < memory.blocks.size(); ++i) {
      derived().return_map(*memory.blocks[i].x, i, request);
      run_block(i, request, memory, trace);
    }
    derived().return_map(*memory.blocks.back().y, memory.blocks.size(), request);
    derived().run_head(request, memory, result.logits);
    trace.finish(watch.seconds());
  }
  void observe(OperationObserver observer) { observer_ = std::move(observer); }

 protected:
  const Compiled& executable() const { return *executable_; }

 private:
  /// Input sizes whose memory is kept.
  static constexpr size_t kKeptSizes = 4;

  struct Entry {
    int64_t images;
    MapSize size;
    std::unique_ptr<Memory> memory;
  };

  Derived& derived() { return static_cast<Derived&>(*this); }

  Memory& memory_for(const RunRequest& request) {
    auto found = std::find_if(memories_.begin(), memories_.end(), [&](const Entry& entry) {
      return entry.images == request.batch() && entry.size == request.geometry.input;
    });
    if (found == memories_.end()) {
      if (memories_.size() == kKeptSizes) memories_.pop_back();
      memories_.push_front({request.batch(), request.geometry.input,
                            std::make_unique<Memory>(*executable_, request.geometry, request.batch())});
    } else {
      std::rotate(memories_.begin(), found, found + 1);
    }
    return *memories_.front().memory;
  }

  void run_block(size_t index, const RunRequest& request, Memory& memory, TraceBuilder& trace) {
    request.check_stop();
    Stopwatch watch(request.time);
    auto& block = memory.blocks[index];
    const bool masked = !request.dense && executable_->spec().blocks[index].is_dynamic();
    const MaskOutcome mask = masked ? derived().decide(index, request, block) : MaskOutcome::unmasked;
    const double decided = request.time_operations ? watch.seconds() : 0;
    Body body(*executable_, index, block, mask, request, derived().loops());
    body.make_lists();
    BlockOutcome outcome;
    if (masked) outcome.masking_seconds = watch.seconds();
    body.run();
    outcome.seconds = watch.seconds();
    if (request.time_operations) outcome.operations = operation_times(block, mask, decided);
    if (masked) outcome.differences = block.differences;
    if (mask == MaskOutcome::crowded || mask == MaskOutcome::partial) {
      outcome.patches = block.patches;
      outcome.active_counts = block.builder.active_counts();
      outcome.dilated_counts = block.builder.dilated_counts();
    }
    trace.add_block(outcome);
    if (observer_) report(index, block, mask);
  }

  /// `decided`: when the mask was known, from the block's beginning. All of that is the masker's, a first
  /// convolution that runs beside it included.
  static std::vector<OperationTime> operation_times(const BlockState& block, MaskOutcome mask,
                                                    double decided) {
    std::vector<OperationTime> times;
    if (mask != MaskOutcome::unmasked) {
      for (const CpuOperation& operation : block.program.masking) times.push_back({to_string(operation), 0});
      times.back().seconds = decided;
    }
    const std::vector<CpuOperation>& operations = block.program.body(mask);
    for (size_t i = 0; i < operations.size(); ++i)
      times.push_back({to_string(operations[i]), block.seconds[i]});
    return times;
  }

  void report(size_t index, const BlockState& block, MaskOutcome mask) const {
    if (mask != MaskOutcome::unmasked) {
      for (const CpuOperation& operation : block.program.masking) {
        const bool of_pixels = operation.op == CpuOperator::conv;
        observer_(index, operation,
                  of_pixels ? block.lists->everything.dilated.count()
                            : static_cast<int64_t>(block.differences.size()));
      }
    }
    const std::vector<CpuOperation>& operations = block.program.body(mask);
    for (size_t i = 0; i < operations.size(); ++i) observer_(index, operations[i], block.computed[i]);
  }

  std::shared_ptr<const Compiled> executable_;
  OperationObserver observer_;  ///< may be empty
  std::deque<Entry> memories_;  ///< most recently used first
};

}  // namespace lasnet
