// Filling in a Trace: the same accounting for every backend.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/executable.h"

namespace lasnet {

/// What a backend knows after running one block.
struct BlockOutcome {
  std::span<const uint8_t> patches;         ///< [N, rows, cols]; empty: everything was computed
  std::span<const float> differences;       ///< [N, rows, cols]; empty: the masker did not run
  std::span<const int64_t> active_counts;   ///< active pixels of M per image
  std::span<const int64_t> dilated_counts;  ///< active pixels of D per image
  double masking_seconds = 0;               ///< masker, masks and lists
  double seconds = 0;
  std::vector<OperationTime> operations = {};  ///< empty unless the request asks for them
};

/// Collects the outcomes of one run, block by block, in a trace that may hold those of an earlier one.
class TraceBuilder {
 public:
  TraceBuilder(const ModelSpec& spec, const RunRequest& request, Trace& trace);

  void add_block(const BlockOutcome& outcome);
  void finish(double seconds);

 private:
  void record(const BlockOutcome& outcome, const BlockGeometry& geometry, BlockTrace& block) const;

  const ModelSpec& spec_;
  const RunRequest& request_;
  Trace& trace_;
  size_t blocks_ = 0;  ///< added so far
};

}  // namespace lasnet
